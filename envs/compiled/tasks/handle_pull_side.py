"""handle-pull-side-v3: pull up a handle that points to the side."""

from __future__ import annotations

from typing import Any

from envs.compiled.arrays import Array, Arrays, norm
from envs.compiled.scene import Scene
from envs.compiled.task import Task, site
from envs.compiled.tasks import _handle

SUCCESS_RADIUS = 0.08


def reset(scene: Scene, goal: Array) -> dict[str, Any]:
    _handle.place(scene, goal, -0.1)
    target = scene.site("goalPull")
    return {
        "target": target,
        "object_start": scene.site("handleCenter"),
        "max_distance": abs(scene.site("handleStart")[2] - target[2]),
    }


def reward_v1(readings: Arrays, action: Array, state: Arrays) -> tuple[Array, Array]:
    return _handle.reward_v1(readings, state, SUCCESS_RADIUS)


def reward_v2(readings: Arrays, action: Array, state: Arrays) -> tuple[Array, Array]:
    handle, target, start = readings["handle"], state["target"], state["object_start"]
    distance = norm(handle - target)
    reward = _handle.pulling(
        readings,
        action,
        state,
        distance=distance,
        initial_distance=norm(start - target),
        lifted=handle[:, 2] - 0.01 > start[:, 2],
        object_radius=0.032,
        pad_success_threshold=0.06,
    )
    return reward, distance <= SUCCESS_RADIUS


TASK = Task(
    model=_handle.SIDE,
    hand_start=_handle.HAND_START,
    reset_low=(-0.35, 0.65, 0.0),
    reset_high=(-0.25, 0.75, 0.0),
    readings={"handle": site("handleCenter")},
    reset=reset,
    observe=_handle.observe,
    reward_v1=reward_v1,
    reward_v2=reward_v2,
    moved_bodies=("box",),
)
