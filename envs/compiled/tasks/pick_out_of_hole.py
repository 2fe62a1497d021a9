"""pick-out-of-hole-v3: pick a puck out of a hole and bring it to a point in space."""

from __future__ import annotations

from typing import Any

import numpy as np

from envs.compiled.arrays import Array, Arrays, norm, pose, positive
from envs.compiled.rewards import caging, hamacher, tolerance
from envs.compiled.scene import Scene
from envs.compiled.task import Task, body, body_quaternion
from envs.compiled.tasks._picking import funnel, place_v1

TARGET_RADIUS = 0.05
IN_PLACE_RADIUS = 0.02
SUCCESS_RADIUS = 0.07
LIFT = 0.11


def reset(scene: Scene, goal: Array) -> dict[str, Any]:
    scene.place_object(goal[:3])
    return {"target": goal[3:], "object_start": goal[:3]}


def observe(readings: Arrays) -> Array:
    return pose(readings["puck"], readings["puck_quaternion"])


def reward_v1(readings: Arrays, action: Array, state: Arrays) -> tuple[Array, Array]:
    # Meta-World measures the lifting from 2 cm below the start, which is 0 at each of its goals.
    reward, distance = place_v1(readings, action, state, state["object_start"][:, 2], LIFT)
    return reward, distance <= SUCCESS_RADIUS


def reward_v2(readings: Arrays, action: Array, state: Arrays) -> tuple[Array, Array]:
    puck, target, start, tcp = readings["puck"], state["target"], state["object_start"], readings["tcp"]
    distance = norm(puck - target)
    in_place = tolerance(distance, (0.0, IN_PLACE_RADIUS), norm(start - target))
    # Away from the hole, the hand is to keep above its edge.
    floor = funnel(norm(tcp[:, :2] - start[:, :2]), 0.03, 0.015, 0.15)
    above = tolerance(positive(floor - tcp[:, 2]), (0.0, 0.01), 0.02)
    caged = caging(
        readings,
        state,
        action,
        puck,
        object_radius=0.015,
        pad_success_threshold=0.02,
        xz_threshold=0.03,
        desired_effort=0.1,
    )
    grasped = (norm(puck - tcp) < 0.04) & (readings["gripper"] >= 0.33)
    lifted = grasped & (puck[:, 2] - 0.02 > start[:, 2])
    reward = hamacher(caged, in_place) + np.where(lifted, 1.0 + 5.0 * hamacher(in_place, above), 0.0)
    return np.where(distance < TARGET_RADIUS, 10.0, reward), distance <= SUCCESS_RADIUS


TASK = Task(
    model="sawyer_pick_out_of_hole.xml",
    hand_start=(0.0, 0.6, 0.2),
    reset_low=(0.0, 0.75, 0.02, -0.1, 0.5, 0.15),
    reset_high=(0.0, 0.75, 0.02, 0.1, 0.6, 0.3),
    min_distance=0.15,
    readings={"puck": body("obj"), "puck_quaternion": body_quaternion("obj")},
    reset=reset,
    observe=observe,
    reward_v1=reward_v1,
    reward_v2=reward_v2,
    hand_low=(-0.5, 0.40, -0.05),
    goal_low=(-0.1, 0.5, 0.15),
    goal_high=(0.1, 0.6, 0.3),
)
