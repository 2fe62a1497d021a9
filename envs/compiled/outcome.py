"""What a step of the n worlds of a task comes to, as one function of arrays."""

from __future__ import annotations

import operator
from collections.abc import Callable
from functools import reduce

import numpy as np

from envs.compiled.arrays import Array, Arrays
from envs.compiled.observation import clip, complete, frame
from envs.compiled.simulation import locate
from envs.compiled.task import Task


def outcome_of(task: Task, reward_version: str) -> Callable[[Arrays], dict[str, Array]]:
    """The function that says what a step of the task came to.

    It takes, by name, "sensors" (rows of sensor data, [n, ...]), "action" [n, 4], "frame", "observation" and "time" of
    the step before ([n, 18], [n, 39] and [n]), and what the rewards need to know of the episode; and gives "frame" and
    "observation" after the step, "reward", "success", "diverged" and "invalid" [n], and what the task remembers. A
    world is invalid if its simulation diverged or its observation or reward is not finite; then its observation is the
    one before the step, its reward 0, and it has no success.
    """
    columns = locate(task.all_readings)
    reward = task.reward_v1 if reward_version == "v1" else task.reward_v2

    def outcome(inputs: Arrays) -> dict[str, Array]:
        sensors, action = inputs["sensors"], inputs["action"]
        readings = complete({name: sensors[:, column] for name, column in columns.items()}, task)
        changed = {} if task.remember is None else task.remember(readings, action, inputs)
        rewards, successes = reward(readings, action, {**inputs, **changed})
        frames = frame(readings)
        observations = clip(np.concat([frames, inputs["frame"], inputs["target"]], axis=1), task)
        # One NaN or infinite number makes the sum one, and NaN of its difference from itself.
        total = reduce(operator.add, (observations[:, i] for i in range(observations.shape[1])), rewards)
        diverged = sensors[:, 0] <= inputs["time"]
        invalid = diverged | (total - total != 0)
        return {
            "frame": frames,
            "observation": np.where(invalid[:, None], inputs["observation"], observations),
            "reward": np.where(invalid, 0.0, rewards),
            "success": successes & ~invalid,
            "diverged": diverged,
            "invalid": invalid,
            **changed,
        }

    return outcome
