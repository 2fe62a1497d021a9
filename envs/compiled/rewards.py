"""What Meta-World's reward functions are made of, for all worlds of a task at once.

Every function takes and gives arrays [n] unless it says otherwise. Where Meta-World would raise (a negative margin),
there is no special case: its own goals never lead there.
"""

from __future__ import annotations

import math
from typing import Literal

import numpy as np

from envs.compiled.arrays import Array, Arrays, norm, positive

_VALUE_AT_MARGIN = 0.1
_PAD_MARGIN = 0.05
_TINY = 1e-100  # instead of a division by zero
_GAUSSIAN = math.sqrt(-math.log(_VALUE_AT_MARGIN))
_LONG_TAIL = math.sqrt(1 / _VALUE_AT_MARGIN - 1)


def tolerance(
    x: Array,
    bounds: tuple[float, float],
    margin: Array | float,
    sigmoid: Literal["gaussian", "long_tail"] = "long_tail",
) -> Array:
    """1 within the bounds (inclusive); outside it falls with the distance to them, to 0.1 at the margin.

    Where the margin is 0, the value outside is 0.
    """
    lower, upper = bounds
    outside = x - np.minimum(np.maximum(x, lower), upper)
    width = _GAUSSIAN if sigmoid == "gaussian" else _LONG_TAIL
    if isinstance(margin, (int, float)):
        scaled = outside * (width / max(margin, _TINY))
    else:
        scaled = outside * width / np.maximum(margin, _TINY)
    square = scaled * scaled
    return np.exp(-square) if sigmoid == "gaussian" else 1 / (square + 1)


def hamacher(a: Array, b: Array) -> Array:
    """The Hamacher product ab / (a + b - ab) of two numbers in [0, 1]: high only if both are high; 0 for (0, 0)."""
    product = a * b
    return product / np.maximum(a + b - product, _TINY)


def effort(action: Array, desired: float = 1.0) -> Array:
    """How firmly the gripper is being closed, relative to the desired effort, in [0, 1]."""
    return np.minimum(np.maximum(action[:, 3], 0.0), desired) / desired


def reaching(
    readings: Arrays,
    state: Arrays,
    position: Array,
    start: Array,
    radius: float,
    sigmoid: Literal["gaussian", "long_tail"] = "long_tail",
) -> Array:
    """How near the fingers' centre is to a position, measured by how far it was from `start` at the reset, [n, 3]."""
    margin = np.abs(norm(start - state["tcp_start"]) - radius)
    return tolerance(norm(position - readings["tcp"]), (0.0, radius), margin, sigmoid)


def caging(
    readings: Arrays,
    state: Arrays,
    action: Array,
    position: Array,
    *,
    object_radius: float,
    xz_threshold: float,
    pad_success_threshold: float = 0.05,
    initial_position: Array | None = None,
    density: Literal["low", "medium", "high"] = "high",
    reach_radius: float = 0.0,
    desired_effort: float = 1.0,
) -> Array:
    """How well the fingers enclose an object, and grip it (Meta-World's `_gripper_caging_reward`).

    Args:
        position: where the object is, [n, 3].
        object_radius, pad_success_threshold: the distances along y that a pad should keep to the object.
        xz_threshold: how near, in the xz plane, the fingers' centre should be to the object.
        initial_position: where it was at the reset, if that is not `state["object_start"]`, [n, 3].
        density: "high" adds the enclosing itself, "medium" adds how near the fingers' centre is to the object
            (within `reach_radius`), "low" neither.
    """
    if initial_position is None:
        initial_position = state["object_start"]
    pads = np.concat([readings["left_pad"][:, 1:2], readings["right_pad"][:, 1:2]], axis=1)  # both along y
    sides = tolerance(
        np.abs(pads - position[:, 1:2]),
        (object_radius, pad_success_threshold),
        np.abs(np.abs(pads - initial_position[:, 1:2]) - pad_success_threshold),
    )
    enclosing = hamacher(sides[:, 0], sides[:, 1])
    caged = hamacher(enclosing, _across(readings, state, position, initial_position, xz_threshold))
    gripping = np.where(caged > 0.97, effort(action, desired_effort), 0.0)
    reward = hamacher(caged, gripping)
    if density == "high":
        return (reward + caged) / 2
    if density == "medium":
        return (reward + reaching(readings, state, position, initial_position, reach_radius)) / 2
    return reward


def caging_by_effort(
    readings: Arrays, state: Arrays, action: Array, position: Array, *, object_radius: float
) -> Array:
    """Pick-place's own caging: as `caging` of high density, but each pad has to be on its own side of the
    object.

    Args:
        position, object_radius: as for `caging`.
    """
    sides = _both_sides(readings, position, (object_radius, _PAD_MARGIN))
    caged = hamacher(sides, _across(readings, state, position, state["object_start"], 0.005))
    gripping = np.where(caged > 0.97, effort(action), 0.0)
    return (hamacher(caged, gripping) + caged) / 2


def caging_by_pads(
    readings: Arrays,
    state: Arrays,
    position: Array,
    *,
    object_radius: float,
    grip_margin: float,
    xz_threshold: float,
) -> Array:
    """The caging of push-back, soccer, sweep and sweep-into: gripped is what the pads touch, whatever the
    action.

    Args:
        position, object_radius, xz_threshold: as for `caging`.
        grip_margin: how far from the object's surface a pad may be to grip it.
    """
    sides = _both_sides(readings, position, (object_radius, _PAD_MARGIN))
    caged = hamacher(sides, _across(readings, state, position, state["object_start"], xz_threshold))
    gripped = _both_sides(readings, position, (object_radius, object_radius + grip_margin))
    return (caged + np.where(caged > 0.95, gripped, 0.0)) / 2


def _both_sides(readings: Arrays, position: Array, bounds: tuple[float, float]) -> Array:
    """How well both pads keep within these distances of the object, each on its own side of it along y.

    The margin would come from where the pads were at the reset; as Meta-World keeps a view of where they
    are, it comes from that.
    """
    along = position[:, 1:2]
    both = np.concat([along - readings["right_pad"][:, 1:2], readings["left_pad"][:, 1:2] - along], axis=1)
    sides = tolerance(both, bounds, np.abs(np.abs(both) - _PAD_MARGIN))
    return hamacher(sides[:, 0], sides[:, 1])


def _across(
    readings: Arrays, state: Arrays, position: Array, initial_position: Array, threshold: float
) -> Array:
    """How near the fingers' centre is to the object in the xz plane, measured by how far it was at the reset."""
    margin = xz_norm(initial_position - state["tcp_start"]) - threshold
    return tolerance(xz_norm(readings["tcp"] - position), (0.0, threshold), margin)


def prism(point: Array, zero: Array, one: Array) -> Array:
    """The product of the three relative coordinates of a point in a box from corner `zero` to corner
    `one`; 1 outside.

    Args:
        point, zero, one: [n, 3].
    """
    inside = np.all(((zero <= point) & (point <= one)) | ((one <= point) & (point <= zero)), axis=-1)
    relative = (point - zero) / (one - zero)
    return np.where(inside, relative[:, 0] * relative[:, 1] * relative[:, 2], 1.0)


def xz_norm(vectors: Array) -> Array:
    """Length of vectors [n, 3] in the xz plane."""
    return np.sqrt(vectors[:, 0] ** 2 + vectors[:, 2] ** 2)


def progress_v1(max_distance: Array | float, distance: Array) -> Array:
    """The first version's reward for bringing something to its goal: linear, with two peaks at the goal."""
    square = distance**2
    return 1000 * (max_distance - distance) + 1000 * (np.exp(-square / 0.01) + np.exp(-square / 0.001))


def reach_and_move_v1(reach_distance: Array, max_distance: Array | float, distance: Array) -> Array:
    """The first version's reward for most of what is pushed or pulled: progress counts while the fingers are
    within 5 cm."""
    moved = np.where(reach_distance < 0.05, positive(progress_v1(max_distance, distance)), 0.0)
    return moved - reach_distance


def approach_v1(
    readings: Arrays,
    action: Array,
    position: Array,
    height: Array | float,
    *,
    radius: float = 0.05,
    near: float = 0.05,
    height_weight: float = 2.0,
) -> Array:
    """The first version's reward for approaching what is to be grasped: from above, then close the gripper.

    Args:
        position: what is to be grasped, [n, 3].
        height: how high the fingers should stay until they are above it.
        radius: how near in the xy plane "above it" is.
        near: at which distance to close the gripper.
        height_weight: what the difference to that height weighs.
    """
    offset = position - readings["tcp"]
    distance, across = norm(offset), norm(offset[:, :2])
    too_far = across + height_weight * np.abs(readings["tcp"][:, 2] - height)
    closing = np.where(distance < near, positive(action[:, 3]) / 50, 0.0)
    return closing - np.where((across < radius) | (distance < near), distance, too_far)


def lift_v1(
    height: Array, start: Array, target: Array, reach_distance: Array, place_distance: Array
) -> tuple[Array, Array]:
    """The first version's reward for lifting an object, and whether it is lifted and within reach (bool).

    Args:
        height, start, target: the object's height, that at the reset, and the one to lift it to.
        reach_distance, place_distance: from the object to the fingers, and to its goal.
    """
    off_table = height > start + 0.005
    dropped = (height < start + 0.005) & (place_distance > 0.02) & (reach_distance > 0.02)
    lifted = (height >= target - 0.01) & ~dropped
    within_reach = reach_distance < 0.1
    rising = np.where(within_reach & off_table, np.minimum(target, height), 0.0)
    return 100 * np.where(lifted, target, rising), lifted & within_reach
