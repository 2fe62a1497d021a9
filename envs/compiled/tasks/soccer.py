"""soccer-v3: kick a ball into the goal."""

from __future__ import annotations

from typing import Any

import numpy as np

from envs.compiled.arrays import Array, Arrays, norm, pose, positive, quaternion
from envs.compiled.rewards import caging_by_pads, reach_and_move_v1, tolerance
from envs.compiled.scene import Scene
from envs.compiled.task import Task, body, body_axes

TARGET_RADIUS = 0.07
START_HEIGHT = 0.03


def reset(scene: Scene, goal: Array) -> dict[str, Any]:
    start, target = np.array([goal[0], goal[1], START_HEIGHT]), goal[3:]
    scene.move_body("goal_whole", target)
    scene.place_object(start)
    return {"target": target, "object_start": start}


def observe(readings: Arrays) -> Array:
    return pose(readings["ball"], quaternion(readings["ball_axes"]))


def reward_v1(readings: Arrays, action: Array, state: Arrays) -> tuple[Array, Array]:
    ball, target, start = readings["ball"], state["target"], state["object_start"]
    distance = norm(ball[:, :2] - target[:, :2])
    max_distance = norm(start[:, :2] - target[:, :2])
    reward = reach_and_move_v1(norm(readings["tcp"] - ball), max_distance, distance)
    return reward, distance <= TARGET_RADIUS


def reward_v2(readings: Arrays, action: Array, state: Arrays) -> tuple[Array, Array]:
    ball, target, start = readings["ball"], state["target"], state["object_start"]
    scale = np.array([3.0, 1.0, 1.0])
    scaled_distance = norm((ball - target) * scale)
    # The margin is how far the ball has moved by now, not how far it has to go.
    in_place: Array = tolerance(scaled_distance, (0.0, TARGET_RADIUS), norm((ball - start) * scale))
    line = target[:, 1] - 0.1
    missed = (ball[:, 1] > line) & (np.abs(ball[:, 0] - target[:, 0]) > 0.10)
    beyond = (ball[:, 1] - line) / (1 - line)
    in_place = np.where(missed, positive(in_place - 2 * beyond), in_place)
    caged = caging_by_pads(readings, state, ball, object_radius=0.013, grip_margin=0.01, xz_threshold=0.005)
    reward = np.where(scaled_distance < TARGET_RADIUS, 10.0, 3 * caged + 6.5 * in_place)
    return reward, norm(ball - target) <= TARGET_RADIUS


TASK = Task(
    model="sawyer_soccer.xml",
    hand_start=(0.0, 0.6, 0.2),
    reset_low=(-0.1, 0.6, 0.03, -0.1, 0.8, 0.0),
    reset_high=(0.1, 0.7, 0.03, 0.1, 0.9, 0.0),
    min_distance=0.15,
    readings={"ball": body("soccer_ball"), "ball_axes": body_axes("soccer_ball")},
    reset=reset,
    observe=observe,
    reward_v1=reward_v1,
    reward_v2=reward_v2,
    moved_bodies=("goal_whole",),
    goal_low=(-0.1, 0.8, 0.0),
    goal_high=(0.1, 0.9, 0.0),
)
