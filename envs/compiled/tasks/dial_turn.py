"""dial-turn-v3: turn a dial by its knob."""

from __future__ import annotations

from typing import Any

import numpy as np

from envs.compiled.arrays import Array, Arrays, norm, pose, positive
from envs.compiled.rewards import effort, hamacher, reaching, tolerance
from envs.compiled.scene import Scene
from envs.compiled.task import Task, body, body_quaternion, joint

RADIUS = 0.05
PUSH_OFFSET = (0.05, 0.02, 0.09)
TARGET_RADIUS = 0.07
REACH_RADIUS = 0.005


def knob(dial: Array, angle: Array) -> Array:
    """Where the knob is, [..., 3], on a dial with its centre there [..., 3], turned by an angle [...]."""
    x, y = dial[..., 0] + RADIUS * np.sin(angle), dial[..., 1] - RADIUS * np.cos(angle)
    return np.stack([x, y, dial[..., 2]], axis=-1)


def reset(scene: Scene, goal: Array) -> dict[str, Any]:
    scene.move_body("dial", goal)
    angle = scene.data.joint("knob_Joint_1").qpos[0]
    return {
        "target": goal + np.array([0.0, 0.03, 0.03]),
        "dial": goal,
        "push_start": knob(scene.body("dial"), angle) + PUSH_OFFSET,
    }


def observe(readings: Arrays) -> Array:
    return pose(knob(readings["dial"], readings["angle"]), readings["dial_quaternion"])


def reward_v1(readings: Arrays, action: Array, state: Arrays) -> tuple[Array, Array]:
    handle, target = readings["objects"][:, :3], state["target"]
    reach_distance = norm(handle - readings["tcp"])
    distance = np.abs(handle[:, 1] - target[:, 1])
    max_distance = np.abs(target[:, 1] - state["dial"][:, 1])
    # As `progress_v1`, with narrower peaks.
    peaks = np.exp(-(distance**2) / 0.001) + np.exp(-(distance**2) / 0.0001)
    turned = np.where(reach_distance < 0.05, positive(1000 * (max_distance - distance + peaks)), 0.0)
    return turned - reach_distance, distance <= TARGET_RADIUS


def reward_v2(readings: Arrays, action: Array, state: Arrays) -> tuple[Array, Array]:
    handle, target, start = readings["objects"][:, :3], state["target"], state["push_start"]
    distance = norm(handle - target)
    in_place = tolerance(distance, (0.0, TARGET_RADIUS), np.abs(norm(start - target) - TARGET_RADIUS))
    reach = reaching(readings, state, handle + np.array(PUSH_OFFSET), start, REACH_RADIUS, "gaussian")
    reward = 10 * hamacher(hamacher(reach, effort(action)), in_place)
    return reward, distance <= TARGET_RADIUS


TASK = Task(
    model="sawyer_dial.xml",
    hand_start=np.array([0.0, 0.6, 0.2], dtype=np.float32),
    reset_low=(-0.1, 0.7, 0.0),
    reset_high=(0.1, 0.8, 0.0),
    readings={
        "dial": body("dial"),
        "dial_quaternion": body_quaternion("dial"),
        "angle": joint("knob_Joint_1"),
    },
    reset=reset,
    observe=observe,
    reward_v1=reward_v1,
    reward_v2=reward_v2,
    moved_bodies=("dial",),
    goal_low=(-0.1, 0.73, 0.0299),
    goal_high=(0.1, 0.83, 0.0301),
)
