"""Meta-World's observation, for all worlds of a task at once: this frame, the previous one, and the goal."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from envs.compiled.arrays import Array, Arrays, norm
from envs.compiled.task import Task

FRAME_SIZE, OBJECTS_SIZE = 18, 14
_HAND_LOW, _HAND_HIGH = (-0.525, 0.348, -0.0525), (0.525, 1.025, 0.7)


def fingertips(readings: Arrays) -> Array:
    """The centre of the fingers, [n, 3]."""
    return (readings["right_finger"] + readings["left_finger"]) / 2.0


def opening(readings: Arrays) -> Array:
    """How far the gripper is open, in [0, 1], [n]."""
    distance = norm(readings["right_claw"] - readings["left_claw"])
    return np.minimum(distance / 0.1, 1.0)


def complete(readings: Arrays, task: Task) -> dict[str, Array]:
    """Adds to what was read what follows from it: "tcp", "gripper" and "objects" (see `Task`)."""
    completed = {**readings, "tcp": fingertips(readings), "gripper": opening(readings)}
    objects = task.observe(completed)
    missing = OBJECTS_SIZE - objects.shape[1]
    if missing:
        objects = np.concat([objects, np.zeros((len(objects), missing))], axis=1)
    completed["objects"] = objects
    return completed


def frame(readings: Arrays) -> Array:
    """One frame [n, 18]: hand, opening of the gripper, position and quaternion of up to two objects."""
    return np.concat([readings["hand"], readings["gripper"][:, None], readings["objects"]], axis=1)


def observed_hand(readings: Arrays) -> Array:
    """Where observations show the hand, [n, 3]: within bounds, which it may overshoot."""
    hand = readings["hand"]
    return np.minimum(np.maximum(hand, np.array(_HAND_LOW)), np.array(_HAND_HIGH))


def clip_bounds(task: Task) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Bounds [39] that Meta-World clips every observation to, save the first one of an episode."""
    unbounded = np.full(OBJECTS_SIZE, np.inf)
    low = [*_HAND_LOW, -1.0, *-unbounded]
    high = [*_HAND_HIGH, 1.0, *unbounded]
    return np.array([*low, *low, *task.goal_low]), np.array([*high, *high, *task.goal_high])
