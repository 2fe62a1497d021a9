"""peg-unplug-side-v3: pull a plug out of the side of a box."""

from __future__ import annotations

from typing import Any

import numpy as np

from envs.compiled.arrays import Array, Arrays, norm, pose, positive
from envs.compiled.rewards import approach_v1, caging, progress_v1, tolerance
from envs.compiled.scene import Scene
from envs.compiled.task import Task, body_quaternion, site

TARGET_RADIUS = 0.05
SUCCESS_DISTANCE = 0.07
HAND_START = (0.0, 0.6, 0.2)


def reset(scene: Scene, goal: Array) -> dict[str, Any]:
    plug = goal + np.array([0.044, 0.0, 0.131])
    scene.move_body("box", goal)
    upright = (1.0, 0.0, 0.0, 0.0)
    # It goes on turning as it did.
    scene.set_joints(dict(enumerate([*plug, *upright], start=9)), (9, 10, 11))
    return {"target": plug + np.array([0.15, 0.0, 0.0]), "object_start": scene.site("pegEnd")}


def observe(readings: Arrays) -> Array:
    return pose(readings["plug"], readings["plug_quaternion"])


def reward_v1(readings: Arrays, action: Array, state: Arrays) -> tuple[Array, Array]:
    plug, target = readings["plug"], state["target"]
    distance = norm(plug[:, :2] - target[:, :2])
    progress = positive(progress_v1(norm(target - state["object_start"]), distance))
    placed = np.where(norm(plug - readings["tcp"]) < 0.05, progress, 0.0)
    return approach_v1(readings, action, plug, HAND_START[2]) + placed, distance <= SUCCESS_DISTANCE


def reward_v2(readings: Arrays, action: Array, state: Arrays) -> tuple[Array, Array]:
    plug, target, start = readings["plug"], state["target"], state["object_start"]
    distance = norm(plug - target)
    caged = caging(readings, state, action, plug, object_radius=0.025, xz_threshold=0.005, desired_effort=0.8)
    in_place = tolerance(distance, (0.0, TARGET_RADIUS), norm(start - target))
    pulled = (readings["gripper"] > 0.5) & (plug[:, 0] - start[:, 0] > 0.015)
    held = pulled & (norm(plug - readings["tcp"]) < 0.035)
    reward = 2 * caged + np.where(held, 1 + 5 * in_place, 0.0)
    return np.where(distance <= TARGET_RADIUS, 10.0, reward), distance <= SUCCESS_DISTANCE


TASK = Task(
    model="sawyer_peg_unplug_side.xml",
    hand_start=HAND_START,
    reset_low=(-0.25, 0.6, -0.001),
    reset_high=(-0.15, 0.8, 0.001),
    readings={"plug": site("pegEnd"), "plug_quaternion": body_quaternion("plug1")},
    reset=reset,
    observe=observe,
    reward_v1=reward_v1,
    reward_v2=reward_v2,
    moved_bodies=("box",),
    goal_low=(-0.25 + 0.194, 0.6, -0.001 + 0.131),
    goal_high=(-0.15 + 0.194, 0.8, 0.001 + 0.131),
)
