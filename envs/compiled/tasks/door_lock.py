"""door-lock-v3: turn a door's lock down."""

from __future__ import annotations

from typing import Any

import numpy as np

from envs.compiled.arrays import Array, Arrays, norm, pose
from envs.compiled.rewards import hamacher, reach_and_move_v1, tolerance
from envs.compiled.scene import Scene
from envs.compiled.task import Task, body_quaternion, site

TO_TARGET = np.array([0.0, -0.04, -0.1])
LOCK_LENGTH = 0.1
SUCCESS_DISTANCE = 0.02
HAND_LOW = (-0.5, 0.40, -0.15)


def reset(scene: Scene, goal: Array) -> dict[str, Any]:
    scene.move_body("door", goal)
    scene.step_physics()
    return {"target": scene.body("lock_link") + TO_TARGET, "max_distance": np.linalg.norm(TO_TARGET)}


def observe(readings: Arrays) -> Array:
    return pose(readings["lock"], readings["door_quaternion"])


def reward_v1(readings: Arrays, action: Array, state: Arrays) -> tuple[Array, Array]:
    distance = norm(readings["lock"] - state["target"])
    reward = reach_and_move_v1(norm(readings["lock"] - readings["tcp"]), state["max_distance"], distance)
    return reward, distance <= SUCCESS_DISTANCE


def reward_v2(readings: Arrays, action: Array, state: Arrays) -> tuple[Array, Array]:
    lock = readings["lock"]
    # The margin, meant to be where the left pad was at the reset, is a view of where it is now.
    reach_distance = norm((lock - readings["left_pad"]) * np.array([0.25, 1.0, 0.5]))
    near = tolerance(reach_distance, (0.0, 0.01), reach_distance)
    distance = np.abs(state["target"][:, 2] - lock[:, 2])
    locked = tolerance(distance, (0.0, 0.005), LOCK_LENGTH)
    return 2 * hamacher(readings["gripper"], near) + 8 * locked, distance <= SUCCESS_DISTANCE


TASK = Task(
    model="sawyer_door_lock.xml",
    hand_start=np.array([0.0, 0.6, 0.2], dtype=np.float32),
    reset_low=(-0.1, 0.8, 0.15),
    reset_high=(0.1, 0.85, 0.15),
    readings={"lock": site("lockStartLock"), "door_quaternion": body_quaternion("door_link")},
    reset=reset,
    observe=observe,
    reward_v1=reward_v1,
    reward_v2=reward_v2,
    moved_bodies=("door",),
    hand_low=HAND_LOW,
    goal_low=HAND_LOW,
)
