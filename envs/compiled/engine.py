"""The batched engine: bit for bit the simulation that Meta-World runs, by threads of this process."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import repeat

import numpy as np
from numpy.typing import NDArray

from envs.benchmarks import Protocol
from envs.compiled.compiled_task import RECORD, compiled_task
from envs.compiled.floats import use_standard_floats
from envs.compiled.simulation import Simulation
from envs.compiled.threads import Threads
from envs.worlds import ACTION_SIZE, OBSERVATION_SIZE, Transitions, World


class CompiledEngine:
    """All worlds (see `envs.worlds.Engine`), stepped by `num_workers` threads, the caller's among them."""

    observation_size, action_size, keeps_state = OBSERVATION_SIZE, ACTION_SIZE, True

    def __init__(self, worlds: Sequence[World], protocol: Protocol, num_workers: int) -> None:
        names = list(dict.fromkeys(world.task for world in worlds))
        self.records = np.zeros(len(worlds), RECORD)
        self.records["task"] = [names.index(world.task) for world in worlds]
        num_threads = min(max(num_workers, 1), len(worlds))
        with ThreadPoolExecutor(num_threads, initializer=use_standard_floats) as executor:
            self.tasks = list(executor.map(compiled_task, names, repeat(protocol.reward_version)))
            self.simulations = list(executor.map(self._make_simulations, range(num_threads)))
        addresses = np.array([[each.addresses() for each in row] for row in self.simulations], np.int64)
        self._threads = Threads(self.records, [task.step for task in self.tasks], addresses)

    def _make_simulations(self, _: int) -> list[Simulation]:
        """A thread's own, one of each task."""
        return [task.simulation.copy() for task in self.tasks]

    def reset(self, positions: NDArray[np.intp], goals: NDArray[np.float64]) -> NDArray[np.float64]:
        tasks = self.records["task"][positions].tolist()
        new = {
            (task, goal.tobytes()): goal
            for task, goal in zip(tasks, goals, strict=True)
            if goal.tobytes() not in self.tasks[task].initial_states
        }
        if new:
            num_threads = len(self.simulations)
            shares = [list(new.items())[i::num_threads] for i in range(num_threads)]
            with ThreadPoolExecutor(num_threads, initializer=use_standard_floats) as executor:
                list(executor.map(self._prepare, self.simulations, shares))
        for position, task, goal in zip(positions.tolist(), tasks, goals, strict=True):
            state, observation = self.tasks[task].initial_states[goal.tobytes()]
            self.records["state"][position, : len(state)] = state
            self.records["observation"][position] = observation
        return self.records["observation"][positions]

    def _prepare(
        self, simulations: list[Simulation], goals: list[tuple[tuple[int, bytes], NDArray[np.float64]]]
    ) -> None:
        for (task, _), goal in goals:
            self.tasks[task].initial_state(goal, simulations[task].model)

    def step(self, actions: NDArray[np.float64]) -> Transitions:
        records = self.records
        records["action"] = actions
        self._threads.step()
        faults = {
            position: _DIVERGED if records["diverged"][position] else _NOT_FINITE
            for position in np.flatnonzero(records["invalid"]).tolist()
        }
        return Transitions(
            records["observation"].copy(), records["reward"].copy(), records["success"].copy(), faults
        )

    def get_state(self) -> NDArray[np.float64]:
        states: NDArray[np.float64] = self.records["state"][:, : self._state_size].copy()
        return states

    def set_state(self, state: NDArray[np.float64], observations: NDArray[np.float64]) -> None:
        if state.shape[1] != self._state_size:
            raise ValueError(
                f"The state of these worlds is expected to have {self._state_size} numbers each, but it has "
                f"{state.shape[1]}: it is of other tasks, or of another version."
            )
        self.records["state"][:, : self._state_size] = state
        self.records["observation"] = observations

    @property
    def _state_size(self) -> int:
        return max(task.size for task in self.tasks)

    def close(self) -> None:
        self._threads.close()


_DIVERGED = "the simulation diverged"
_NOT_FINITE = "the observation or the reward is not finite"
