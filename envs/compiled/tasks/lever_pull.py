"""lever-pull-v3: pull a lever up until it stands upright."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from envs.compiled.arrays import Array, Arrays, norm, pose, quaternion
from envs.compiled.observation import observed_hand
from envs.compiled.rewards import hamacher, reach_and_move_v1, tolerance
from envs.compiled.scene import Scene
from envs.compiled.task import Task, geom_axes, joint, site

LENGTH = 0.2
SCALE = (4.0, 1.0, 4.0)
SHOULDER = (0.0, 0.055, 0.07)
SUCCESS_ANGLE = math.pi / 24
LOW, HIGH = (-0.5, 0.40, -0.15), (0.5, 1.0, 0.5)


def reset(scene: Scene, goal: Array) -> dict[str, Any]:
    scene.move_body("lever", goal)
    return {
        "target": goal + np.array([0.12, 0.0, 0.25 + LENGTH]),
        "lever": goal,
        "object_start": goal + np.array([0.12, -LENGTH, 0.25]),
    }


def observe(readings: Arrays) -> Array:
    return pose(readings["lever"], quaternion(readings["lever_axes"]))


def reward_v1(readings: Arrays, action: Array, state: Arrays) -> tuple[Array, Array]:
    lever, target = readings["lever"], state["target"]
    distance, max_distance = norm(lever - target), norm(state["lever"] - target)
    reward = reach_and_move_v1(norm(lever - readings["tcp"]), max_distance, distance)
    # Meta-World takes this distance for an angle.
    return reward, distance <= SUCCESS_ANGLE


def reward_v2(readings: Arrays, action: Array, state: Arrays) -> tuple[Array, Array]:
    lever, target, start = readings["lever"], state["target"], state["object_start"]
    scale, shoulder = np.array(SCALE), np.array(SHOULDER)
    # The hand as observed, so clipped; the margin has the fingers' centre instead.
    ready_to_lift = tolerance(
        norm((observed_hand(readings) + shoulder - lever) * scale),
        (0.0, 0.02),
        norm((state["tcp_start"] + shoulder - start) * scale),
    )
    in_place = tolerance(norm(lever - target), (0.0, 0.04), norm(start - target))
    error = np.abs(-readings["angle"] - math.pi / 2)
    return 10 * hamacher(ready_to_lift, in_place), error <= SUCCESS_ANGLE


TASK = Task(
    model="sawyer_lever_pull.xml",
    hand_start=np.array([0.0, 0.4, 0.2], dtype=np.float32),
    reset_low=(-0.1, 0.7, 0.0),
    reset_high=(0.1, 0.8, 0.0),
    readings={"lever": site("leverStart"), "lever_axes": geom_axes("objGeom"), "angle": joint("LeverAxis")},
    reset=reset,
    observe=observe,
    reward_v1=reward_v1,
    reward_v2=reward_v2,
    moved_bodies=("lever",),
    hand_low=LOW,
    hand_high=HIGH,
    goal_low=LOW,
    goal_high=HIGH,
)
