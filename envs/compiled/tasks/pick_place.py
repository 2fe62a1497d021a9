"""pick-place-v3: carry a puck to a point in space."""

from __future__ import annotations

from typing import Any

import numpy as np

from envs.compiled.arrays import Array, Arrays, norm, pose, quaternion
from envs.compiled.rewards import caging_by_effort, hamacher, tolerance
from envs.compiled.scene import Scene
from envs.compiled.task import Task, body, geom_axes
from envs.compiled.tasks._picking import place_v1

TARGET_RADIUS = 0.05
LIFT = 0.04


def reset(scene: Scene, goal: Array) -> dict[str, Any]:
    scene.place_object(goal[:3])
    return {"target": goal[3:], "object_start": goal[:3]}


def observe(readings: Arrays) -> Array:
    return pose(readings["puck"], quaternion(readings["puck_axes"]))


def reward_v1(readings: Arrays, action: Array, state: Arrays) -> tuple[Array, Array]:
    reward, distance = place_v1(readings, action, state, state["object_start"][:, 2], LIFT)
    return reward, distance <= 0.07


def reward_v2(readings: Arrays, action: Array, state: Arrays) -> tuple[Array, Array]:
    puck, target, start = readings["puck"], state["target"], state["object_start"]
    distance = norm(puck - target)
    in_place = tolerance(distance, (0.0, TARGET_RADIUS), norm(start - target))
    caged = caging_by_effort(readings, state, action, puck, object_radius=0.015)
    reward = hamacher(caged, in_place)
    near = (norm(puck - readings["tcp"]) < 0.02) & (readings["gripper"] > 0)
    held = near & (puck[:, 2] - 0.01 > start[:, 2])
    reward = np.where(held, reward + 1.0 + 5.0 * in_place, reward)
    return np.where(distance < TARGET_RADIUS, 10.0, reward), distance <= 0.07


TASK = Task(
    model="sawyer_pick_place_v3.xml",
    hand_start=(0.0, 0.6, 0.2),
    reset_low=(-0.1, 0.6, 0.02, -0.1, 0.8, 0.05),
    reset_high=(0.1, 0.7, 0.02, 0.1, 0.9, 0.3),
    min_distance=0.15,
    readings={"puck": body("obj"), "puck_axes": geom_axes("objGeom")},
    reset=reset,
    observe=observe,
    reward_v1=reward_v1,
    reward_v2=reward_v2,
    goal_low=(-0.1, 0.8, 0.05),
    goal_high=(0.1, 0.9, 0.3),
)
