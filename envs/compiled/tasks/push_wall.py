"""push-wall-v3: push a puck round a wall to a goal."""

from __future__ import annotations

from typing import Any

import numpy as np

from envs.compiled.arrays import Array, Arrays, norm
from envs.compiled.rewards import caging, reach_and_move_v1, tolerance
from envs.compiled.scene import Scene
from envs.compiled.task import Task, geom, geom_axes
from envs.compiled.tasks.pick_place import observe

TARGET_RADIUS = 0.05
SUCCESS_RADIUS = 0.07
BESIDE_WALL = (-0.05, 0.77, 0.0)  # at whatever height the puck is
WALL_PASSED = 0.75
SCALE = (3.0, 1.0, 1.0)


def reset(scene: Scene, goal: Array) -> dict[str, Any]:
    height = scene.geom("objGeom")[2]
    start = np.array([goal[0], goal[1], height])
    target = np.array([goal[3], goal[4], height])
    scene.place_object(start)
    return {"target": target, "object_start": start}


def reward_v1(readings: Arrays, action: Array, state: Arrays) -> tuple[Array, Array]:
    puck, target = readings["puck"], state["target"]
    distance = norm(puck[:, :2] - target[:, :2])
    max_distance = norm(state["object_start"][:, :2] - target[:, :2])
    reward = reach_and_move_v1(norm(readings["tcp"] - puck), max_distance, distance)
    return reward, distance <= SUCCESS_RADIUS


def reward_v2(readings: Arrays, action: Array, state: Arrays) -> tuple[Array, Array]:
    puck, target, start = readings["puck"], state["target"], state["object_start"]
    distance = norm(puck - target)
    midpoint = np.array(BESIDE_WALL) + np.array([0.0, 0.0, 1.0]) * puck
    scale = np.array(SCALE)
    at_midpoint = tolerance(
        norm((puck - midpoint) * scale), (0.0, TARGET_RADIUS), norm((start - midpoint) * scale)
    )
    in_place = tolerance(distance, (0.0, TARGET_RADIUS), norm(start - target))
    caged = caging(readings, state, action, puck, object_radius=0.015, xz_threshold=0.005)
    held = (norm(puck - readings["tcp"]) < 0.02) & (readings["gripper"] > 0)
    pushing = np.where(puck[:, 1] > WALL_PASSED, 4.0 + 3.0 * in_place, 4.0 * at_midpoint)
    reward = 2 * caged + np.where(held, 1.0 + pushing, 0.0)
    return np.where(distance < TARGET_RADIUS, 10.0, reward), distance <= SUCCESS_RADIUS


TASK = Task(
    model="sawyer_push_wall_v3.xml",
    hand_start=(0.0, 0.6, 0.2),
    reset_low=(-0.05, 0.6, 0.015, -0.05, 0.85, 0.01),
    reset_high=(0.05, 0.65, 0.015, 0.05, 0.9, 0.02),
    min_distance=0.15,
    readings={"puck": geom("objGeom"), "puck_axes": geom_axes("objGeom")},
    reset=reset,
    observe=observe,
    reward_v1=reward_v1,
    reward_v2=reward_v2,
    goal_low=(-0.05, 0.85, 0.01),
    goal_high=(0.05, 0.9, 0.02),
)
