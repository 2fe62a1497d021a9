"""plate-slide-v3: slide a plate into a cabinet."""

from __future__ import annotations

from typing import Any

import numpy as np

from envs.compiled.arrays import Array, Arrays, norm
from envs.compiled.rewards import hamacher, tolerance
from envs.compiled.scene import Scene
from envs.compiled.task import Task
from envs.compiled.tasks import _plate


def reset(scene: Scene, goal: Array) -> dict[str, Any]:
    start, target = goal[:3], goal[3:]
    scene.move_body("puck_goal", target)
    _plate.slide(scene, 0.0, 0.0)
    return {"target": target, "object_start": start, "max_distance": norm(start[:2] - target[:2])}


def reward_v2(readings: Arrays, action: Array, state: Arrays) -> tuple[Array, Array]:
    plate, target, start = readings["plate"], state["target"], state["object_start"]
    distance = norm(plate - target)
    in_place = tolerance(distance, (0.0, _plate.TARGET_RADIUS), norm(start - target))
    reach = tolerance(
        norm(readings["tcp"] - plate), (0.0, _plate.TARGET_RADIUS), norm(state["tcp_start"] - start)
    )
    reward = 8 * hamacher(reach, in_place)
    reward = np.where(distance < _plate.TARGET_RADIUS, 10.0, reward)
    return reward, distance <= _plate.SUCCESS_RADIUS


TASK = Task(
    model=_plate.FORWARD,
    hand_start=_plate.HAND_START,
    reset_low=(0.0, 0.6, 0.0, -0.1, 0.85, 0.0),
    reset_high=(0.0, 0.6, 0.0, 0.1, 0.9, 0.0),
    readings=_plate.READINGS,
    reset=reset,
    observe=_plate.observe,
    reward_v1=_plate.reward_v1,
    reward_v2=reward_v2,
    moved_bodies=("puck_goal",),
    goal_low=(-0.1, 0.85, 0.0),
    goal_high=(0.1, 0.9, 0.0),
)
