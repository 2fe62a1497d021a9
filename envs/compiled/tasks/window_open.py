"""window-open-v3: push a sliding window open."""

from __future__ import annotations

from typing import Any

import numpy as np

from envs.compiled.arrays import Array, Arrays, norm, pose
from envs.compiled.rewards import hamacher, progress_v1, reaching, tolerance
from envs.compiled.scene import Scene
from envs.compiled.task import Task, site

TARGET_RADIUS = 0.05
WIDTH = 0.2
HANDLE_RADIUS = 0.02


def reset(scene: Scene, goal: Array) -> dict[str, Any]:
    scene.move_body("window", goal)
    # Stale: the handle as the settling left it, the window a little open perhaps.
    start = scene.site("handleOpenStart")
    scene.set_joint_silently("window_slide", 0.0)
    return {"target": goal + np.array([WIDTH, 0.0, 0.0]), "object_start": start}


def observe(readings: Arrays) -> Array:
    return pose(readings["handle"])


def reward_v1(readings: Arrays, action: Array, state: Arrays) -> tuple[Array, Array]:
    handle = readings["handle"]
    reach_distance = norm(handle - readings["tcp"])
    distance = np.abs(handle[:, 0] - state["target"][:, 0])
    pushed = np.where(reach_distance < 0.05, progress_v1(WIDTH, distance), 0.0)
    return pushed - reach_distance, distance <= TARGET_RADIUS


def reward_v2(readings: Arrays, action: Array, state: Arrays) -> tuple[Array, Array]:
    handle, start = readings["handle"], state["object_start"]
    distance = np.abs(handle[:, 0] - state["target"][:, 0])
    in_place = tolerance(distance, (0.0, TARGET_RADIUS), WIDTH - TARGET_RADIUS)
    reach = reaching(readings, state, handle, start, HANDLE_RADIUS)
    return 10 * hamacher(reach, in_place), distance <= TARGET_RADIUS


TASK = Task(
    model="sawyer_window_horizontal.xml",
    hand_start=np.array([0.0, 0.4, 0.2], dtype=np.float32),
    reset_low=(-0.1, 0.7, 0.16),
    reset_high=(0.1, 0.9, 0.16),
    readings={"handle": site("handleOpenStart")},
    reset=reset,
    observe=observe,
    reward_v1=reward_v1,
    reward_v2=reward_v2,
    moved_bodies=("window",),
)
