"""stick-pull-v3: grasp a stick, put it through the handle of a thermos and pull."""

from __future__ import annotations

from typing import Any

import numpy as np

from envs.compiled.arrays import Array, Arrays, norm
from envs.compiled.rewards import caging, hamacher, tolerance
from envs.compiled.scene import Scene
from envs.compiled.task import Task, site
from envs.compiled.tasks import _stick
from envs.compiled.tasks._stick import (
    MODEL,
    READINGS,
    START_HEIGHT,
    SUCCESS_RADIUS,
    place,
    poses,
    stick_start,
)

TARGET_RADIUS = 0.05


def reset(scene: Scene, goal: Array) -> dict[str, Any]:
    target = np.array([goal[3], goal[4], START_HEIGHT])
    return {"target": target, **place(scene, stick_start(goal), (0.0, 0.09))}


def observe(readings: Arrays) -> Array:
    return poses(readings, readings["insertion"])


def inserted(readings: Arrays) -> Array:
    """Whether the end of the stick is through the handle."""
    offset = readings["stick_end"] - readings["insertion"]
    return (offset[:, 0] >= 0) & (np.abs(offset[:, 1]) <= 0.04) & (np.abs(offset[:, 2]) <= 0.06)


def pulled(readings: Arrays, state: Arrays) -> Array:
    return norm(readings["insertion"] - state["target"]) <= SUCCESS_RADIUS


def reward_v1(readings: Arrays, action: Array, state: Arrays) -> tuple[Array, Array]:
    reward = _stick.reward_v1(readings, action, state, near_goal=(0.01, 0.001))
    return reward, pulled(readings, state) & inserted(readings)


def reward_v2(readings: Arrays, action: Array, state: Arrays) -> tuple[Array, Array]:
    stick, target = readings["stick"], state["target"]
    start, thermos_start = state["object_start"], state["thermos_start"]
    to_thermos, scale = np.array([0.05, 0.0, 0.0]), np.array([1.0, 1.0, 2.0])
    thermos, bounds = readings["insertion"] + to_thermos, (0.0, TARGET_RADIUS)
    stick_at_thermos = tolerance(
        norm((stick - thermos) * scale), bounds, norm((start - thermos_start - to_thermos) * scale)
    )
    stick_in_place = tolerance(norm(stick - target), bounds, norm(start - target))
    thermos_in_place = tolerance(norm(thermos - target), bounds, norm(thermos_start - target))
    # Meta-World has the thermos where the stick is meant.
    caged = caging(
        readings, state, action, stick, initial_position=thermos_start, object_radius=0.014, xz_threshold=0.01
    )
    lifted = (readings["gripper"] > 0) & (stick[:, 2] - 0.01 > start[:, 2])
    held = lifted & (norm(stick - readings["tcp"]) < 0.02)
    reward = hamacher(np.where(held, 1.0, caged), stick_at_thermos)
    through = inserted(readings)
    success = pulled(readings, state) & through
    carrying = 1.0 + reward + 5.0 * stick_at_thermos
    pulling = 6.0 + reward + 2.0 * stick_in_place + thermos_in_place
    holding = np.where(success, 10.0, np.where(through, pulling, carrying))
    return np.where(held, holding, reward), success


TASK = Task(
    model=MODEL,
    hand_start=(0.0, 0.6, 0.2),
    reset_low=(-0.1, 0.55, 0.0, 0.35, 0.45, 0.0199),
    reset_high=(0.0, 0.65, 0.001, 0.45, 0.55, 0.0201),
    min_distance=0.1,
    readings={**READINGS, "stick_end": site("stick_end")},
    reset=reset,
    observe=observe,
    reward_v1=reward_v1,
    reward_v2=reward_v2,
    hand_low=(-0.5, 0.35, 0.05),
    goal_low=(0.35, 0.45, 0.0199),
    goal_high=(0.45, 0.55, 0.0201),
)
