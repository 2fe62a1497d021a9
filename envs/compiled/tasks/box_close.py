"""box-close-v3: put the lid on a box."""

from __future__ import annotations

from typing import Any

import numpy as np

from envs.compiled.arrays import Array, Arrays, norm, pose, positive
from envs.compiled.observation import observed_hand
from envs.compiled.rewards import hamacher, tolerance
from envs.compiled.scene import Scene
from envs.compiled.task import Task, body, body_quaternion
from envs.compiled.tasks._picking import alignment, funnel, place_v1

SUCCESS_RADIUS = 0.08
LIFT = 0.12
START_HEIGHT = np.float32(0.02)
UPRIGHT = (0.707, 0.0, 0.0, 0.707)


def reset(scene: Scene, goal: Array) -> dict[str, Any]:
    start, target = np.array([goal[0], goal[1], START_HEIGHT]), goal[3:]
    scene.move_body("boxbody", np.array([target[0], target[1], scene.body("boxbody")[2]]))
    scene.step_physics()
    scene.place_object(start)
    return {
        "target": target,
        "object_start": start,
        "object_height": scene.geom("BoxHandleGeom")[2],
    }


def observe(readings: Arrays) -> Array:
    return pose(readings["lid"], readings["lid_quaternion"])


def reward_v1(readings: Arrays, action: Array, state: Arrays) -> tuple[Array, Array]:
    reward, distance = place_v1(readings, action, state, state["object_height"], LIFT)
    return reward, distance < SUCCESS_RADIUS


def reward_v2(readings: Arrays, action: Array, state: Arrays) -> tuple[Array, Array]:
    lid, target, hand = readings["lid"], state["target"], observed_hand(readings)
    handle = lid + np.array([0.0, 0.0, 0.02])
    # The hand is to come to the handle from above, and to be firm there.
    floor = funnel(norm(hand[:, :2] - handle[:, :2]), 0.02, 0.04, 0.4)
    above = tolerance(positive(floor - hand[:, 2]), (0.0, 0.01), floor / 2.0)
    at_handle = tolerance(norm(hand - handle), (0.0, 0.02), 0.5)
    grasped = hamacher((action[:, 3] + 1.0) / 2.0, hamacher(above, at_handle))
    error = norm((target - handle) * np.array([1.0, 1.0, 3.0]))
    placed = 0.8 * tolerance(error, (0.0, 0.05), 0.25)
    placed = np.where(handle[:, 2] > 0.04, placed + 0.2, placed)
    success = norm(lid - target) < SUCCESS_RADIUS
    reward = np.where(success, 10.0, 2.0 * grasped + 8.0 * placed)
    return reward * alignment(readings["lid_quaternion"], UPRIGHT, 0.2), success


TASK = Task(
    model="sawyer_box.xml",
    hand_start=np.array([0.0, 0.6, 0.2], dtype=np.float32),
    reset_low=(-0.05, 0.5, 0.02, -0.1, 0.7, 0.133),
    reset_high=(0.05, 0.55, 0.02, 0.1, 0.8, 0.133),
    min_distance=0.25,
    readings={"lid": body("top_link"), "lid_quaternion": body_quaternion("top_link")},
    reset=reset,
    observe=observe,
    reward_v1=reward_v1,
    reward_v2=reward_v2,
    moved_bodies=("boxbody",),
    goal_low=(-0.1, 0.7, 0.133),
    goal_high=(0.1, 0.8, 0.133),
)
