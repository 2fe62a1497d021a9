"""door-close-v3: push an open door shut."""

from __future__ import annotations

from typing import Any

import numpy as np

from envs.compiled.arrays import Array, Arrays, norm
from envs.compiled.rewards import reach_and_move_v1, tolerance
from envs.compiled.scene import Scene
from envs.compiled.task import Task, geom, geom_axes
from envs.compiled.tasks.door_open import observe

TARGET_RADIUS = 0.05
SUCCESS_DISTANCE = 0.08
HAND_START = np.array([-0.5, 0.6, 0.2], dtype=np.float32)
OPEN = -1.5708


def reset(scene: Scene, goal: Array) -> dict[str, Any]:
    target = goal + np.array([0.2, -0.2, 0.0])
    scene.move_body("door", goal)
    scene.set_joints({9: OPEN}, (9,))
    max_distance = np.linalg.norm(scene.geom("handle")[:2] - target[:2])
    return {"target": target, "object_start": goal, "max_distance": max_distance}


def reward_v1(readings: Arrays, action: Array, state: Arrays) -> tuple[Array, Array]:
    handle, target = readings["handle"], state["target"]
    distance = norm(handle[:, :2] - target[:, :2])
    reward = reach_and_move_v1(norm(handle - readings["tcp"]), state["max_distance"], distance)
    return reward, distance <= SUCCESS_DISTANCE


def reward_v2(readings: Arrays, action: Array, state: Arrays) -> tuple[Array, Array]:
    handle, target = readings["handle"], state["target"]
    distance = norm(handle - target)
    in_place = tolerance(distance, (0.0, TARGET_RADIUS), norm(state["object_start"] - target), "gaussian")
    hand_in_place = tolerance(
        norm(readings["tcp"] - target),
        (0.0, TARGET_RADIUS / 4),
        norm(np.array(HAND_START.tolist()) - handle) + 0.1,
        "gaussian",
    )
    reward = 3 * hand_in_place + 6 * in_place
    return np.where(distance < TARGET_RADIUS, 10.0, reward), distance <= SUCCESS_DISTANCE


TASK = Task(
    model="sawyer_door_pull.xml",
    hand_start=HAND_START,
    reset_low=(0.0, 0.85, 0.15),
    reset_high=(0.1, 0.95, 0.15),
    readings={"handle": geom("handle"), "handle_axes": geom_axes("handle")},
    reset=reset,
    observe=observe,
    reward_v1=reward_v1,
    reward_v2=reward_v2,
    moved_bodies=("door",),
    goal_low=(0.2, 0.65, 0.1499),
    goal_high=(0.3, 0.75, 0.1501),
)
