"""sweep-v3: sweep a block off the table."""

from __future__ import annotations

from typing import Any

import numpy as np

from envs.compiled.arrays import Array, Arrays, pose
from envs.compiled.scene import Scene
from envs.compiled.task import Task, body, body_quaternion
from envs.compiled.tasks._sweeping import sweep_v1, sweep_v2

START_HEIGHT = 0.02


def reset(scene: Scene, goal: Array) -> dict[str, Any]:
    start = np.array([goal[0], goal[1], START_HEIGHT])
    scene.place_object(start)
    return {"target": np.array([0.5, goal[1], 0.01]), "object_start": start}


def observe(readings: Arrays) -> Array:
    return pose(readings["block"], readings["block_quaternion"])


def reward_v1(readings: Arrays, action: Array, state: Arrays) -> tuple[Array, Array]:
    return sweep_v1(readings, state, readings["block"][:, 2] < state["object_start"][:, 2] - 0.05)


def reward_v2(readings: Arrays, action: Array, state: Arrays) -> tuple[Array, Array]:
    return sweep_v2(readings, state, state["target"], grip_margin=0.01, xz_threshold=0.005)


TASK = Task(
    model="sawyer_sweep_v3.xml",
    hand_start=(0.0, 0.6, 0.2),
    reset_low=(-0.1, 0.6, 0.02),
    reset_high=(0.1, 0.7, 0.02),
    readings={"block": body("obj"), "block_quaternion": body_quaternion("obj")},
    reset=reset,
    observe=observe,
    reward_v1=reward_v1,
    reward_v2=reward_v2,
    goal_low=(0.49, 0.6, 0.00),
    goal_high=(0.51, 0.7, 0.02),
)
