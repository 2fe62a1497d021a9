"""basketball-v3: throw a ball into a basket."""

from __future__ import annotations

from typing import Any

import numpy as np

from envs.compiled.arrays import Array, Arrays, norm, pose
from envs.compiled.rewards import caging, hamacher, tolerance
from envs.compiled.scene import Scene
from envs.compiled.task import Task, body, body_quaternion
from envs.compiled.tasks._picking import place_v1

TARGET_RADIUS = 0.08
TARGET_HEIGHT = 0.3
LIFT = 0.3
START_HEIGHT = np.float32(0.03)


def reset(scene: Scene, goal: Array) -> dict[str, Any]:
    start = np.array([goal[0], goal[1], START_HEIGHT])
    scene.move_body("basket_goal", goal[3:])
    scene.place_object(start)
    # Meta-World keeps a view of the basket's place, so it has the one after the ball is placed.
    target = scene.site("goal")
    return {
        "target": target,
        "above_hoop": np.array([target[0], target[1], TARGET_HEIGHT]),
        "object_start": start,
        "object_height": scene.geom("objGeom")[2],
    }


def observe(readings: Arrays) -> Array:
    return pose(readings["ball"], readings["ball_quaternion"])


def reward_v1(readings: Arrays, action: Array, state: Arrays) -> tuple[Array, Array]:
    reward, distance = place_v1(readings, action, state, state["object_height"], LIFT)
    return reward, distance <= TARGET_RADIUS


def reward_v2(readings: Arrays, action: Array, state: Arrays) -> tuple[Array, Array]:
    ball, target, start = readings["ball"], state["above_hoop"], state["object_start"]
    scale = np.array([1.0, 1.0, 2.0])
    distance = norm((ball - target) * scale)
    in_place = tolerance(distance, (0.0, TARGET_RADIUS), norm((start - target) * scale))
    caged = caging(
        readings, state, action, ball, object_radius=0.025, pad_success_threshold=0.06, xz_threshold=0.005
    )
    near = (norm(ball - readings["tcp"]) < 0.035) & (readings["gripper"] > 0)
    held = near & (ball[:, 2] - 0.01 > start[:, 2])
    reward = hamacher(np.where(held, 1.0, caged), in_place) + np.where(held, 1.0 + 5.0 * in_place, 0.0)
    return np.where(distance < TARGET_RADIUS, 10.0, reward), distance <= TARGET_RADIUS


TASK = Task(
    model="sawyer_basketball.xml",
    hand_start=np.array([0.0, 0.6, 0.2], dtype=np.float32),
    reset_low=(-0.1, 0.6, 0.0299, -0.1, 0.85, 0.0),
    reset_high=(0.1, 0.7, 0.0301, 0.1, 0.9000001, 0.0),
    min_distance=0.15,
    readings={"ball": body("bsktball"), "ball_quaternion": body_quaternion("bsktball")},
    reset=reset,
    observe=observe,
    reward_v1=reward_v1,
    reward_v2=reward_v2,
    moved_bodies=("basket_goal",),
    goal_low=(-0.1, 0.85 - 0.083, 0.2499),
    goal_high=(0.1, 0.9 + 1e-7 - 0.083, 0.2501),
)
