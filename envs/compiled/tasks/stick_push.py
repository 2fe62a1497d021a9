"""stick-push-v3: grasp a stick and push a thermos with it."""

from __future__ import annotations

from typing import Any

import numpy as np

from envs.compiled.arrays import Array, Arrays, norm
from envs.compiled.rewards import caging, tolerance
from envs.compiled.scene import Scene
from envs.compiled.task import Task, grip
from envs.compiled.tasks import _stick
from envs.compiled.tasks._stick import MODEL, READINGS, SUCCESS_RADIUS, place, poses, stick_start

GRASP = (0.015, 0.0, 0.0)


def reset(scene: Scene, goal: Array) -> dict[str, Any]:
    target = np.array([goal[3], goal[4], scene.site("insertion")[2]])
    return {"target": target, **place(scene, stick_start(goal), (0.0, 0.0))}


def observe(readings: Arrays) -> Array:
    return poses(readings, readings["insertion"] + np.array([0.0, 0.09, 0.0]))


def reward_v1(readings: Arrays, action: Array, state: Arrays) -> tuple[Array, Array]:
    reward = _stick.reward_v1(readings, action, state, near_goal=(0.001, 0.0001))
    # Success needs a grasp, and this version says that the gripper is shut.
    return reward, np.zeros(len(reward), np.bool_)


def reward_v2(readings: Arrays, action: Array, state: Arrays) -> tuple[Array, Array]:
    target, start = state["target"], state["object_start"]
    stick = readings["stick"] + np.array(GRASP)
    bounds = (0.0, SUCCESS_RADIUS)
    stick_in_place = tolerance(norm(stick - target), bounds, norm(start - target) - SUCCESS_RADIUS)
    distance = norm(readings["objects"][:, 7:10] - target)
    in_place = tolerance(distance, bounds, norm(state["thermos_start"] - target) - SUCCESS_RADIUS)
    caged = caging(readings, state, action, stick, object_radius=0.04, xz_threshold=0.01)
    lifted = (readings["gripper"] > 0) & (stick[:, 2] - 0.01 > start[:, 2])
    held = lifted & (norm(stick - readings["tcp"]) < 0.02)
    pushed = distance <= SUCCESS_RADIUS
    reward = np.where(pushed, 10.0, 2.0 + 5.0 * stick_in_place + 3.0 * in_place)
    gripped = readings["gripped"][:, 0] > 0
    return np.where(held, reward, caged), pushed & lifted & gripped


TASK = Task(
    model=MODEL,
    hand_start=(0.0, 0.6, 0.2),
    reset_low=(-0.08, 0.58, 0.0, 0.399, 0.55, 0.1319),
    reset_high=(-0.03, 0.62, 0.001, 0.401, 0.6, 0.1321),
    min_distance=0.1,
    readings={**READINGS, "gripped": grip("objGeom")},
    reset=reset,
    observe=observe,
    reward_v1=reward_v1,
    reward_v2=reward_v2,
    goal_low=(0.399, 0.55, 0.1319),
    goal_high=(0.401, 0.6, 0.1321),
)
