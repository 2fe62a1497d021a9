"""peg-insert-side-v3: grasp a peg and put it into a hole in the side of a box."""

from __future__ import annotations

from typing import Any

import numpy as np

from envs.compiled.arrays import Array, Arrays, norm, pose, positive, quaternion
from envs.compiled.rewards import approach_v1, caging, hamacher, lift_v1, prism, progress_v1, tolerance
from envs.compiled.scene import Scene
from envs.compiled.task import Task, site, site_axes

TARGET_RADIUS = 0.07
LIFT = 0.11


def reset(scene: Scene, goal: Array) -> dict[str, Any]:
    peg, box = goal[:3], goal[3:]
    head_start = scene.site("pegHead")  # of the peg where the model has it, before it is placed
    scene.place_object(peg)
    scene.move_body("box", box)
    return {"target": box + np.array([0.03, 0.0, 0.13]), "object_start": peg, "head_start": head_start}


def observe(readings: Arrays) -> Array:
    return pose(readings["grasp"], quaternion(readings["grasp_axes"]))


def reward_v1(readings: Arrays, action: Array, state: Arrays) -> tuple[Array, Array]:
    peg, target, start = readings["grasp"], state["target"], state["object_start"]
    distance, head_distance = norm(peg - target), norm(readings["head"] - target)
    height = start[:, 2] + LIFT
    lifted, carried = lift_v1(peg[:, 2], start[:, 2], height, norm(peg - readings["tcp"]), distance)
    max_distance = norm(np.concat([start[:, :2], height[:, None]], axis=1) - target) + height
    progress = progress_v1(max_distance, np.where(head_distance <= 0.05, distance, head_distance))
    placed = np.where(carried, positive(progress), 0.0)
    approach = approach_v1(readings, action, peg, state["tcp_start"][:, 2], height_weight=1.0)
    # Success is measured by where the peg is grasped, not by its head.
    return approach + lifted + placed, distance <= TARGET_RADIUS


def reward_v2(readings: Arrays, action: Array, state: Arrays) -> tuple[Array, Array]:
    peg, head = readings["grasp"], readings["head"]
    target, start = state["target"], state["object_start"]
    scale = np.array([1.0, 2.0, 2.0])
    distance = norm((head - target) * scale)
    in_place = tolerance(distance, (0.0, TARGET_RADIUS), norm((state["head_start"] - target) * scale))
    # Below and above the hole, the head is to keep away from the box.
    below = prism(head, readings["low_right_below"], readings["high_left_below"])
    above = prism(head, readings["low_right_above"], readings["high_left_above"])
    in_place = hamacher(in_place, hamacher(above, below))
    caged = caging(
        readings, state, action, peg, object_radius=0.0075, pad_success_threshold=0.03, xz_threshold=0.005
    )
    near = (norm(peg - readings["tcp"]) < 0.08) & (readings["gripper"] > 0)
    held = near & (peg[:, 2] - 0.01 > start[:, 2])
    reward = hamacher(np.where(held, 1.0, caged), in_place)
    reward = np.where(held, reward + 1.0 + 5 * in_place, reward)
    success = distance <= TARGET_RADIUS
    return np.where(success, 10.0, reward), success


TASK = Task(
    model="sawyer_peg_insertion_side.xml",
    hand_start=(0.0, 0.6, 0.2),
    reset_low=(0.0, 0.5, 0.02, -0.35, 0.4, -0.001),
    reset_high=(0.2, 0.7, 0.02, -0.25, 0.7, 0.001),
    min_distance=0.1,
    readings={
        "grasp": site("pegGrasp"),
        "grasp_axes": site_axes("pegGrasp"),
        "head": site("pegHead"),
        "low_right_below": site("bottom_right_corner_collision_box_1"),
        "high_left_below": site("top_left_corner_collision_box_1"),
        "low_right_above": site("bottom_right_corner_collision_box_2"),
        "high_left_above": site("top_left_corner_collision_box_2"),
    },
    reset=reset,
    observe=observe,
    reward_v1=reward_v1,
    reward_v2=reward_v2,
    moved_bodies=("box",),
    goal_low=(-0.35 + 0.03, 0.4, -0.001 + 0.13),
    goal_high=(-0.25 + 0.03, 0.7, 0.001 + 0.13),
)
