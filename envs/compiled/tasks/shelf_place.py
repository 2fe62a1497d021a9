"""shelf-place-v3: put a block on a shelf."""

from __future__ import annotations

from typing import Any

import numpy as np

from envs.compiled.arrays import Array, Arrays, norm, pose, positive, quaternion
from envs.compiled.rewards import caging, hamacher, tolerance
from envs.compiled.scene import Scene
from envs.compiled.task import Task, body, geom_axes
from envs.compiled.tasks._picking import place_v1

TARGET_RADIUS = 0.05
SUCCESS_RADIUS = 0.07
LIFT = 0.04
SHELF_HEIGHT = 0.3
SHELF_HALF_WIDTH = 0.15
SHELF_DEPTH = 3 * TARGET_RADIUS
BOARD_HEIGHT = 0.24


def reset(scene: Scene, goal: Array) -> dict[str, Any]:
    start = np.array([goal[0], goal[1], scene.body("obj")[2]])
    shelf = goal[3:] - np.array([0.0, 0.0, SHELF_HEIGHT])
    scene.move_body("shelf", shelf)
    scene.forward()
    scene.place_object(start)
    return {"target": scene.model.site("goal").pos + shelf, "object_start": start}


def observe(readings: Arrays) -> Array:
    return pose(readings["block"], quaternion(readings["block_axes"]))


def reward_v1(readings: Arrays, action: Array, state: Arrays) -> tuple[Array, Array]:
    reward, distance = place_v1(readings, action, state, state["object_start"][:, 2], LIFT)
    return reward, distance <= SUCCESS_RADIUS


def reward_v2(readings: Arrays, action: Array, state: Arrays) -> tuple[Array, Array]:
    block, target, start = readings["block"], state["target"], state["object_start"]
    distance = norm(block - target)
    in_place = tolerance(distance, (0.0, TARGET_RADIUS), norm(start - target))
    caged = caging(readings, state, action, block, object_radius=0.02, xz_threshold=0.01, density="low")
    near = (norm(block - readings["tcp"]) < 0.025) & (readings["gripper"] > 0)
    held = near & (block[:, 2] - 0.01 > start[:, 2])
    # A block that is held counts less the nearer it is to the shelf from below, and nothing under the shelf.
    x, y, z = block[:, 0], block[:, 1], block[:, 2]
    below = (z > 0.0) & (z < BOARD_HEIGHT) & (np.abs(x - target[:, 0]) < SHELF_HALF_WIDTH)
    front = target[:, 1] - SHELF_DEPTH
    before = below & (y > front) & (y < target[:, 1])
    loss = hamacher(
        np.where(before, (y - front) / SHELF_DEPTH, 0.0),
        np.where(before, (BOARD_HEIGHT - z) / BOARD_HEIGHT, 0.0),
    )
    held_in_place = np.where(below & (y > target[:, 1]), 0.0, positive(in_place - loss))
    reward = hamacher(caged, in_place) + np.where(held, 1.0 + 5.0 * held_in_place, 0.0)
    return np.where(distance < TARGET_RADIUS, 10.0, reward), distance <= SUCCESS_RADIUS


TASK = Task(
    model="sawyer_shelf_placing.xml",
    hand_start=np.array([0.0, 0.6, 0.2], dtype=np.float32),
    reset_low=(-0.1, 0.5, 0.019, -0.1, 0.8, 0.299),
    reset_high=(0.1, 0.6, 0.021, 0.1, 0.9, 0.301),
    min_distance=0.1,
    readings={"block": body("obj"), "block_axes": geom_axes("objGeom")},
    reset=reset,
    observe=observe,
    reward_v1=reward_v1,
    reward_v2=reward_v2,
    moved_bodies=("shelf",),
    goal_low=(-0.1, 0.8, 0.299),
    goal_high=(0.1, 0.9, 0.301),
)
