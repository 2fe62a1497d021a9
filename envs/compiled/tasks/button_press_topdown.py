"""button-press-topdown-v3: press a button from above."""

from __future__ import annotations

from typing import Any

import numpy as np

from envs.compiled.arrays import Array, Arrays, norm, pose
from envs.compiled.rewards import hamacher, reach_and_move_v1, tolerance
from envs.compiled.scene import Scene
from envs.compiled.task import Task, body, body_quaternion

SUCCESS_DISTANCE = 0.024


def reset(scene: Scene, goal: Array) -> dict[str, Any]:
    scene.move_body("box", goal)
    scene.forward()
    target = scene.site("hole")
    return {"target": target, "max_distance": abs(scene.site("buttonStart")[2] - target[2])}


def observe(readings: Arrays) -> Array:
    button = readings["button"]
    return pose(button + np.array([0.0, 0.0, 0.193]), readings["button_quaternion"])


def reward_v1(readings: Arrays, action: Array, state: Arrays) -> tuple[Array, Array]:
    button = readings["objects"][:, :3]
    distance = np.abs(button[:, 2] - state["target"][:, 2])
    reward = reach_and_move_v1(norm(button - readings["tcp"]), state["max_distance"], distance)
    return reward, distance <= SUCCESS_DISTANCE


def reward_v2(readings: Arrays, action: Array, state: Arrays) -> tuple[Array, Array]:
    return press(readings, state, 1.0 - readings["gripper"])


def press(readings: Arrays, state: Arrays, gripper: Array) -> tuple[Array, Array]:
    """Reward and success of both tasks with such a button, which differ in what the gripper should be."""
    button = readings["objects"][:, :3]
    reach_distance = norm(button - readings["tcp"])
    distance = np.abs(state["target"][:, 2] - button[:, 2])
    near = tolerance(reach_distance, (0.0, 0.01), norm(button - state["tcp_start"]))
    pressed = tolerance(distance, (0.0, 0.005), state["max_distance"])
    reward = 5 * hamacher(gripper, near) + np.where(reach_distance <= 0.03, 5 * pressed, 0.0)
    return reward, distance <= SUCCESS_DISTANCE


TASK = Task(
    model="sawyer_button_press_topdown.xml",
    hand_start=np.array([0.0, 0.4, 0.2], dtype=np.float32),
    reset_low=(-0.1, 0.8, 0.115),
    reset_high=(0.1, 0.9, 0.115),
    readings={"button": body("button"), "button_quaternion": body_quaternion("button")},
    reset=reset,
    observe=observe,
    reward_v1=reward_v1,
    reward_v2=reward_v2,
    moved_bodies=("box",),
)
