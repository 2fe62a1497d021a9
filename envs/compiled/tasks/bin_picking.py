"""bin-picking-v3: carry a cube from one bin to another."""

from __future__ import annotations

from typing import Any

import numpy as np

from envs.compiled.arrays import Array, Arrays, norm, pose, positive
from envs.compiled.observation import observed_hand
from envs.compiled.rewards import approach_v1, caging, hamacher, lift_v1, progress_v1, tolerance
from envs.compiled.scene import Scene
from envs.compiled.task import Task, body, body_quaternion
from envs.compiled.tasks._picking import funnel

TARGET_RADIUS = 0.05
LIFT = 0.1


def reset(scene: Scene, goal: Array) -> dict[str, Any]:
    start = np.array([goal[0], goal[1], scene.body("obj")[2]])
    scene.place_object(start)
    # The observed goal is the bin, wherever the goal that was drawn is.
    return {"target": scene.body("bin_goal"), "object_start": start, "first_distance": -1.0}


def observe(readings: Arrays) -> Array:
    return pose(readings["cube"], readings["cube_quaternion"])


def remember(readings: Arrays, action: Array, state: Arrays) -> dict[str, Array]:
    """The distance after the first step of the episode, which Meta-World takes for the initial one."""
    first = state["first_distance"]
    distance = norm(readings["cube"] - state["target"])
    return {"first_distance": np.where(first < 0, distance, first)}


def reward_v1(readings: Arrays, action: Array, state: Arrays) -> tuple[Array, Array]:
    cube, target, start = readings["cube"], state["target"], state["object_start"]
    height = start[:, 2] + LIFT
    distance = norm(cube[:, :2] - target[:, :2])
    lifted, carried = lift_v1(cube[:, 2], start[:, 2], height, norm(cube - readings["tcp"]), distance)
    progress = positive(progress_v1(norm(start[:, :2] - target[:, :2]) + height, distance))
    over_bin = np.all(np.abs(cube[:, :2] - target[:, :2]) < 0.05, axis=1)
    let_go = progress - 200 * action[:, 3]
    approach = approach_v1(readings, action, cube, state["tcp_start"][:, 2], radius=0.06, height_weight=1.0)
    reward = approach + lifted + np.where(carried, np.where(over_bin, let_go, progress), 0.0)
    in_bin = over_bin & (cube[:, 2] < start[:, 2] + 0.05)
    return np.where(in_bin, let_go, reward), distance <= TARGET_RADIUS


def reward_v2(readings: Arrays, action: Array, state: Arrays) -> tuple[Array, Array]:
    cube, target, start = readings["cube"], state["target"], state["object_start"]
    hand = observed_hand(readings)
    distance = norm(cube - target)
    in_place = tolerance(distance, (0.0, TARGET_RADIUS), state["first_distance"])
    # The hand is to keep above the edges of the bins, and to come down only over either.
    floor = np.minimum(
        funnel(norm(hand[:, :2] - start[:, :2]), 0.03, 0.02, 0.2),
        funnel(norm(hand[:, :2] - target[:, :2]), 0.03, 0.02, 0.2),
    )
    above = tolerance(positive(floor - hand[:, 2]), (0.0, 0.01), 0.05)
    caged = caging(readings, state, action, cube, object_radius=0.015, xz_threshold=0.01, desired_effort=0.7)
    grasped = (norm(cube - hand) < 0.04) & (readings["gripper"] >= 0.43)
    lifted = grasped & (cube[:, 2] - 0.02 > start[:, 2])
    reward = hamacher(caged, in_place) + np.where(lifted, 1.0 + 5.0 * hamacher(above, in_place), 0.0)
    return np.where(distance < TARGET_RADIUS, 10.0, reward), distance <= TARGET_RADIUS


TASK = Task(
    model="sawyer_bin_picking.xml",
    hand_start=(0.0, 0.6, 0.2),
    reset_low=(-0.21, 0.65, 0.02, 0.1199, 0.699, -0.001),
    reset_high=(-0.03, 0.75, 0.02, 0.1201, 0.701, 0.001),
    readings={"cube": body("obj"), "cube_quaternion": body_quaternion("obj")},
    reset=reset,
    observe=observe,
    reward_v1=reward_v1,
    reward_v2=reward_v2,
    remember=remember,
    hand_low=(-0.5, 0.40, 0.07),
    goal_low=(0.1199, 0.699, -0.001),
    goal_high=(0.1201, 0.701, 0.001),
)
