"""button-press-wall-v3: press a button from the front, over a wall."""

from __future__ import annotations

from typing import Any

import numpy as np

from envs.compiled.arrays import Array, Arrays, norm
from envs.compiled.rewards import hamacher, reach_and_move_v1, tolerance
from envs.compiled.scene import Scene
from envs.compiled.task import Task, body, body_quaternion
from envs.compiled.tasks.button_press import observe

SUCCESS_DISTANCE = 0.03


def reset(scene: Scene, goal: Array) -> dict[str, Any]:
    scene.move_body("box", goal)
    scene.set_joints({9: 0.0}, (9,))
    target = scene.site("hole")
    from_start = np.abs(scene.site("buttonStart") - target)
    # The first version takes the difference in height, which is none, for the distance to press.
    return {"target": target, "margin": from_start[1], "max_distance": from_start[2]}


def reward_v1(readings: Arrays, action: Array, state: Arrays) -> tuple[Array, Array]:
    button = readings["objects"][:, :3]
    distance = np.abs(button[:, 1] - state["target"][:, 1])
    reward = reach_and_move_v1(norm(button - readings["left_finger"]), state["max_distance"], distance)
    return reward, distance <= SUCCESS_DISTANCE


def reward_v2(readings: Arrays, action: Array, state: Arrays) -> tuple[Array, Array]:
    button, gripper = readings["objects"][:, :3], readings["gripper"]
    reach_distance = norm(button - readings["tcp"])
    distance = np.abs(state["target"][:, 1] - button[:, 1])
    near = tolerance(reach_distance, (0.0, 0.01), norm(button - state["tcp_start"]))
    pressed = tolerance(distance, (0.0, 0.005), state["margin"])
    # The gripper is to be closed on the way to the button, and open at it.
    reaching = 2 * hamacher((1 - gripper) / 2, near)
    pressing = 2 + 2 * (1 + gripper) + 4 * pressed**2
    return np.where(reach_distance > 0.07, reaching, pressing), distance <= SUCCESS_DISTANCE


TASK = Task(
    model="sawyer_button_press_wall.xml",
    hand_start=np.array([0.0, 0.4, 0.2], dtype=np.float32),
    reset_low=(-0.05, 0.85, 0.1149),
    reset_high=(0.05, 0.9, 0.1151),
    readings={"button": body("button"), "button_quaternion": body_quaternion("button")},
    reset=reset,
    observe=observe,
    reward_v1=reward_v1,
    reward_v2=reward_v2,
    moved_bodies=("box",),
)
