"""drawer-open-v3: pull a drawer open."""

from __future__ import annotations

from typing import Any

import numpy as np

from envs.compiled.arrays import Array, Arrays, norm, pose
from envs.compiled.observation import observed_hand
from envs.compiled.rewards import reach_and_move_v1, tolerance
from envs.compiled.scene import Scene
from envs.compiled.task import Task, body, body_quaternion

LENGTH = 0.2
SUCCESS_DISTANCE = 0.03


def reset(scene: Scene, goal: Array) -> dict[str, Any]:
    # What is read stays stale until the first step.
    scene.move_body("drawer", goal)
    return {"target": goal + np.array([0.0, -0.16 - LENGTH, 0.09])}


def observe(readings: Arrays) -> Array:
    drawer = readings["drawer"]
    return pose(drawer + np.array([0.0, -0.16, 0.0]), readings["drawer_quaternion"])


def reward_v1(readings: Arrays, action: Array, state: Arrays) -> tuple[Array, Array]:
    handle = readings["objects"][:, :3]
    distance = np.abs(handle[:, 1] - state["target"][:, 1])
    reward = reach_and_move_v1(norm(handle - readings["tcp"]), LENGTH, distance)
    return reward, distance <= SUCCESS_DISTANCE


def reward_v2(readings: Arrays, action: Array, state: Arrays) -> tuple[Array, Array]:
    handle, target = readings["objects"][:, :3], state["target"]
    distance = norm(handle - target)
    opened = tolerance(distance, (0.0, 0.02), LENGTH)
    scale = np.array([3.0, 3.0, 1.0])
    start = target + np.array([0.0, LENGTH, 0.0])
    near = tolerance(
        norm((handle - observed_hand(readings)) * scale),
        (0.0, 0.01),
        norm((start - state["tcp_start"]) * scale),
    )
    return 5 * (near + opened), distance <= SUCCESS_DISTANCE


TASK = Task(
    model="sawyer_drawer.xml",
    hand_start=np.array([0.0, 0.6, 0.2], dtype=np.float32),
    reset_low=(-0.1, 0.9, 0.0),
    reset_high=(0.1, 0.9, 0.0),
    readings={"drawer": body("drawer_link"), "drawer_quaternion": body_quaternion("drawer_link")},
    reset=reset,
    observe=observe,
    reward_v1=reward_v1,
    reward_v2=reward_v2,
    moved_bodies=("drawer",),
)
