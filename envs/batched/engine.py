"""The batched engine: all worlds of a task in one go, bit for bit the simulation that Meta-World runs."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from envs.batched.worlds import Worlds
from envs.benchmarks import Protocol
from envs.divergence import keep_no_log
from envs.worlds import GOAL_SIZE, Buffers, Fault, World

Rows = slice | NDArray[np.intp]


class BatchedEngine:
    """Some of the worlds, grouped by task (see `envs.worlds.Engine`)."""

    def __init__(self, worlds: Sequence[World], protocol: Protocol, buffers: Buffers) -> None:
        keep_no_log()
        self.buffers = buffers
        tasks = dict.fromkeys(world.task for world in worlds)
        members = {task: [world.position for world in worlds if world.task == task] for task in tasks}
        self.worlds = Worlds(
            {task: len(positions) for task, positions in members.items()}, protocol.reward_version
        )
        self.positions = [position for positions in members.values() for position in positions]
        self.index = {position: index for index, position in enumerate(self.positions)}
        self.rows = _index(self.positions)

    def reset(self, positions: NDArray[np.intp]) -> list[Fault]:
        for position in positions.tolist():
            self.buffers.observations[position] = self._reset(position)
        return []

    def step(self) -> list[Fault]:
        buffers, rows = self.buffers, self.rows
        step = self.worlds.step(buffers.actions[rows])
        observations, rewards, successes = step.observations, step.rewards, step.successes
        invalid = step.diverged | ~step.finite
        faults = []
        if any(invalid.tolist()):
            for i in np.flatnonzero(invalid).tolist():
                faults.append(Fault(self.positions[i], _DIVERGED if step.diverged[i] else _NOT_FINITE))
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
        return self.worlds.reset(self.index[position], self.buffers.goals[position])

    def get_state(self) -> dict[int, NDArray[np.float64]]:
        """A vector per world: the goal, the simulation's vector, the last frame, and what the task remembers."""
        return {position: self._pack(index) for position, index in self.index.items()}

    def set_state(self, state: dict[int, NDArray[np.float64]]) -> None:
        for position, row in state.items():
            self._unpack(self.index[position], row)

    def _pack(self, index: int) -> NDArray[np.float64]:
        group, i = self.worlds.place(index)
        remembered = [np.ravel(group.fields[key][i]) for key in group.task.remembered]
        return np.concatenate(
            [group.goals[i], group.simulation.state(i), self.worlds.rows.frames[index], *remembered]
        )

    def _unpack(self, index: int, row: NDArray[np.float64]) -> None:
        group, i = self.worlds.place(index)
        self.worlds.reset(index, row[:GOAL_SIZE])
        start = GOAL_SIZE + group.simulation.size
        group.simulation.set_state(i, row[GOAL_SIZE:start])
        remembered = [group.fields[key][i : i + 1] for key in group.task.remembered]
        for values in (self.worlds.rows.frames[index], *remembered):
            values[...] = row[start : start + values.size].reshape(values.shape)
            start += values.size


_DIVERGED = "the simulation diverged"
_NOT_FINITE = "the observation or the reward is not finite"


def _index(positions: list[int]) -> Rows:
    """The rows at these positions; as a slice, which is quicker, where they lie side by side."""
    first, count = positions[0], len(positions)
    return (
        slice(first, first + count) if positions == list(range(first, first + count)) else np.array(positions)
    )
