"""plate-slide-back-v3: slide a plate out of a cabinet."""

from __future__ import annotations

from typing import Any

from envs.compiled.arrays import Array, norm
from envs.compiled.scene import Scene
from envs.compiled.task import Task
from envs.compiled.tasks import _plate


def reset(scene: Scene, goal: Array) -> dict[str, Any]:
    start, target = goal[:3], goal[3:]
    # The cabinet stays: Meta-World moves it in the data only, which the next step computes anew.
    _plate.slide(scene, 0.0, 0.15)
    max_distance = norm(scene.geom("puck")[:2] - target[:2])
    return {"target": target, "object_start": start, "max_distance": max_distance}


TASK = Task(
    model=_plate.FORWARD,
    hand_start=_plate.HAND_START,
    reset_low=(0.0, 0.85, 0.0, -0.1, 0.6, 0.015),
    reset_high=(0.0, 0.85, 0.0, 0.1, 0.6, 0.015),
    readings=_plate.READINGS,
    reset=reset,
    observe=_plate.observe,
    reward_v1=_plate.reward_v1,
    reward_v2=_plate.reward_v2,
    goal_low=(-0.1, 0.6, 0.015),
    goal_high=(0.1, 0.6, 0.015),
)
