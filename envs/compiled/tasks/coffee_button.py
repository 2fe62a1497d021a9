"""coffee-button-v3: press the button of a coffee machine."""

from __future__ import annotations

from typing import Any

import numpy as np

from envs.compiled.arrays import Array, Arrays, norm, pose
from envs.compiled.rewards import hamacher, reach_and_move_v1, tolerance
from envs.compiled.scene import Scene
from envs.compiled.task import Task, site

DEPTH = 0.03
SUCCESS_DISTANCE = 0.02


def reset(scene: Scene, goal: Array) -> dict[str, Any]:
    scene.move_body("coffee_machine", goal)
    # The mug's joints come before the arm's in this model, so it is the arm that is brought to rest.
    mug = goal + np.array([0.0, -0.22, 0.0])
    scene.set_joints(dict(enumerate(mug)), tuple(range(9, 15)))
    target = goal + np.array([0.0, -0.22, 0.3]) + np.array([0.0, DEPTH, 0.0])
    return {"target": target, "max_distance": abs(scene.site("buttonStart")[1] - target[1])}


def observe(readings: Arrays) -> Array:
    button = readings["button"]
    return pose(button, np.zeros((len(button), 4)) + np.array([1.0, 0.0, 0.0, 0.0]))


def reward_v1(readings: Arrays, action: Array, state: Arrays) -> tuple[Array, Array]:
    button = readings["button"]
    distance = np.abs(button[:, 1] - state["target"][:, 1])
    # The left finger alone has to reach the button.
    reward = reach_and_move_v1(norm(button - readings["left_finger"]), state["max_distance"], distance)
    return reward, distance <= SUCCESS_DISTANCE


def reward_v2(readings: Arrays, action: Array, state: Arrays) -> tuple[Array, Array]:
    button = readings["button"]
    reach_distance = norm(button - readings["tcp"])
    distance = np.abs(state["target"][:, 1] - button[:, 1])
    near = tolerance(reach_distance, (0.0, 0.05), norm(button - state["tcp_start"]))
    pressed = tolerance(distance, (0.0, 0.005), DEPTH)
    reward = 2 * hamacher(readings["gripper"], near) + np.where(reach_distance <= 0.05, 8 * pressed, 0.0)
    return reward, distance <= SUCCESS_DISTANCE


TASK = Task(
    model="sawyer_coffee.xml",
    hand_start=(0.0, 0.4, 0.2),
    reset_low=(-0.1, 0.8, -0.001),
    reset_high=(0.1, 0.9, 0.001),
    readings={"button": site("buttonStart")},
    reset=reset,
    observe=observe,
    reward_v1=reward_v1,
    reward_v2=reward_v2,
    moved_bodies=("coffee_machine",),
    goal_low=(-0.1 - 0.001, 0.8 - 0.22 + DEPTH, -0.001 + 0.299),
    goal_high=(0.1 + 0.001, 0.9 - 0.22 + DEPTH, 0.001 + 0.301),
)
