"""disassemble-v3: lift a wrench's round nut off a peg."""

from __future__ import annotations

from typing import Any

import numpy as np

from envs.compiled.arrays import Array, Arrays, norm, positive
from envs.compiled.rewards import approach_v1, lift_v1, progress_v1, tolerance
from envs.compiled.scene import Scene
from envs.compiled.task import Task
from envs.compiled.tasks._picking import at_height
from envs.compiled.tasks._wrench import MODEL, READINGS, caging_of_handle, flatness, observe

LIFT = 0.05


def reset(scene: Scene, goal: Array) -> dict[str, Any]:
    start = goal[:3]
    peg = start + np.array([0.0, 0.0, 0.03])
    scene.move_body("peg", peg)
    scene.forward()
    scene.place_object(start)
    return {
        "target": start + np.array([0.0, 0.0, 0.15]),  # the goal that was drawn plays no part
        "object_start": start,
        "object_height": scene.body("RoundNut")[2],
        "peg": peg,
    }


def reward_v1(readings: Arrays, action: Array, state: Arrays) -> tuple[Array, Array]:
    wrench, target = readings["wrench"], state["target"]
    start_height = state["object_height"]
    height = start_height + LIFT
    reach_distance, distance = norm(wrench - readings["tcp"]), norm(wrench - target)
    approach = approach_v1(readings, action, wrench, state["tcp_start"][:, 2], radius=0.04, near=0.04)
    lift, lifted = lift_v1(wrench[:, 2], start_height, height, reach_distance, distance)
    max_distance = norm(at_height(state["object_start"], height) - target) + height
    progress = positive(progress_v1(max_distance, distance))
    place = np.where(lifted & (reach_distance < 0.03), progress, 0.0)
    # Once the wrench is away from the peg, the hand may be anywhere.
    away = np.any(np.abs(readings["wrench_body"][:, :2] - state["peg"][:, :2]) > 0.05, axis=1)
    held = approach + np.where(reach_distance < 0.04, lift, 0.0)
    return np.where(away, 100 * height, held) + place, wrench[:, 2] > target[:, 2]


def reward_v2(readings: Arrays, action: Array, state: Arrays) -> tuple[Array, Array]:
    nut, target = readings["nut"], state["target"]
    error = norm(target + np.array([0.0, 0.0, 0.1]) - nut)
    placed = 0.9 * tolerance(error, (0.0, 0.02), 0.2)
    placed = np.where(nut[:, 2] > 0.02, placed + 0.1, placed)
    caged = caging_of_handle(readings, action, state, "high")
    success = readings["wrench"][:, 2] > target[:, 2]
    reward = (2.0 * caged + 6.0 * placed) * flatness(readings)
    return np.where(success, 10.0, reward), success


TASK = Task(
    model=MODEL,
    hand_start=np.array([0.0, 0.4, 0.2], dtype=np.float32),
    reset_low=(0.0, 0.6, 0.025, -0.1, 0.6, 0.1699),
    reset_high=(0.1, 0.75, 0.02501, 0.1, 0.75, 0.1701),
    min_distance=0.1,
    readings=READINGS,
    reset=reset,
    observe=observe,
    reward_v1=reward_v1,
    reward_v2=reward_v2,
    moved_bodies=("peg",),
    goal_low=(-0.1, 0.6, 0.1699 + 0.005),
    goal_high=(0.1, 0.75, 0.1701 + 0.005),
)
