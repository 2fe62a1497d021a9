"""door-unlock-v3: turn a door's lock up."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from envs.compiled.arrays import Array, Arrays, norm
from envs.compiled.observation import observed_hand
from envs.compiled.rewards import tolerance
from envs.compiled.scene import Scene
from envs.compiled.task import body, body_quaternion, site
from envs.compiled.tasks.door_lock import LOCK_LENGTH, SUCCESS_DISTANCE
from envs.compiled.tasks.door_lock import TASK as DOOR_LOCK

TO_TARGET = np.array([0.1, -0.04, 0.0])


def reset(scene: Scene, goal: Array) -> dict[str, Any]:
    scene.move_body("door", goal)
    scene.set_joints({9: 1.5708}, (9,))
    return {"target": scene.body("lock_link") + TO_TARGET, "max_distance": np.linalg.norm(TO_TARGET)}


def reward_v2(readings: Arrays, action: Array, state: Arrays) -> tuple[Array, Array]:
    lock = readings["lock"]
    scale = np.array([0.25, 1.0, 0.5])
    shoulder = np.array([0.0, 0.055, 0.07])  # seen from the hand
    # The margin, meant to be where the lock was at the reset, is a view of where it is now.
    near = tolerance(
        norm((observed_hand(readings) + shoulder - lock) * scale),
        (0.0, 0.02),
        norm((state["tcp_start"] + shoulder - readings["link"]) * scale),
    )
    distance = np.abs(state["target"][:, 0] - lock[:, 0])
    unlocked = tolerance(distance, (0.0, 0.005), LOCK_LENGTH)
    return 2 * near + 8 * unlocked, distance <= SUCCESS_DISTANCE


TASK = replace(
    DOOR_LOCK,
    readings={
        "lock": site("lockStartUnlock"),
        "link": body("lock_link"),
        "door_quaternion": body_quaternion("door_link"),
    },
    reset=reset,
    reward_v2=reward_v2,
    goal_low=(0.0, 0.64, 0.2100),
    goal_high=(0.2, 0.7, 0.2111),
)
