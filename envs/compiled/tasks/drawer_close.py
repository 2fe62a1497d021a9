"""drawer-close-v3: push a drawer shut."""

from __future__ import annotations

from typing import Any

import numpy as np

from envs.compiled.arrays import Array, Arrays, norm, pose, positive
from envs.compiled.rewards import effort, hamacher, progress_v1, reaching, tolerance
from envs.compiled.scene import Scene
from envs.compiled.task import Task, body

TARGET_RADIUS = 0.05
LENGTH = 0.15
HANDLE = (0.0, -0.16, 0.05)
REACH_RADIUS = 0.005


def reset(scene: Scene, goal: Array) -> dict[str, Any]:
    scene.move_body("drawer", goal)
    scene.set_joints({9: -LENGTH})
    return {
        "target": goal + np.array([0.0, -0.16, 0.09]),
        "object_start": scene.body("drawer_link") + HANDLE,
    }


def observe(readings: Arrays) -> Array:
    return pose(readings["drawer"] + np.array(HANDLE))


def reward_v1(readings: Arrays, action: Array, state: Arrays) -> tuple[Array, Array]:
    handle = readings["objects"][:, :3]
    reach_distance = norm(handle - readings["tcp"])
    distance = np.abs(handle[:, 1] - state["target"][:, 1])
    pushed = np.where(reach_distance < 0.05, positive(progress_v1(LENGTH, distance)), 0.0)
    return pushed - reach_distance, distance <= TARGET_RADIUS + 0.015


def reward_v2(readings: Arrays, action: Array, state: Arrays) -> tuple[Array, Array]:
    handle, target, start = readings["objects"][:, :3], state["target"], state["object_start"]
    distance = norm(handle - target)
    in_place = tolerance(distance, (0.0, TARGET_RADIUS), np.abs(norm(start - target) - TARGET_RADIUS))
    reach = reaching(readings, state, handle, start, REACH_RADIUS, "gaussian")
    success = distance <= TARGET_RADIUS + 0.015
    reward = hamacher(hamacher(reach, effort(action)), in_place)
    return 10 * np.where(success, 1.0, reward), success


TASK = Task(
    model="sawyer_drawer.xml",
    hand_start=np.array([0.0, 0.6, 0.2], dtype=np.float32),
    reset_low=(-0.1, 0.9, 0.0),
    reset_high=(0.1, 0.9, 0.0),
    readings={"drawer": body("drawer_link")},
    reset=reset,
    observe=observe,
    reward_v1=reward_v1,
    reward_v2=reward_v2,
    moved_bodies=("drawer",),
)
