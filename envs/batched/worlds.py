"""All worlds of a process: what is the same in all tasks is computed for all of them at once."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import accumulate
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from envs.batched.arrays import Array
from envs.batched.observation import (
    FRAME_SIZE,
    OBJECTS_SIZE,
    clip_bounds,
    complete,
    fingertips,
    frame,
    opening,
)
from envs.batched.simulation import ROBOT_COLUMNS, ROBOT_SIZE, Simulation, aim, squeeze
from envs.batched.task import load_task
from envs.goals import RESET_SPACES
from envs.worlds import GOAL_SIZE


class TaskWorlds:
    """The n worlds of one task, as arrays.

    Attributes:
        goals: the goal of each world's last reset [n, 6].
        fields: what the rewards need to know of the episode, by name [n, ...].
    """

    def __init__(self, name: str, reward_version: str, count: int) -> None:
        self.name = name
        self.task = load_task(name)
        self.simulation = Simulation(self.task, count)
        self.reward = self.task.reward_v1 if reward_version == "v1" else self.task.reward_v2
        self.goal_size = len(RESET_SPACES[name].low)
        self.goals = np.zeros((count, GOAL_SIZE))
        self.fields: dict[str, NDArray[np.float64]] = {}
        self._starts: dict[bytes, tuple[NDArray[np.float64], NDArray[np.float64], dict[str, Array]]] = {}

    def reset(self, index: int, goal: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """A new episode in one world; returns its first frame [18] and what is observed of the goal [3]."""
        state, first, fields = self._start(goal)
        self.goals[index] = goal
        self.simulation.set_state(index, state)
        for name, value in fields.items():
            if name not in self.fields:
                self.fields[name] = np.zeros((len(self.goals), *value.shape))
            self.fields[name][index] = value
        return first, fields["target"]

    def _start(
        self, goal: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64], dict[str, Array]]:
        """What an episode at this goal begins with. It depends on nothing else, so it is computed once per goal."""
        key = goal.tobytes()
        if key not in self._starts:
            state, readings, fields = self.simulation.reset(goal[: self.goal_size])
            self._starts[key] = state, frame(complete(readings, self.task))[0], fields
        return self._starts[key]

    def judge(self, readings: dict[str, Array], actions: NDArray[np.float64]) -> tuple[Array, Array]:
        """Rewards and successes [n] of a step."""
        if self.task.remember is not None:
            self.fields.update(self.task.remember(readings, actions, self.fields))
        return self.reward(readings, actions, self.fields)


class Step(NamedTuple):
    """What a step of N worlds yields: arrays [N, 39] and [N]."""

    observations: NDArray[np.float64]
    rewards: NDArray[np.float64]
    successes: NDArray[np.bool_]
    diverged: NDArray[np.bool_]


class Worlds:
    """The N worlds of several tasks, task by task.

    Args:
        counts: how many worlds of each task.

    Attributes:
        groups: the worlds of each task.
        rows: where they are among all worlds.
        frames: the current frame of each world, which the next observation shows as the previous one [N, 18].
    """

    def __init__(self, counts: Mapping[str, int], reward_version: str) -> None:
        self.groups = [TaskWorlds(name, reward_version, count) for name, count in counts.items()]
        ends = list(accumulate(counts.values()))
        self.rows = [slice(end - count, end) for end, count in zip(ends, counts.values(), strict=True)]
        self.count = ends[-1]
        self.frames = np.zeros((self.count, FRAME_SIZE))
        self._targets = np.zeros((self.count, 3))
        self._hands, self._times = np.zeros((self.count, 3)), np.zeros(self.count)
        self._places = [(group, i) for group in self.groups for i in range(counts[group.name])]
        for group, rows in zip(self.groups, self.rows, strict=True):
            group.simulation.hands, group.simulation.times = self._hands[rows], self._times[rows]
        tasks = [group.task for group, _ in self._places]
        self._bounds = [np.array(bound) for bound in zip(*map(clip_bounds, tasks), strict=True)]
        self._box = np.array([task.hand_low for task in tasks]), np.array([task.hand_high for task in tasks])

    def place(self, index: int) -> tuple[TaskWorlds, int]:
        """The group that a world belongs to, and which of the group it is."""
        return self._places[index]

    def reset(self, index: int, goal: NDArray[np.float64]) -> NDArray[np.float64]:
        """A new episode in one world; returns its first observation, the only one that is not clipped [39]."""
        group, i = self._places[index]
        first, target = group.reset(i, goal)
        self.frames[index], self._targets[index] = first, target
        return np.concatenate([first, first, target])

    def step(self, actions: NDArray[np.float64]) -> Step:
        """One environment step of all worlds, with actions [N, 4] clipped to [-1, 1]."""
        aim(self._hands, actions, self._box)
        fingers = squeeze(actions)
        sensors = [
            group.simulation.advance(fingers[rows])
            for group, rows in zip(self.groups, self.rows, strict=True)
        ]
        robots = np.concatenate([rows[:, :ROBOT_SIZE] for rows in sensors])
        diverged = robots[:, 0] <= self._times
        self._times[:] = robots[:, 0]
        readings = {name: robots[:, column] for name, column in ROBOT_COLUMNS.items()}
        tcp, gripper = fingertips(readings), opening(readings)
        objects = np.zeros((self.count, OBJECTS_SIZE))
        rewards, successes = np.empty(self.count), np.empty(self.count, dtype=np.bool_)
        for group, rows, values in zip(self.groups, self.rows, sensors, strict=True):
            seen = group.simulation.read(values)
            seen["tcp"], seen["gripper"] = tcp[rows], gripper[rows]
            observed = group.task.observe(seen)
            objects[rows, : observed.shape[1]] = observed
            seen["objects"] = objects[rows]
            rewards[rows], successes[rows] = group.judge(seen, actions[rows])
        frames = frame({"hand": readings["hand"], "gripper": gripper, "objects": objects})
        observations = np.concatenate([frames, self.frames, self._targets], axis=1)
        np.maximum(observations, self._bounds[0], out=observations)
        np.minimum(observations, self._bounds[1], out=observations)
        self.frames[:] = frames
        return Step(observations, rewards, successes, diverged)
