"""The batched engine: bit for bit the simulation that Meta-World runs, of any world that lies in the buffers."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from envs.batched.worlds import TaskWorlds
from envs.benchmarks import Protocol
from envs.divergence import keep_no_log
from envs.worlds import Buffers, Compiled, Fault, World


class BatchedEngine:
    """Some of the worlds (see `envs.worlds.Engine`)."""

    portable = True

    def __init__(self, worlds: Sequence[World], protocol: Protocol, buffers: Buffers) -> None:
        keep_no_log()
        self.buffers = buffers
        tasks = dict.fromkeys(world.task for world in worlds)
        self.groups = {task: TaskWorlds(task, protocol.reward_version, buffers) for task in tasks}
        self.worlds = {world.position: self.groups[world.task] for world in worlds}

    @property
    def compiled(self) -> Compiled:
        return Compiled(lambda position: self.worlds[position].step.address, self._conclude)

    def reset(self, positions: Sequence[int]) -> list[Fault]:
        for position in positions:
            self.buffers.observations[position] = self.worlds[position].reset(position)
        return []

    def step(self, positions: Sequence[int]) -> list[Fault]:
        ended = [position for position in positions if self.worlds[position].step(position)]
        return [fault for position in ended for fault in self._conclude(position)]

    def _conclude(self, position: int) -> list[Fault]:
        """What follows a step at which an episode is over."""
        faults = []
        if self.buffers.invalid[position]:
            diverged = self.worlds[position].diverged[position]
            faults.append(Fault(position, _DIVERGED if diverged else _NOT_FINITE))
        self.buffers.final_observations[position] = self.buffers.observations[position]
        self.reset([position])
        return faults

    def get_state(self, positions: Sequence[int]) -> dict[int, NDArray[np.float64]]:
        """A vector per world: its row."""
        return {position: self._row(position).copy() for position in positions}

    def set_state(self, state: dict[int, NDArray[np.float64]]) -> None:
        for position, row in state.items():
            own = self._row(position)
            if len(row) < len(own):
                raise ValueError(
                    f"A world's state is expected to have {len(own)} numbers, but it has {len(row)}."
                )
            own[:] = row[: len(own)]

    def _row(self, position: int) -> NDArray[np.float64]:
        return self.buffers.rows[position, : self.worlds[position].size]


_DIVERGED = "the simulation diverged"
_NOT_FINITE = "the observation or the reward is not finite"
