"""push-v3: push a puck to a goal on the table."""

from __future__ import annotations

from typing import Any

import numpy as np

from envs.compiled.arrays import Array, Arrays, norm, positive
from envs.compiled.rewards import caging, progress_v1, tolerance
from envs.compiled.scene import Scene
from envs.compiled.task import Task, body, geom_axes
from envs.compiled.tasks.pick_place import observe

TARGET_RADIUS = 0.05


def reset(scene: Scene, goal: Array) -> dict[str, Any]:
    height = scene.body("obj")[2]
    start = np.array([goal[0], goal[1], height])
    target = np.array([goal[3], goal[4], height])
    scene.place_object(start)
    return {"target": target, "object_start": start}


def reward_v1(readings: Arrays, action: Array, state: Arrays) -> tuple[Array, Array]:
    puck, target = readings["puck"], state["target"]
    reach_distance = norm(readings["tcp"] - puck)
    distance = norm(puck[:, :2] - target[:, :2])
    max_distance = norm(state["object_start"][:, :2] - target[:, :2])
    pushed = np.where(reach_distance < 0.05, positive(progress_v1(max_distance, distance)), 0.0)
    return pushed - reach_distance, distance <= TARGET_RADIUS


def reward_v2(readings: Arrays, action: Array, state: Arrays) -> tuple[Array, Array]:
    puck, target, start = readings["puck"], state["target"], state["object_start"]
    distance = norm(puck - target)
    in_place = tolerance(distance, (0.0, TARGET_RADIUS), norm(start - target))
    caged = caging(readings, state, action, puck, object_radius=0.015, xz_threshold=0.005)
    reward = 2 * caged
    held = (norm(puck - readings["tcp"]) < 0.02) & (readings["gripper"] > 0)
    reward = np.where(held, 2 * reward + 1.0 + 5.0 * in_place, reward)
    return np.where(distance < TARGET_RADIUS, 10.0, reward), distance <= TARGET_RADIUS


TASK = Task(
    model="sawyer_push_v3.xml",
    hand_start=(0.0, 0.6, 0.2),
    reset_low=(-0.1, 0.6, 0.02, -0.1, 0.8, 0.01),
    reset_high=(0.1, 0.7, 0.02, 0.1, 0.9, 0.02),
    min_distance=0.15,
    readings={"puck": body("obj"), "puck_axes": geom_axes("objGeom")},
    reset=reset,
    observe=observe,
    reward_v1=reward_v1,
    reward_v2=reward_v2,
    goal_low=(-0.1, 0.8, 0.01),
    goal_high=(0.1, 0.9, 0.02),
)
