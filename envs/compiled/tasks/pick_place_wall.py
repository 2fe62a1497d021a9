"""pick-place-wall-v3: carry a puck over a wall to a point in space."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from envs.compiled.arrays import Array, Arrays, norm
from envs.compiled.rewards import caging, hamacher, tolerance
from envs.compiled.task import geom, geom_axes
from envs.compiled.tasks.pick_place import TARGET_RADIUS
from envs.compiled.tasks.pick_place import TASK as PICK_PLACE


def reward_v2(readings: Arrays, action: Array, state: Arrays) -> tuple[Array, Array]:
    puck, target, start = readings["puck"], state["target"], state["object_start"]
    # A point above the wall, where the goal is along x.
    above = np.array([0.0, 0.77, 0.25]) + target * np.array([1.0, 0.0, 0.0])
    scale = np.array([1.0, 1.0, 3.0])
    distance = norm(puck - target)
    over_wall = tolerance(norm((puck - above) * scale), (0.0, TARGET_RADIUS), norm((start - above) * scale))
    in_place = tolerance(distance, (0.0, TARGET_RADIUS), norm(start - target))
    caged = caging(readings, state, action, puck, object_radius=0.015, xz_threshold=0.005, density="low")
    near = (norm(puck - readings["tcp"]) < 0.02) & (readings["gripper"] > 0)
    held = near & (puck[:, 2] - 0.015 > start[:, 2])
    carrying = np.where(puck[:, 1] > 0.75, 4.0 + 3.0 * in_place, 4.0 * over_wall)
    reward = hamacher(caged, over_wall) + np.where(held, 1.0 + carrying, 0.0)
    return np.where(distance < TARGET_RADIUS, 10.0, reward), distance <= 0.07


TASK = replace(
    PICK_PLACE,
    model="sawyer_pick_place_wall_v3.xml",
    reset_low=(-0.05, 0.6, 0.015, -0.05, 0.85, 0.05),
    reset_high=(0.05, 0.65, 0.015, 0.05, 0.9, 0.3),
    readings={"puck": geom("objGeom"), "puck_axes": geom_axes("objGeom")},
    reward_v2=reward_v2,
    goal_low=(-0.05, 0.85, 0.05),
    goal_high=(0.05, 0.9, 0.3),
)
