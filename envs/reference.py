"""The reference engine: Meta-World's own environments, unchanged. Slow, and the truth for every other
engine."""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from typing import Any

import numpy as np
from metaworld.env_dict import ALL_V3_ENVIRONMENTS
from metaworld.types import Task
from numpy.typing import NDArray

from envs.benchmarks import Protocol
from envs.divergence import diverged, keep_no_log
from envs.goals import RESET_SPACES
from envs.worlds import ACTION_SIZE, GOAL_SIZE, Buffers, Fault, World


class ReferenceWorld:
    """One of Meta-World's environments, with the goal and the actions since its last reset.

    A reset depends on nothing but the goal, so goal and actions restore the environment exactly, by
    playing them.
    """

    def __init__(self, task: str, reward_version: str) -> None:
        self.task = task
        self.environment: Any = ALL_V3_ENVIRONMENTS[task](reward_function_version=reward_version)
        self.goal = np.zeros(GOAL_SIZE)
        self.actions: list[NDArray[np.float64]] = []

    def reset(self, goal: NDArray[np.float64]) -> NDArray[np.float64]:
        self.goal = goal.copy()
        self.actions = []
        size = len(RESET_SPACES[self.task].low)
        description = {
            "rand_vec": goal[:size].copy(),
            "env_cls": type(self.environment),
            "partially_observable": False,
        }
        self.environment.set_task(Task(self.task, pickle.dumps(description)))
        observation, _ = self.environment.reset()
        return np.asarray(observation, dtype=np.float64)

    def step(self, action: NDArray[np.float64]) -> tuple[NDArray[np.float64], float, bool]:
        """Observation, reward and success.

        Raises:
            FloatingPointError: the simulation diverged, or an observation or reward is not finite.
        """
        action = action.copy()
        self.actions.append(action)
        observation, reward, _, _, info = self.environment.step(action)
        if diverged(self.environment.data):
            raise FloatingPointError("the simulation diverged")
        if not (np.isfinite(observation).all() and np.isfinite(reward)):
            raise FloatingPointError("the observation or the reward is not finite")
        return observation, float(reward), bool(info["success"])


class ReferenceEngine:
    """Some of the worlds, one Meta-World environment each (see `envs.worlds.Engine`)."""

    portable, compiled = False, None

    def __init__(self, worlds: Sequence[World], protocol: Protocol, buffers: Buffers) -> None:
        keep_no_log()
        self.buffers = buffers
        self.horizon = protocol.horizon
        self.worlds = {
            world.position: ReferenceWorld(world.task, protocol.reward_version) for world in worlds
        }

    def reset(self, positions: Sequence[int]) -> list[Fault]:
        for position in positions:
            self.buffers.observations[position] = self.worlds[position].reset(self.buffers.goals[position])
        return []

    def step(self, positions: Sequence[int]) -> list[Fault]:
        buffers, faults = self.buffers, []
        for position in positions:
            world = self.worlds[position]
            try:
                observation, reward, success = world.step(buffers.actions[position])
            except Exception as error:  # whatever Meta-World raises, the other worlds go on
                faults.append(Fault(position, f"{error}"))
                observation, reward, success = buffers.observations[position].copy(), 0.0, False
            invalid = bool(faults) and faults[-1].position == position
            if invalid or buffers.cut[position]:
                buffers.final_observations[position] = observation
                observation = world.reset(buffers.goals[position])
            buffers.observations[position] = observation
            buffers.rewards[position], buffers.successes[position] = reward, success
            buffers.invalid[position] = invalid
        return faults

    def get_state(self, positions: Sequence[int]) -> dict[int, NDArray[np.float64]]:
        """A vector per world: the number of actions, the goal, the actions (padded to the horizon)."""
        state = {}
        for position in positions:
            world = self.worlds[position]
            row = state[position] = np.zeros(1 + GOAL_SIZE + self.horizon * ACTION_SIZE)
            row[0] = len(world.actions)
            row[1 : 1 + GOAL_SIZE] = world.goal
            if world.actions:
                actions = np.concatenate(world.actions)
                row[1 + GOAL_SIZE : 1 + GOAL_SIZE + actions.size] = actions
        return state

    def set_state(self, state: dict[int, NDArray[np.float64]]) -> None:
        for position, row in state.items():
            count = int(row[0])
            actions = row[1 + GOAL_SIZE :].reshape(-1, ACTION_SIZE)[:count]
            world = self.worlds[position]
            observation = world.reset(row[1 : 1 + GOAL_SIZE])
            for action in actions:
                observation = world.step(action)[0]
            self.buffers.observations[position] = observation
