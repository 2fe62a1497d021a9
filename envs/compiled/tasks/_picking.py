"""What the tasks share in which something is grasped and carried."""

from __future__ import annotations

import numpy as np

from envs.compiled.arrays import Array, Arrays, norm, positive
from envs.compiled.rewards import approach_v1, lift_v1, progress_v1

_TINY = 1e-100  # instead of the logarithm of zero


def place_v1(
    readings: Arrays, action: Array, state: Arrays, start_height: Array, lift: float
) -> tuple[Array, Array]:
    """The first version's reward for approaching, lifting and carrying the (first) object; its distance to the
    target [n].

    Args:
        start_height: the object's height when placed, [n].
        lift: how high to lift it.
    """
    position, target, start = readings["objects"][:, :3], state["target"], state["object_start"]
    distance, height = norm(position - target), start_height + lift
    reach_distance = norm(position - readings["tcp"])
    lifted, carried = lift_v1(position[:, 2], start_height, height, reach_distance, distance)
    max_distance = norm(at_height(start, height) - target) + height
    placed = np.where(carried, positive(progress_v1(max_distance, distance)), 0.0)
    approach = approach_v1(readings, action, position, state["tcp_start"][:, 2])
    return approach + lifted + placed, distance


def at_height(position: Array, height: Array) -> Array:
    """A position [n, 3] with another height [n]."""
    return np.concat([position[:, :2], height[:, None]], axis=1)


def funnel(radius: Array, bottom: Array | float, slope: float, height: float) -> Array:
    """The height of a funnel's wall at a distance from its axis; 0 at the bottom, within the radius `bottom`."""
    wall = slope * np.log(np.maximum(radius - bottom, _TINY)) + height
    return np.where(radius > bottom, wall, 0.0)


def nearest_on_handle(handle: Array, hand: Array, length: float) -> Array:
    """Where to grasp a handle along x: its centre [n, 3], moved along x to the hand's x if that is on it."""
    x = np.where(np.abs(handle[:, 0] - hand[:, 0]) < length / 2, hand[:, 0], handle[:, 0])
    return np.concat([x[:, None], handle[:, 1:]], axis=1)


def alignment(orientation: Array, ideal: tuple[float, float, float, float], width: float) -> Array:
    """1 for an object whose quaternion [n, 4] is the ideal one, falling to 0 at a distance of `width`."""
    return positive(1.0 - norm(orientation - np.array(ideal)) / width)
