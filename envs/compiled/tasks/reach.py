"""reach-v3: bring the fingers to a point in space; a puck lies about."""

from __future__ import annotations

from typing import Any

import numpy as np

from envs.compiled.arrays import Array, Arrays, norm, positive
from envs.compiled.rewards import progress_v1, tolerance
from envs.compiled.scene import Scene
from envs.compiled.task import Task, body, geom_axes
from envs.compiled.tasks.pick_place import observe

HAND_START = (0.0, 0.6, 0.2)


def reset(scene: Scene, goal: Array) -> dict[str, Any]:
    target = goal[3:]
    scene.place_object(goal[:3])
    return {"target": target}


def reward_v1(readings: Arrays, action: Array, state: Arrays) -> tuple[Array, Array]:
    distance = norm(readings["tcp"] - state["target"])
    max_distance = norm(state["tcp_start"] - state["target"])
    return positive(progress_v1(max_distance, distance)), distance <= 0.05


def reward_v2(readings: Arrays, action: Array, state: Arrays) -> tuple[Array, Array]:
    target = state["target"]
    distance = norm(readings["tcp"] - target)
    margin = norm(np.array(HAND_START) - target)
    return 10 * tolerance(distance, (0.0, 0.05), margin), distance <= 0.05


TASK = Task(
    model="sawyer_reach_v3.xml",
    hand_start=HAND_START,
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
