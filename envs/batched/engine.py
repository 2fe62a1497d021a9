"""The batched engine: all worlds of a task in one go, bit for bit the simulation that Meta-World runs."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from envs.batched.arrays import Array
from envs.batched.observation import FRAME_SIZE, clip_bounds, complete, frame
from envs.batched.simulation import Simulation
from envs.batched.task import load_task
from envs.benchmarks import Protocol
from envs.divergence import keep_no_log
from envs.goals import RESET_SPACES
from envs.worlds import GOAL_SIZE, Buffers, Fault, World

Rows = slice | NDArray[np.intp]


class TaskWorlds:
    """The n worlds of one task in this process, as arrays.

    Attributes:
        frames: the current frame of each world, which the next observation shows as the previous one, [n,
            18].
        goals: the goal of each world's last reset [n, 6].
        fields: what the rewards need to know of the episode, by name [n, ...].
    """

    def __init__(self, name: str, reward_version: str, count: int) -> None:
        self.name = name
        self.task = load_task(name)
        self.simulation = Simulation(self.task, count)
        self.reward = self.task.reward_v1 if reward_version == "v1" else self.task.reward_v2
        self.goal_size = len(RESET_SPACES[name].low)
        self.low, self.high = clip_bounds(self.task)
        self.frames = np.zeros((count, FRAME_SIZE))
        self.goals = np.zeros((count, GOAL_SIZE))
        self.fields: dict[str, NDArray[np.float64]] = {}
        self._starts: dict[bytes, tuple[NDArray[np.float64], NDArray[np.float64], dict[str, Array]]] = {}

    def reset(self, index: int, goal: NDArray[np.float64]) -> NDArray[np.float64]:
        """A new episode in one world; returns its first observation, the only one that is not clipped [39]."""
        state, first, fields = self._start(goal)
        self.goals[index] = goal
        self.simulation.set_state(index, state)
        self.frames[index] = first
        for name, value in fields.items():
            if name not in self.fields:
                self.fields[name] = np.zeros((len(self.goals), *value.shape))
            self.fields[name][index] = value
        return np.concatenate([first, first, fields["target"]])

    def _start(
        self, goal: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64], dict[str, Array]]:
        """What an episode at this goal begins with. It depends on nothing else, so it is computed once per goal."""
        key = goal.tobytes()
        if key not in self._starts:
            state, readings, fields = self.simulation.reset(goal[: self.goal_size])
            self._starts[key] = state, frame(complete(readings, self.task))[0], fields
        return self._starts[key]

    def step(self, actions: NDArray[np.float64]) -> tuple[Array, Array, Array, Array]:
        """Observations [n, 39], rewards, successes and whether the simulation diverged [n]."""
        simulated, diverged = self.simulation.step(actions)
        readings = complete(simulated, self.task)
        frames = frame(readings)
        observations = np.concatenate([frames, self.frames, self.fields["target"]], axis=1)
        np.maximum(observations, self.low, out=observations)
        np.minimum(observations, self.high, out=observations)
        self.frames = frames
        if self.task.remember is not None:
            self.fields.update(self.task.remember(readings, actions, self.fields))
        rewards, successes = self.reward(readings, actions, self.fields)
        return observations, rewards, successes, diverged


class BatchedEngine:
    """Some of the worlds, grouped by task (see `envs.worlds.Engine`)."""

    def __init__(self, worlds: Sequence[World], protocol: Protocol, buffers: Buffers) -> None:
        keep_no_log()
        self.buffers = buffers
        self.groups: dict[str, TaskWorlds] = {}
        self.task_rows: dict[str, Rows] = {}
        self.place: dict[int, tuple[str, int]] = {}
        self.positions: list[int] = []  # of all worlds, task by task
        for name in dict.fromkeys(world.task for world in worlds):
            positions = [world.position for world in worlds if world.task == name]
            self.groups[name] = TaskWorlds(name, protocol.reward_version, len(positions))
            self.task_rows[name] = _index(positions)
            self.place.update({position: (name, index) for index, position in enumerate(positions)})
            self.positions += positions
        self.rows = _index(self.positions)

    def reset(self, positions: NDArray[np.intp]) -> list[Fault]:
        for position in positions.tolist():
            self.buffers.observations[position] = self._reset(position)
        return []

    def step(self) -> list[Fault]:
        buffers, rows = self.buffers, self.rows
        steps = [group.step(buffers.actions[self.task_rows[name]]) for name, group in self.groups.items()]
        observations, rewards, successes, diverged = (
            map(np.concatenate, zip(*steps, strict=True)) if len(steps) > 1 else steps[0]
        )
        # One NaN or infinite number makes the sum one.
        invalid = diverged | ~np.isfinite(np.add.reduce(observations, axis=1) + rewards)
        faults = []
        if any(invalid.tolist()):
            for i in np.flatnonzero(invalid).tolist():
                faults.append(Fault(self.positions[i], _DIVERGED if diverged[i] else _NOT_FINITE))
            observations[invalid] = buffers.observations[rows][invalid]
            rewards[invalid], successes[invalid] = 0.0, False
        ended = invalid | buffers.cut[rows]
        if any(ended.tolist()):
            buffers.final_observations[rows] = observations
            for i in np.flatnonzero(ended).tolist():
                observations[i] = self._reset(self.positions[i])
        buffers.observations[rows] = observations
        buffers.rewards[rows] = rewards
        buffers.successes[rows] = successes
        buffers.invalid[rows] = invalid
        return faults

    def _reset(self, position: int) -> NDArray[np.float64]:
        name, index = self.place[position]
        return self.groups[name].reset(index, self.buffers.goals[position])

    def get_state(self) -> dict[int, NDArray[np.float64]]:
        """A vector per world: the goal, the simulation's vector, the last frame, and what the task remembers."""
        return {position: self._pack(*place) for position, place in self.place.items()}

    def set_state(self, state: dict[int, NDArray[np.float64]]) -> None:
        for position, row in state.items():
            self._unpack(*self.place[position], row)

    def _pack(self, name: str, index: int) -> NDArray[np.float64]:
        group = self.groups[name]
        remembered = [np.ravel(group.fields[key][index]) for key in group.task.remembered]
        return np.concatenate(
            [group.goals[index], group.simulation.state(index), group.frames[index], *remembered]
        )

    def _unpack(self, name: str, index: int, row: NDArray[np.float64]) -> None:
        group = self.groups[name]
        group.reset(index, row[:GOAL_SIZE])
        start = GOAL_SIZE + group.simulation.size
        group.simulation.set_state(index, row[GOAL_SIZE:start])
        for array in (group.frames, *(group.fields[key] for key in group.task.remembered)):
            size = array[index].size
            array[index] = row[start : start + size].reshape(array[index].shape)
            start += size


_DIVERGED = "the simulation diverged"
_NOT_FINITE = "the observation or the reward is not finite"


def _index(positions: list[int]) -> Rows:
    """The rows at these positions; as a slice, which is quicker, where they lie side by side."""
    first, count = positions[0], len(positions)
    return (
        slice(first, first + count) if positions == list(range(first, first + count)) else np.array(positions)
    )
