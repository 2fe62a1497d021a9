"""plate-slide-side-v3: slide a plate sideways into a cabinet."""

from __future__ import annotations

from typing import Any

from envs.compiled.arrays import Array, norm
from envs.compiled.scene import Scene
from envs.compiled.task import Task
from envs.compiled.tasks import _plate


def reset(scene: Scene, goal: Array) -> dict[str, Any]:
    start, target = goal[:3], goal[3:]
    # The cabinet stays: Meta-World moves it in the data only, which the next step computes anew.
    _plate.slide(scene, 0.0, 0.0)
    return {"target": target, "object_start": start, "max_distance": norm(start[:2] - target[:2])}


TASK = Task(
    model=_plate.SIDEWAYS,
    hand_start=_plate.HAND_START,
    reset_low=(0.0, 0.6, 0.0, -0.3, 0.54, 0.0),
    reset_high=(0.0, 0.6, 0.0, -0.25, 0.66, 0.0),
    readings=_plate.READINGS,
    reset=reset,
    observe=_plate.observe,
    reward_v1=_plate.reward_v1,
    reward_v2=_plate.reward_v2,
    goal_low=(-0.3, 0.54, 0.0),
    goal_high=(-0.25, 0.66, 0.0),
)
