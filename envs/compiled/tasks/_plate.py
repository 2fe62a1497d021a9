"""What the four tasks that slide a plate share."""

from __future__ import annotations

import numpy as np

from envs.compiled.arrays import Array, Arrays, norm, pose, quaternion
from envs.compiled.rewards import reach_and_move_v1, tolerance
from envs.compiled.scene import Scene
from envs.compiled.task import geom, geom_axes

FORWARD, SIDEWAYS = "sawyer_plate_slide.xml", "sawyer_plate_slide_sideway.xml"
HAND_START = np.array([0.0, 0.6, 0.2], dtype=np.float32)
READINGS = {"plate": geom("puck"), "plate_axes": geom_axes("puck")}
TARGET_RADIUS = 0.05
SUCCESS_RADIUS = 0.07


def slide(scene: Scene, x: float, y: float) -> None:
    """Sets how far the plate has slid; it keeps its velocity."""
    scene.set_joints({9: x, 10: y})


def observe(readings: Arrays) -> Array:
    return pose(readings["plate"], quaternion(readings["plate_axes"]))


def reward_v1(readings: Arrays, action: Array, state: Arrays) -> tuple[Array, Array]:
    plate = readings["plate"]
    distance = norm(plate[:, :2] - state["target"][:, :2])
    reward = reach_and_move_v1(norm(plate - readings["tcp"]), state["max_distance"], distance)
    return reward, distance <= SUCCESS_RADIUS


def reward_v2(readings: Arrays, action: Array, state: Arrays) -> tuple[Array, Array]:
    plate, tcp = readings["plate"], readings["tcp"]
    target, start = state["target"], state["object_start"]
    distance, reach_distance = norm(plate - target), norm(tcp - plate)
    in_place = tolerance(distance, (0.0, TARGET_RADIUS), norm(start - target) - TARGET_RADIUS)
    reach = tolerance(reach_distance, (0.0, TARGET_RADIUS), norm(state["tcp_start"] - start) - TARGET_RADIUS)
    on_plate = (tcp[:, 2] <= 0.03) & (reach_distance < 0.07)
    reward = np.where(on_plate, 2.0 + 7.0 * in_place, 1.5 * reach)
    return np.where(distance < TARGET_RADIUS, 10.0, reward), distance <= SUCCESS_RADIUS
