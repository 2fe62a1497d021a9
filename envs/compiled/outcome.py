"""What a step of the n worlds of a task comes to, as one function of arrays."""

from __future__ import annotations

import operator
from collections.abc import Callable
from functools import reduce

import numpy as np

from envs.compiled.arrays import Array, Arrays
from envs.compiled.observation import clip_bounds, complete, frame
from envs.compiled.simulation import locate
from envs.compiled.task import Task


def outcome_of(task: Task, reward_version: str) -> Callable[[Arrays], dict[str, Array]]:
    """The function that says what a step of the task came to.

    It takes, by name, "sensors" (rows of sensor data, [n, ...]), "actions" [n, 4], "frames", "observations" and "times"
    of the step before ([n, 18], [n, 39] and [n]), and the fields of the episode; and gives "frames" and "observations"
    after the step, "rewards", "successes", "diverged" and "invalid" [n], and the fields that the task remembers. A
    world is invalid if its simulation diverged or its observation or reward is not finite; then its observation is the
    one before the step, its reward 0, and it has no success.
    """
    columns = locate(task.all_readings)
    reward = task.reward_v1 if reward_version == "v1" else task.reward_v2
    low, high = (bound.tolist() for bound in clip_bounds(task))

    def outcome(inputs: Arrays) -> dict[str, Array]:
        sensors, actions = inputs["sensors"], inputs["actions"]
        readings = complete({name: sensors[:, column] for name, column in columns.items()}, task)
        changed = {} if task.remember is None else task.remember(readings, actions, inputs)
        rewards, successes = reward(readings, actions, {**inputs, **changed})
        frames = frame(readings)
        observations = np.concat([frames, inputs["frames"], inputs["target"]], axis=1)
        observations = np.maximum(observations, np.array(low))
        observations = np.minimum(observations, np.array(high))
        # One NaN or infinite number makes the sum one, and NaN of its difference from itself.
        total = reduce(operator.add, (observations[:, i] for i in range(observations.shape[1])), rewards)
        diverged = sensors[:, 0] <= inputs["times"]
        invalid = diverged | (total - total != 0)
        return {
            "frames": frames,
            "observations": np.where(invalid[:, None], inputs["observations"], observations),
            "rewards": np.where(invalid, 0.0, rewards),
            "successes": successes & ~invalid,
            "diverged": diverged,
            "invalid": invalid,
            **changed,
        }

    return outcome
