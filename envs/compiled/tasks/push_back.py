"""push-back-v3: pull a puck back to a goal near the robot."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from envs.compiled.arrays import Array, Arrays, norm
from envs.compiled.rewards import caging_by_pads, hamacher, tolerance
from envs.compiled.tasks.push_wall import SUCCESS_RADIUS, TARGET_RADIUS
from envs.compiled.tasks.push_wall import TASK as PUSH_WALL


def reward_v2(readings: Arrays, action: Array, state: Arrays) -> tuple[Array, Array]:
    puck, target, start = readings["puck"], state["target"], state["object_start"]
    distance, initial_distance = norm(puck - target), norm(start - target)
    in_place = tolerance(distance, (0.0, TARGET_RADIUS), initial_distance)
    caged = caging_by_pads(readings, state, puck, object_radius=0.007, grip_margin=0.003, xz_threshold=0.01)
    opening = readings["gripper"]
    held = (norm(puck - readings["tcp"]) < 0.01) & (opening > 0) & (opening < 0.55)
    moved = held & (initial_distance - distance > 0.01)
    reward = hamacher(caged, in_place) + np.where(moved, 1.0 + 5.0 * in_place, 0.0)
    return np.where(distance < TARGET_RADIUS, 10.0, reward), distance <= SUCCESS_RADIUS


TASK = replace(
    PUSH_WALL,  # how things are placed, observation and reward_v1 are the same
    model="sawyer_push_back_v3.xml",
    hand_start=np.array([0.0, 0.6, 0.2], dtype=np.float32),
    reset_low=(-0.1, 0.8, 0.02, -0.1, 0.6, 0.0199),
    reset_high=(0.1, 0.85, 0.02, 0.1, 0.7, 0.0201),
    reward_v2=reward_v2,
    goal_low=(-0.1, 0.6, 0.0199),
    goal_high=(0.1, 0.7, 0.0201),
)
