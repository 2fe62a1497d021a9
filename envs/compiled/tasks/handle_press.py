"""handle-press-v3: press a handle down."""

from __future__ import annotations

from typing import Any

import numpy as np

from envs.compiled.arrays import Array, Arrays
from envs.compiled.rewards import hamacher, reaching, tolerance
from envs.compiled.scene import Scene
from envs.compiled.task import Task, site
from envs.compiled.tasks import _handle

TARGET_RADIUS = 0.02
HANDLE_RADIUS = 0.02


def reset(scene: Scene, goal: Array) -> dict[str, Any]:
    _handle.place(scene, goal, -0.001)
    target, start = scene.site("goalPress"), scene.site("handleStart")
    return {"target": target, "object_start": start, "max_distance": abs(start[2] - target[2])}


def reward_v1(readings: Arrays, action: Array, state: Arrays) -> tuple[Array, Array]:
    return _handle.reward_v1(readings, state, TARGET_RADIUS)


def reward_v2(readings: Arrays, action: Array, state: Arrays) -> tuple[Array, Array]:
    handle, target, start = readings["handle"], state["target"], state["object_start"]
    distance = np.abs(handle[:, 2] - target[:, 2])
    in_place = tolerance(
        distance, (0.0, TARGET_RADIUS), np.abs(np.abs(start[:, 2] - target[:, 2]) - TARGET_RADIUS)
    )
    reach = reaching(readings, state, handle, start, HANDLE_RADIUS)
    success = distance <= TARGET_RADIUS
    return 10 * np.where(success, 1.0, hamacher(reach, in_place)), success


TASK = Task(
    model=_handle.FRONT,
    hand_start=_handle.HAND_START,
    reset_low=(-0.1, 0.8, -0.001),
    reset_high=(0.1, 0.9, 0.001),
    readings={"handle": site("handleStart")},
    reset=reset,
    observe=_handle.observe,
    reward_v1=reward_v1,
    reward_v2=reward_v2,
    moved_bodies=("box",),
    goal_low=(-0.1, 0.55, 0.04),
    goal_high=(0.1, 0.70, 0.08),
)
