"""coffee-push-v3: push a mug under a coffee machine."""

from __future__ import annotations

from typing import Any

from envs.compiled.arrays import Array, Arrays, norm
from envs.compiled.rewards import reach_and_move_v1
from envs.compiled.scene import Scene
from envs.compiled.task import Task
from envs.compiled.tasks import _coffee


def reset(scene: Scene, goal: Array) -> dict[str, Any]:
    start, target = goal[:3], goal[3:]
    return _coffee.place(scene, start, target, under_machine=target)


def reward_v1(readings: Arrays, action: Array, state: Arrays) -> tuple[Array, Array]:
    mug, target = readings["mug"], state["target"]
    distance = norm(mug[:, :2] - target[:, :2])
    max_distance = norm(state["object_start"][:, :2] - target[:, :2])
    reward = reach_and_move_v1(norm(readings["tcp"] - mug), max_distance, distance)
    return reward, norm(mug - target) <= _coffee.SUCCESS_RADIUS


TASK = Task(
    model=_coffee.MODEL,
    hand_start=_coffee.HAND_START,
    reset_low=(-0.1, 0.55, -0.001, -0.05, 0.7, -0.001),
    reset_high=(0.1, 0.65, 0.001, 0.05, 0.75, 0.001),
    min_distance=0.15,
    readings=_coffee.READINGS,
    reset=reset,
    observe=_coffee.observe,
    reward_v1=reward_v1,
    reward_v2=_coffee.reward_v2,
    moved_bodies=("coffee_machine",),
    goal_low=(-0.05, 0.7, -0.001),
    goal_high=(0.05, 0.75, 0.001),
)
