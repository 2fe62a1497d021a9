"""hand-insert-v3: bring a block into a hole in the table; its first version is about the hand alone."""

from __future__ import annotations

from typing import Any

import numpy as np

from envs.compiled.arrays import Array, Arrays, norm, pose, positive
from envs.compiled.rewards import caging, hamacher, progress_v1, tolerance
from envs.compiled.scene import Scene
from envs.compiled.task import Task, body, body_quaternion

TARGET_RADIUS = 0.05
START_HEIGHT = 0.05
HAND_START = np.array([0.0, 0.6, 0.2], dtype=np.float32)


def reset(scene: Scene, goal: Array) -> dict[str, Any]:
    start = np.array([goal[0], goal[1], START_HEIGHT])
    scene.place_object(start)
    return {"target": goal[3:], "object_start": start}


def observe(readings: Arrays) -> Array:
    return pose(readings["block"], readings["block_quaternion"])


def reward_v1(readings: Arrays, action: Array, state: Arrays) -> tuple[Array, Array]:
    offset, target = readings["tcp"] - state["target"], state["target"]
    across, height = norm(offset[:, :2]), np.abs(offset[:, 2])
    progress = positive(progress_v1(np.abs(float(HAND_START[2]) - target[:, 2]), height))
    # Success is measured by where the block was at the reset, so there is none.
    success = norm(state["object_start"] - target) <= TARGET_RADIUS
    return np.where(across < 0.05, progress, 0.0) - across, success


def reward_v2(readings: Arrays, action: Array, state: Arrays) -> tuple[Array, Array]:
    block, target, start = readings["block"], state["target"], state["object_start"]
    distance = norm(block - target)
    in_place = tolerance(distance, (0.0, TARGET_RADIUS), norm(start - target))
    caged = caging(readings, state, action, block, object_radius=0.015, xz_threshold=0.005)
    held = (norm(block - readings["tcp"]) < 0.02) & (readings["gripper"] > 0)
    reward = hamacher(caged, in_place) + np.where(held, 1.0 + 7.0 * in_place, 0.0)
    return np.where(distance < TARGET_RADIUS, 10.0, reward), distance <= TARGET_RADIUS


TASK = Task(
    model="sawyer_table_with_hole.xml",
    hand_start=HAND_START,
    reset_low=(-0.1, 0.6, 0.05, -0.04, 0.8, -0.0201),
    reset_high=(0.1, 0.7, 0.05, 0.04, 0.88, -0.0199),
    min_distance=0.15,
    readings={"block": body("obj"), "block_quaternion": body_quaternion("obj")},
    reset=reset,
    observe=observe,
    reward_v1=reward_v1,
    reward_v2=reward_v2,
    hand_low=(-0.5, 0.40, -0.15),
    goal_low=(-0.04, 0.8, -0.0201),
    goal_high=(0.04, 0.88, -0.0199),
)
