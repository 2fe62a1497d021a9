"""sweep-into-v3: sweep a block into a hole in the table."""

from __future__ import annotations

from typing import Any

import numpy as np

from envs.compiled.arrays import Array, Arrays, pose, quaternion
from envs.compiled.scene import Scene
from envs.compiled.task import Task, body, geom_axes
from envs.compiled.tasks._picking import at_height
from envs.compiled.tasks._sweeping import sweep_v1, sweep_v2

HOLE = (0.0, 0.84, 0.02)


def reset(scene: Scene, goal: Array) -> dict[str, Any]:
    start = np.array([goal[0], goal[1], scene.body("obj")[2]])
    scene.place_object(start)
    return {"target": np.array(HOLE), "object_start": start}


def observe(readings: Arrays) -> Array:
    return pose(readings["block"], quaternion(readings["block_axes"]))


def reward_v1(readings: Arrays, action: Array, state: Arrays) -> tuple[Array, Array]:
    y, z = readings["block"][:, 1], readings["block"][:, 2]
    return sweep_v1(readings, state, (z < state["object_start"][:, 2] - 0.05) & (y > 0.4) & (y < 1.0))


def reward_v2(readings: Arrays, action: Array, state: Arrays) -> tuple[Array, Array]:
    # The hole has no depth: the target is at the height of the block.
    target = at_height(state["target"], readings["block"][:, 2])
    return sweep_v2(readings, state, target, grip_margin=0.005, xz_threshold=0.01)


TASK = Task(
    model="sawyer_table_with_hole.xml",
    hand_start=(0.0, 0.6, 0.2),
    reset_low=(-0.1, 0.6, 0.02, -0.001, 0.8399, 0.0199),
    reset_high=(0.1, 0.7, 0.02, 0.001, 0.8401, 0.0201),
    min_distance=0.15,
    kept_from=(0.0, 0.84),
    readings={"block": body("obj"), "block_axes": geom_axes("objGeom")},
    reset=reset,
    observe=observe,
    reward_v1=reward_v1,
    reward_v2=reward_v2,
    goal_low=(-0.001, 0.8399, 0.0199),
    goal_high=(0.001, 0.8401, 0.0201),
)
