"""What coffee-pull-v3 and coffee-push-v3 share: a mug and a coffee machine."""

from __future__ import annotations

from typing import Any

import numpy as np

from envs.compiled.arrays import Array, Arrays, norm, pose, quaternion
from envs.compiled.rewards import caging, hamacher, tolerance
from envs.compiled.scene import Scene
from envs.compiled.task import body, geom_axes

MODEL = "sawyer_coffee.xml"
HAND_START = (0.0, 0.4, 0.2)
READINGS = {"mug": body("obj"), "mug_axes": geom_axes("mug")}
TARGET_RADIUS = 0.05
SUCCESS_RADIUS = 0.07
GRASP_RADIUS = 0.04
SCALE = (2.0, 2.0, 1.0)


def place(scene: Scene, start: Array, target: Array, under_machine: Array) -> dict[str, Any]:
    """Places the mug, and the machine behind one of mug and target.

    The mug comes first in this model, but what Meta-World stops are the entries that it stops elsewhere: here, six
    joints of the arm and the gripper. The mug keeps its turn and its velocity.
    """
    scene.set_joints(dict(enumerate(start)), tuple(range(9, 15)))
    scene.move_body("coffee_machine", under_machine + np.array([0.0, 0.22, 0.0]))
    return {"target": target, "object_start": start}


def observe(readings: Arrays) -> Array:
    return pose(readings["mug"], quaternion(readings["mug_axes"]))


def reward_v2(readings: Arrays, action: Array, state: Arrays) -> tuple[Array, Array]:
    mug, target, start = readings["mug"], state["target"], state["object_start"]
    scale = np.array(SCALE)
    scaled_distance = norm((mug - target) * scale)
    in_place = tolerance(scaled_distance, (0.0, TARGET_RADIUS), norm((start - target) * scale))
    caged = caging(
        readings,
        state,
        action,
        mug,
        object_radius=0.02,
        xz_threshold=0.05,
        density="medium",
        reach_radius=GRASP_RADIUS,
        desired_effort=0.7,
    )
    held = (norm(mug - readings["tcp"]) < GRASP_RADIUS) & (readings["gripper"] > 0)
    reward = hamacher(caged, in_place) + np.where(held, 1.0 + 5.0 * in_place, 0.0)
    return np.where(scaled_distance < TARGET_RADIUS, 10.0, reward), norm(mug - target) <= SUCCESS_RADIUS
