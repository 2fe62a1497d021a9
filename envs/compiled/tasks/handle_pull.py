"""handle-pull-v3: pull a handle up."""

from __future__ import annotations

from typing import Any

import numpy as np

from envs.compiled.arrays import Array, Arrays
from envs.compiled.scene import Scene
from envs.compiled.task import Task, site
from envs.compiled.tasks import _handle

HANDLE_HEIGHT = (
    0.022  # of the site "handleStart" within its body, which Meta-World takes for one in the world
)


def reset(scene: Scene, goal: Array) -> dict[str, Any]:
    _handle.place(scene, goal, -0.1)
    target = scene.site("goalPull")
    # Where Meta-World says that the handle was is where the box stands.
    return {"target": target, "object_start": goal, "max_distance": abs(HANDLE_HEIGHT - target[2])}


def reward_v1(readings: Arrays, action: Array, state: Arrays) -> tuple[Array, Array]:
    return _handle.reward_v1(readings, state, _handle.PULL_RADIUS)


def reward_v2(readings: Arrays, action: Array, state: Arrays) -> tuple[Array, Array]:
    handle, target, start = readings["handle"], state["target"], state["object_start"]
    distance = np.abs(target[:, 2] - handle[:, 2])
    reward = _handle.pulling(
        readings,
        action,
        state,
        distance=distance,
        initial_distance=np.abs(target[:, 2] - start[:, 2]),
        lifted=handle[:, 1] - 0.01 > start[:, 2],  # Meta-World compares y with z: nearly always true
        object_radius=0.022,
        pad_success_threshold=0.05,
    )
    return reward, distance <= _handle.PULL_RADIUS


TASK = Task(
    model=_handle.FRONT,
    hand_start=_handle.HAND_START,
    reset_low=(-0.1, 0.8, -0.001),
    reset_high=(0.1, 0.9, 0.001),
    readings={"handle": site("handleRight")},
    reset=reset,
    observe=_handle.observe,
    reward_v1=reward_v1,
    reward_v2=reward_v2,
    moved_bodies=("box",),
    goal_low=(-0.1, 0.55, 0.04),
    goal_high=(0.1, 0.70, 0.18),
)
