"""The reference engine: Meta-World's own environments, unchanged. Slow, and the truth for every other engine."""

from __future__ import annotations

from envs.headless import mujoco  # before Meta-World

# isort: split
import pickle
from collections.abc import Sequence
from functools import cached_property, partial
from typing import Any

import gymnasium
import numpy as np
from gymnasium.spaces import Box
from metaworld.env_dict import ALL_V3_ENVIRONMENTS
from metaworld.types import Task
from numpy.typing import NDArray

from envs.benchmarks import MAX_HORIZON, Protocol
from envs.compiled.task import load_task
from envs.processes import Processes
from envs.worlds import ACTION_SIZE, GOAL_SIZE, OBSERVATION_SIZE, Transitions, World


class ReferenceEnv(gymnasium.Env[NDArray[np.float64], NDArray[np.float64]]):
    """One of Meta-World's environments, with the goal and the actions since its last reset.

    Args:
        position: which of the goals that `reset` is given is its own.

    Attributes:
        observation: the last one [39].
    """

    observation_space = Box(-np.inf, np.inf, (OBSERVATION_SIZE,), np.float64)
    action_space = Box(-1.0, 1.0, (ACTION_SIZE,), np.float64)

    def __init__(self, task: str, reward_version: str, position: int = 0) -> None:
        self.task, self.reward_version, self.position = task, reward_version, position
        self.observation = np.zeros(OBSERVATION_SIZE)
        self._goal = np.zeros(GOAL_SIZE)
        self._actions: list[NDArray[np.float64]] = []

    @cached_property
    def environment(self) -> Any:
        """Meta-World's environment, which takes long to make."""
        return ALL_V3_ENVIRONMENTS[self.task](reward_function_version=self.reward_version)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[np.float64], dict[str, Any]]:
        """A new episode at its own of `options["goals"]` [n, 6] (a goal of three numbers is padded), or the one that
        its own of `options["states"]` was taken from, with the actions since."""
        assert options is not None
        played = np.empty((0, ACTION_SIZE))
        if "states" in options:
            count, self._goal, actions = np.split(options["states"][self.position], [1, 1 + GOAL_SIZE])
            played = actions.reshape(-1, ACTION_SIZE)[: int(count[0])]
        else:
            self._goal = np.array(options["goals"][self.position], dtype=np.float64)
        self._actions = []
        description = {
            "rand_vec": self._goal[: len(load_task(self.task).reset_low)].copy(),
            "env_cls": type(self.environment),
            "partially_observable": False,
        }
        self.environment.set_task(Task(self.task, pickle.dumps(description)))
        self.observation = np.asarray(self.environment.reset()[0], dtype=np.float64)
        for action in played:
            self.step(action)
        return self.observation, {}

    def step(
        self, action: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], float, bool, bool, dict[str, Any]]:
        """One step; `info` has "success", and "fault" if something went wrong: then the observation is the last one."""
        action = np.array(action, dtype=np.float64)
        self._actions.append(action)
        try:
            observation, reward, _, _, info = self.environment.step(action.copy())
            if _diverged(self.environment.data):
                raise FloatingPointError("the simulation diverged")
            if not (np.isfinite(observation).all() and np.isfinite(reward)):
                raise FloatingPointError("the observation or the reward is not finite")
        except Exception as error:  # whatever Meta-World raises, the other worlds go on
            return self.observation, 0.0, False, False, {"success": False, "fault": str(error)}
        self.observation = np.asarray(observation, dtype=np.float64)
        return self.observation, float(reward), False, False, {"success": bool(info["success"])}

    def get_state(self) -> NDArray[np.float64]:
        """The number of actions, the goal, the actions, padded: a reset depends on nothing but the goal."""
        state = np.zeros(1 + GOAL_SIZE + MAX_HORIZON * ACTION_SIZE)
        state[0], state[1 : 1 + GOAL_SIZE] = len(self._actions), self._goal
        actions = np.ravel(self._actions)
        state[1 + GOAL_SIZE : 1 + GOAL_SIZE + actions.size] = actions
        return state


class ReferenceEngine:
    """All worlds (see `envs.worlds.Engine`), each in a process, or all in this one if `num_workers` is 0."""

    observation_size, action_size, keeps_state = OBSERVATION_SIZE, ACTION_SIZE, True

    def __init__(self, worlds: Sequence[World], protocol: Protocol, num_workers: int) -> None:
        self._processes = Processes(
            [partial(ReferenceEnv, world.task, protocol.reward_version, world.position) for world in worlds],
            num_workers,
        )

    def reset(self, positions: NDArray[np.intp], goals: NDArray[np.float64]) -> NDArray[np.float64]:
        mask = np.zeros(self._processes.env.num_envs, dtype=np.bool_)
        mask[positions] = True
        options = {"reset_mask": mask, "goals": dict(zip(positions.tolist(), goals, strict=True))}
        observations: NDArray[np.float64] = self._processes.call("reset", options=options)[0]
        return observations[positions]

    def step(self, actions: NDArray[np.float64]) -> Transitions:
        observations, rewards, _, _, infos = self._processes.call("step", actions)
        faults = {i: infos["fault"][i] for i in np.flatnonzero(infos.get("_fault", [])).tolist()}
        return Transitions(observations, rewards, np.array(infos["success"], np.bool_), faults)

    def get_state(self) -> NDArray[np.float64]:
        return np.stack(self._processes.call("call", "get_state"))

    def set_state(self, state: NDArray[np.float64], observations: NDArray[np.float64]) -> None:
        self._processes.call("reset", options={"states": state})

    def close(self) -> None:
        self._processes.close()


_BAD = (mujoco.mjtWarning.mjWARN_BADQPOS, mujoco.mjtWarning.mjWARN_BADQVEL, mujoco.mjtWarning.mjWARN_BADQACC)


def _diverged(data: mujoco.MjData) -> bool:
    """Whether positions, velocities or accelerations became invalid: MuJoCo silently starts again at time 0."""
    return any(data.warning[kind].number > 0 for kind in _BAD)
