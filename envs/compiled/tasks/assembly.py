"""assembly-v3: put a wrench's round nut over a peg."""

from __future__ import annotations

from typing import Any

import numpy as np

from envs.compiled.arrays import Array, Arrays, norm, positive
from envs.compiled.rewards import approach_v1, progress_v1, tolerance
from envs.compiled.scene import Scene
from envs.compiled.task import Task
from envs.compiled.tasks._picking import at_height, funnel
from envs.compiled.tasks._wrench import MODEL, READINGS, caging_of_handle, flatness, observe

LIFT = 0.1


def reset(scene: Scene, goal: Array) -> dict[str, Any]:
    start, target = goal[:3], goal[3:]
    scene.place_object(start)
    scene.move_body("peg", target - np.array([0.0, 0.0, 0.05]))
    return {
        "target": target,
        "object_start": start,
        "object_height": scene.site("RoundNut-8")[2],
    }


def reward_v1(readings: Arrays, action: Array, state: Arrays) -> tuple[Array, Array]:
    grasp, wrench, target = readings["wrench"], readings["wrench_body"], state["target"]
    start_height = state["object_height"]
    height = start_height + LIFT
    reach_distance = norm(grasp - readings["tcp"])
    approach = approach_v1(
        readings, action, grasp, state["tcp_start"][:, 2], radius=0.04, near=0.04, height_weight=1.0
    )

    on_peg = np.all(np.abs(wrench[:, :2] - target[:, :2]) < 0.03, axis=1)
    lifted = (wrench[:, 2] >= height - 0.01) & (reach_distance < 0.03)
    rising = (reach_distance < 0.04) & (wrench[:, 2] > start_height + 0.005)
    lift = np.where(rising, np.minimum(height, wrench[:, 2]), 0.0)
    lift = 100 * np.where(on_peg | lifted, height, lift)

    distance = norm(wrench[:, :2] - target[:, :2])
    left = np.abs(wrench[:, 2] - start_height)
    max_distance = norm(at_height(state["object_start"], height) - target) + height
    place = progress_v1(max_distance, distance)
    square = left**2
    down = 2000 * (height - left) + 2000 * (np.exp(-square / 0.003) + np.exp(-square / 0.0003))
    place = np.where(on_peg | lifted, positive(place + np.where(on_peg, down, 0.0)), 0.0)
    return approach + lift + place, on_peg & (left <= 0.04)


def reward_v2(readings: Arrays, action: Array, state: Arrays) -> tuple[Array, Array]:
    nut, target = readings["nut"], state["target"]
    radius = norm(target[:, :2] - nut[:, :2])
    success = (radius < 0.02) & (target[:, 2] > nut[:, 2])
    # The nut is to come down a funnel over the peg, which is wider once the nut is on it.
    bottom = np.where(success, np.array([0.02]), np.array([0.01]))
    over_peg = at_height(target, funnel(radius, bottom, 0.02, 0.2))
    error = norm((over_peg - nut) * np.array([1.0, 1.0, 3.0]))
    lifted = (nut[:, 2] > 0.02) | (radius < bottom)
    placed = 0.9 * tolerance(error, (0.0, 0.02), 0.4)
    placed = np.where(lifted, placed + 0.1, placed)
    caged = caging_of_handle(readings, action, state, "medium")
    reward = (2.0 * caged + 6.0 * placed) * flatness(readings)
    return np.where(success, 10.0, reward), success


TASK = Task(
    model=MODEL,
    hand_start=np.array([0.0, 0.6, 0.2], dtype=np.float32),
    reset_low=(0.0, 0.6, 0.02, -0.1, 0.75, 0.1),
    reset_high=(0.0, 0.6, 0.02, 0.1, 0.85, 0.1),
    min_distance=0.1,
    readings=READINGS,
    reset=reset,
    observe=observe,
    reward_v1=reward_v1,
    reward_v2=reward_v2,
    moved_bodies=("peg",),
    goal_low=(-0.1, 0.75, 0.1),
    goal_high=(0.1, 0.85, 0.1),
)
