"""hammer-v3: hammer a nail into a box."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from envs.compiled.arrays import Array, Arrays, norm, pose, positive
from envs.compiled.observation import observed_hand
from envs.compiled.rewards import approach_v1, caging, lift_v1, progress_v1, tolerance
from envs.compiled.scene import Scene
from envs.compiled.task import Task, body, body_quaternion, geom, joint, site
from envs.compiled.tasks._picking import alignment, at_height, nearest_on_handle

NAIL_DEPTH = 0.09
HANDLE_LENGTH = 0.14
HEAD = (0.16, 0.06, 0.0)
LYING = (1.0, 0.0, 0.0, 0.0)
LIFT = 0.09


def reset(scene: Scene, goal: Array) -> dict[str, Any]:
    # Meta-World puts the box where it is already.
    target = scene.site("goal")
    scene.place_object(goal)
    return {"target": target, "object_start": goal, "object_height": scene.body("hammer")[2]}


def observe(readings: Arrays) -> Array:
    hammer = pose(readings["hammer"], readings["hammer_quaternion"])
    nail = pose(readings["nail"], readings["nail_quaternion"])
    return np.concat([hammer, nail], axis=1)


def reward_v1(readings: Arrays, action: Array, state: Arrays) -> tuple[Array, Array]:
    hammer, target, start = readings["hammer"], state["target"], state["object_start"]
    start_height = state["object_height"]
    height = start_height + LIFT
    # The nail's head is a site of the box: it stays when the nail moves.
    nail_head = readings["nail_head"]
    distance = norm(nail_head - readings["hammer_head"])
    nail_distance = np.abs(nail_head[:, 1] - target[:, 1])
    reach_distance = norm(hammer - readings["tcp"])
    lift, lifted = lift_v1(hammer[:, 2], start_height, height, reach_distance, distance)
    max_distance = norm(at_height(start, height) - start) + height + np.abs(start[:, 1] - target[:, 1])
    hit = np.where(lifted, positive(progress_v1(max_distance, distance + nail_distance)), 0.0)
    approach = approach_v1(readings, action, hammer, 0.0, radius=math.inf)
    return approach + lift + hit, readings["nail_joint"] > NAIL_DEPTH


def reward_v2(readings: Arrays, action: Array, state: Arrays) -> tuple[Array, Array]:
    hammer = readings["hammer"]
    head = hammer + np.array(HEAD)
    placed = 0.9 * tolerance(norm(state["target"] - head), (0.0, 0.02), 0.2)
    placed = np.where(head[:, 2] > 0.02, placed + 0.1, placed)
    caged = caging(
        readings,
        state,
        action,
        nearest_on_handle(hammer, observed_hand(readings), HANDLE_LENGTH),
        object_radius=0.015,
        pad_success_threshold=0.02,
        xz_threshold=0.01,
    )
    reward = (2.0 * caged + 6.0 * placed) * alignment(readings["hammer_quaternion"], LYING, 0.4)
    success = readings["nail_joint"] > NAIL_DEPTH
    return np.where(success & (reward > 5.0), 10.0, reward), success


TASK = Task(
    model="sawyer_hammer.xml",
    hand_start=(0.0, 0.4, 0.2),
    reset_low=(-0.1, 0.4, 0.0),
    reset_high=(0.1, 0.5, 0.0),
    readings={
        "hammer": body("hammer"),
        "hammer_quaternion": body_quaternion("hammer"),
        "hammer_head": geom("HammerHead"),
        "nail": body("nail_link"),
        "nail_quaternion": body_quaternion("nail_link"),
        "nail_head": site("nailHead"),
        "nail_joint": joint("NailSlideJoint"),
    },
    reset=reset,
    observe=observe,
    reward_v1=reward_v1,
    reward_v2=reward_v2,
    goal_low=(0.2399, 0.7399, 0.109),
    goal_high=(0.2401, 0.7401, 0.111),
)
