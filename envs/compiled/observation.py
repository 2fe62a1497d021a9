"""Meta-World's observation, for all worlds of a task at once: this frame, the previous one, and the goal."""

from __future__ import annotations

import numpy as np

from envs.compiled.arrays import Array, Arrays, norm
from envs.compiled.task import Task

FRAME_SIZE, OBJECTS_SIZE = 18, 14
_HAND_LOW, _HAND_HIGH = (-0.525, 0.348, -0.0525), (0.525, 1.025, 0.7)


def complete(readings: Arrays, task: Task) -> dict[str, Array]:
    """Adds to what was read what follows from it: "tcp", "gripper" and "objects" (see `Task`)."""
    claws = norm(readings["right_claw"] - readings["left_claw"])
    completed = {
        **readings,
        "tcp": (readings["right_finger"] + readings["left_finger"]) / 2.0,
        "gripper": np.minimum(claws / 0.1, 1.0),
    }
    objects = task.observe(completed)
    padding = np.zeros((len(objects), OBJECTS_SIZE - objects.shape[1]))
    completed["objects"] = np.concat([objects, padding], axis=1)
    return completed


def frame(readings: Arrays) -> Array:
    """One frame [n, 18]: hand, opening of the gripper, position and quaternion of up to two objects."""
    return np.concat([readings["hand"], readings["gripper"][:, None], readings["objects"]], axis=1)


def observed_hand(readings: Arrays) -> Array:
    """Where observations show the hand, [n, 3]: within bounds, which it may overshoot."""
    hand = readings["hand"]
    return np.minimum(np.maximum(hand, np.array(_HAND_LOW)), np.array(_HAND_HIGH))


def clip(observation: Array, task: Task) -> Array:
    """Within the bounds that Meta-World keeps every observation [n, 39] to, save the first one of an episode."""
    unbounded = np.full(OBJECTS_SIZE, np.inf)
    low, high = [*_HAND_LOW, -1.0, *-unbounded], [*_HAND_HIGH, 1.0, *unbounded]
    above = np.maximum(observation, np.array([*low, *low, *task.goal_low]))
    return np.minimum(above, np.array([*high, *high, *task.goal_high]))
