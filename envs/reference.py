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


class ReferenceWorlds(gymnasium.Env[NDArray[np.float64], NDArray[np.float64]]):
    """Several of Meta-World's environments, one after the other in one process.

    Args:
        worlds: which ones.
        size: rows of the observations and actions; those beyond the worlds mean nothing.
    """

    def __init__(self, worlds: Sequence[World], size: int, reward_version: str) -> None:
        self.envs = [ReferenceEnv(world.task, reward_version, world.position) for world in worlds]
        self.observation_space = Box(-np.inf, np.inf, (size, OBSERVATION_SIZE), np.float64)
        self.action_space = Box(-1.0, 1.0, (size, ACTION_SIZE), np.float64)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[np.float64], dict[str, Any]]:
        """Resets those of its worlds that `options["goals"]` or `options["states"]` has by position."""
        assert options is not None
        (starts,) = options.values()
        for env in self.envs:
            if env.position in starts:
                env.reset(options=options)
        return self._observations(), {}

    def step(
        self, action: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], float, bool, bool, dict[str, Any]]:
        """One step of each; `info["made"]` has their rewards, and infos as of `ReferenceEnv.step`."""
        made = [env.step(own) for env, own in zip(self.envs, action, strict=False)]
        return self._observations(), 0.0, False, False, {"made": tuple((m[1], m[4]) for m in made)}

    def get_states(self) -> list[NDArray[np.float64]]:
        return [env.get_state() for env in self.envs]

    def _observations(self) -> NDArray[np.float64]:
        assert isinstance(self.observation_space, Box)
        observations = np.zeros(self.observation_space.shape)
        observations[: len(self.envs)] = [env.observation for env in self.envs]
        return observations


class ReferenceEngine:
    """All N worlds (see `envs.worlds.Engine`) in `num_workers` processes, or in this one if it is 0.

    World i is number i // P of process i % P, so that each has worlds of many tasks, which differ in their time.
    """

    observation_size, action_size, keeps_state = OBSERVATION_SIZE, ACTION_SIZE, True

    def __init__(self, worlds: Sequence[World], protocol: Protocol, num_workers: int) -> None:
        self._num_worlds = len(worlds)
        self._num_processes = min(max(1, num_workers), len(worlds))
        size = -(-len(worlds) // self._num_processes)
        self._shape = (size, self._num_processes, ACTION_SIZE)
        makers = [
            partial(ReferenceWorlds, worlds[i :: self._num_processes], size, protocol.reward_version)
            for i in range(self._num_processes)
        ]
        self._processes = Processes(makers, num_workers)

    def reset(self, positions: NDArray[np.intp], goals: NDArray[np.float64]) -> NDArray[np.float64]:
        options = {"goals": dict(zip(positions.tolist(), goals, strict=True))}
        return np.stack(self._by_world(self._processes.call("reset", options=options)[0]))[positions]

    def step(self, actions: NDArray[np.float64]) -> Transitions:
        rows = np.resize(actions, self._shape).swapaxes(0, 1)  # repeated where a process has fewer worlds
        observations, _, _, _, infos = self._processes.call("step", rows)
        rewards, said = zip(*self._by_world(infos["made"]), strict=True)
        return Transitions(
            np.stack(self._by_world(observations)),
            np.array(rewards),
            np.array([info["success"] for info in said], np.bool_),
            {i: info["fault"] for i, info in enumerate(said) if "fault" in info},
        )

    def get_state(self) -> NDArray[np.float64]:
        return np.stack(self._by_world(self._processes.call("call", "get_states")))

    def set_state(self, state: NDArray[np.float64], observations: NDArray[np.float64]) -> None:
        self._processes.call("reset", options={"states": dict(enumerate(state))})

    def close(self) -> None:
        self._processes.close()

    def _by_world(self, processes: Sequence[Any]) -> list[Any]:
        """What the processes have of their worlds, in the order of all worlds."""
        return [processes[i % self._num_processes][i // self._num_processes] for i in range(self._num_worlds)]


_BAD = (mujoco.mjtWarning.mjWARN_BADQPOS, mujoco.mjtWarning.mjWARN_BADQVEL, mujoco.mjtWarning.mjWARN_BADQACC)


def _diverged(data: mujoco.MjData) -> bool:
    """Whether positions, velocities or accelerations became invalid: MuJoCo silently starts again at time 0."""
    return any(data.warning[kind].number > 0 for kind in _BAD)
