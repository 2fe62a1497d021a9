"""What stick-push-v3 and stick-pull-v3 share: a stick to grasp, and a thermos to move with it."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from envs.compiled.arrays import Array, Arrays, norm, pose, positive, quaternion
from envs.compiled.rewards import approach_v1, lift_v1, progress_v1
from envs.compiled.scene import Scene
from envs.compiled.task import body, body_axes, site
from envs.compiled.tasks._picking import at_height

MODEL = "sawyer_stick_obj.xml"
READINGS = {"stick": body("stick"), "stick_axes": body_axes("stick"), "insertion": site("insertion")}
START_HEIGHT = 0.02
SUCCESS_RADIUS = 0.12
LIFT = 0.04


def place(scene: Scene, start: Array, thermos: tuple[float, float]) -> dict[str, Any]:
    """Places the stick, and the thermos along its two slides.

    Meta-World means to stop the thermos, but of its two velocities it stops the one along y.
    """
    scene.place_object(start)
    scene.set_joints({16: thermos[0], 17: thermos[1]}, (16,))
    return {
        "object_start": start,
        "object_height": scene.body("stick")[2],
        "thermos_start": scene.body("object"),
    }


def stick_start(goal: Array) -> Array:
    return np.array([goal[0], goal[1], START_HEIGHT])


def poses(readings: Arrays, handle: Array) -> Array:
    """The pose of the stick, and the place of the thermos."""
    stick = pose(readings["stick"], quaternion(readings["stick_axes"]))
    return np.concat([stick, pose(handle)], axis=1)


def reward_v1(readings: Arrays, action: Array, state: Arrays, near_goal: tuple[float, float]) -> Array:
    """Reward of the first version.

    Meta-World reads the place of the thermos from the wrong entries of the observation: it takes the stick's height and
    the first two numbers of its quaternion.

    Args:
        near_goal: the squares of the widths of the two peaks at the thermos' goal.
    """
    stick, target, start = readings["stick"], state["target"], state["object_start"]
    start_height = state["object_height"]
    height = start_height + LIFT
    thermos = readings["objects"][:, 2:5]
    distance, stick_distance = norm(thermos[:, :2] - target[:, :2]), norm(thermos - stick)
    reach_distance = norm(stick - readings["tcp"])
    lift, lifted = lift_v1(stick[:, 2], start_height, height, reach_distance, distance)
    max_stick_distance = norm(at_height(state["thermos_start"], height) - start) + height
    max_distance = norm(state["thermos_start"][:, :2] - target[:, :2])
    square = distance**2
    peaks = np.exp(-square / near_goal[0]) + np.exp(-square / near_goal[1])
    moved = np.where(stick_distance < 0.05, 1000 * (max_distance - distance) + 2000 * peaks, 0.0)
    moved = np.where(lifted, positive(progress_v1(max_stick_distance, stick_distance) + moved), 0.0)
    return approach_v1(readings, action, stick, 0.0, radius=math.inf) + lift + moved
