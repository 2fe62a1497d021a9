"""faucet-close-v3: turn a faucet off."""

from __future__ import annotations

from typing import Any

import numpy as np

from envs.compiled.arrays import Array, Arrays
from envs.compiled.scene import Scene
from envs.compiled.task import Task, body_quaternion, site
from envs.compiled.tasks import _faucet


def reset(scene: Scene, goal: Array) -> dict[str, Any]:
    scene.move_body("faucetBase", goal)
    scene.forward()
    return {"target": goal + np.array([-_faucet.HANDLE_LENGTH, 0.0, _faucet.HANDLE_HEIGHT]), "faucet": goal}


def reward_v2(readings: Arrays, action: Array, state: Arrays) -> tuple[Array, Array]:
    return _faucet.reward_at(readings["objects"][:, :3], readings, state)


TASK = Task(
    model=_faucet.MODEL,
    hand_start=_faucet.HAND_START,
    reset_low=(-0.1, 0.8, 0.0),
    reset_high=(0.1, 0.85, 0.0),
    readings={"handle": site("handleStartClose"), "faucet_quaternion": body_quaternion("faucetBase")},
    reset=reset,
    observe=_faucet.observe,
    reward_v1=_faucet.reward_v1,
    reward_v2=reward_v2,
    moved_bodies=("faucetBase",),
    hand_low=_faucet.LOW,
    hand_high=_faucet.HIGH,
    goal_low=_faucet.LOW,
    goal_high=_faucet.HIGH,
)
