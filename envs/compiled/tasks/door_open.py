"""door-open-v3: pull a door open by its handle."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from envs.compiled.arrays import Array, Arrays, norm, pose, quaternion
from envs.compiled.observation import observed_hand
from envs.compiled.rewards import hamacher, reach_and_move_v1, tolerance
from envs.compiled.scene import Scene
from envs.compiled.task import Task, geom, geom_axes, joint

SUCCESS_DISTANCE = 0.08
FUNNEL_RADIUS = 0.12


def reset(scene: Scene, goal: Array) -> dict[str, Any]:
    target = goal + np.array([-0.3, -0.45, 0.0])
    scene.move_body("door", goal)
    scene.set_joints({9: 0.0}, (9,))
    return {"target": target, "max_distance": np.linalg.norm(scene.geom("handle")[:2] - target[:2])}


def observe(readings: Arrays) -> Array:
    return pose(readings["handle"], quaternion(readings["handle_axes"]))


def reward_v1(readings: Arrays, action: Array, state: Arrays) -> tuple[Array, Array]:
    handle, target = readings["handle"], state["target"]
    distance = norm(handle[:, :2] - target[:, :2])
    reward = reach_and_move_v1(norm(handle - readings["tcp"]), state["max_distance"], distance)
    return reward, _success(handle, target)


def reward_v2(readings: Arrays, action: Array, state: Arrays) -> tuple[Array, Array]:
    handle = readings["handle"]
    hand = observed_hand(readings)

    # Around the handle the hand has to keep above a funnel, so that it does not run into the handle.
    radius = norm(hand[:, :2] - handle[:, :2] - np.array([-0.05, 0.0]))
    outside = np.where(radius > FUNNEL_RADIUS, radius - FUNNEL_RADIUS, 1.0)
    floor = np.where(radius > FUNNEL_RADIUS, 0.04 * np.log(outside) + 0.4, 0.0)
    above = tolerance(floor - hand[:, 2], (0.0, 0.01), floor / 2.0)
    above = np.where(hand[:, 2] >= floor, 1.0, above)
    near = tolerance(norm(hand - handle - np.array([0.0, 0.03, -0.01])), (0.0, FUNNEL_RADIUS / 2), 0.5)
    effort = (action[:, 3] + 1.0) / 2.0

    angle = readings["angle"]
    opened = 0.8 * tolerance(angle + 2 / 3 * math.pi, (0.0, 0.5), math.pi / 3)
    opened = np.where(angle < -math.pi / 90, opened + 0.2, opened)

    success = _success(handle, state["target"])
    reward = 2 * hamacher(hamacher(above, near), effort) + 8 * opened
    return np.where(success, 10.0, reward), success


def _success(handle: Array, target: Array) -> Array:
    return np.abs(handle[:, 0] - target[:, 0]) <= SUCCESS_DISTANCE


TASK = Task(
    model="sawyer_door_pull.xml",
    hand_start=(0.0, 0.6, 0.2),
    reset_low=(0.0, 0.85, 0.15),
    reset_high=(0.1, 0.95, 0.15),
    readings={"handle": geom("handle"), "handle_axes": geom_axes("handle"), "angle": joint("doorjoint")},
    reset=reset,
    observe=observe,
    reward_v1=reward_v1,
    reward_v2=reward_v2,
    moved_bodies=("door",),
    goal_low=(-0.3, 0.4, 0.1499),
    goal_high=(-0.2, 0.5, 0.1501),
)
