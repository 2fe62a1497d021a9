"""The gymnasium engine: environments of the user's, each in a process of gymnasium's AsyncVectorEnv."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Sequence
from functools import partial
from typing import Any

import gymnasium
import numpy as np
from gymnasium.spaces import Box
from numpy.typing import NDArray

from envs.custom import CustomBenchmark, CustomProtocol, CustomTask, get_spaces, shared_sizes
from envs.processes import Processes
from envs.worlds import Transitions, World


class ScaledEnv(gymnasium.Env[NDArray[np.float64], NDArray[np.float64]]):
    """An environment of the user's with actions in [-1, 1], observations in float64, and a word about success.

    Args:
        render_mode: rgb_array, or None to render nothing.

    `info` has "success" (1 or 0) where the environment says something of it in `info["success"]` or
    `info["is_success"]`, and "error", a traceback, where its code failed; nothing else.
    """

    def __init__(self, task: CustomTask, render_mode: str | None = None) -> None:
        self.environment = task.make(render_mode)
        observations, self._actions = get_spaces(task, self.environment)
        self.observation_space = Box(-np.inf, np.inf, observations.shape, np.float64)
        self.action_space = Box(-1.0, 1.0, self._actions.shape, np.float64)
        self._observation = np.zeros(observations.shape)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[np.float64], dict[str, Any]]:
        try:
            return self._read(self.environment.reset(seed=seed)[0]), {}
        except Exception:  # the user's code: its traceback is what helps
            return self._observation, {"error": traceback.format_exc()}

    def step(
        self, action: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], float, bool, bool, dict[str, Any]]:
        try:
            observation, reward, terminated, truncated, info = self.environment.step(self.scale(action))
            observation, reward = self._read(observation), float(reward)
            said = info.get("success", info.get("is_success"))
            success = {} if said is None else {"success": float(bool(said))}
        except Exception:
            return self._observation, 0.0, False, False, {"error": traceback.format_exc()}
        return observation, reward, bool(terminated), bool(truncated), success

    def scale(self, action: NDArray[np.float64]) -> NDArray[Any]:
        """An action in [-1, 1] within the environment's bounds."""
        low, high = self._actions.low.astype(np.float64), self._actions.high.astype(np.float64)
        scaled: NDArray[Any] = (low + (action + 1) / 2 * (high - low)).astype(self._actions.dtype)
        return scaled.clip(self._actions.low, self._actions.high)

    def _read(self, observation: Any) -> NDArray[np.float64]:
        array = np.array(observation, dtype=np.float64)
        if array.shape != self._observation.shape:
            raise ValueError(f"an observation has shape {array.shape}, not {self._observation.shape}")
        self._observation = array
        return array

    def close(self) -> None:
        self.environment.close()


class GymnasiumEngine:
    """All worlds (see `envs.worlds.Engine`), each in a process, or all in this one if `num_workers` is 0.

    An episode starts from a seed. The state of an environment of the user's cannot be kept.
    """

    keeps_state = False

    def __init__(
        self, benchmark: CustomBenchmark, worlds: Sequence[World], protocol: CustomProtocol, num_workers: int
    ) -> None:
        self.observation_size, self.action_size = shared_sizes(benchmark)
        self._worlds = worlds
        tasks = dict(zip(benchmark.tasks, benchmark.environments, strict=True))
        makers = [partial(ScaledEnv, tasks[world.task]) for world in worlds]
        self._processes = Processes(makers, num_workers)

    def reset(self, positions: NDArray[np.intp], starts: NDArray[np.float64]) -> NDArray[np.float64]:
        mask = np.zeros(self._processes.env.num_envs, dtype=np.bool_)
        mask[positions] = True
        seeds: list[int | None] = [None] * self._processes.env.num_envs
        for position, (seed,) in zip(positions.tolist(), starts.tolist(), strict=True):
            seeds[position] = int(seed)
        observations, infos = self._processes.call("reset", seed=seeds, options={"reset_mask": mask})
        self._check(infos)
        started: NDArray[np.float64] = observations[positions]
        finite = np.isfinite(started).all(-1)
        if not finite.all():
            world = self._worlds[int(positions[np.argmin(finite)])]
            raise RuntimeError(f"The first observation of an episode is not finite ({world}).")
        return started

    def step(self, actions: NDArray[np.float64]) -> Transitions:
        observations, rewards, terminations, truncations, infos = self._processes.call("step", actions)
        self._check(infos)
        said = infos.get("_success", np.zeros(len(actions), dtype=np.bool_))
        successes = np.where(said, infos.get("success", 0.0), np.nan)
        finite = np.isfinite(observations).all(-1) & np.isfinite(rewards)
        faults = dict.fromkeys(
            np.flatnonzero(~finite).tolist(), "the observation or the reward is not finite"
        )
        return Transitions(observations, rewards, successes, faults, terminations, truncations)

    def get_state(self) -> NDArray[np.float64]:
        return np.empty((self._processes.env.num_envs, 0))

    def set_state(self, state: NDArray[np.float64], observations: NDArray[np.float64]) -> None:
        """Does nothing: new episodes begin."""

    def _check(self, infos: dict[str, Any]) -> None:
        for position in np.flatnonzero(infos.get("_error", ())).tolist():
            text = str(infos["error"][position])
            print(text, file=sys.stderr)
            raise RuntimeError(
                f"The environment of {self._worlds[position]} failed: {text.strip().splitlines()[-1]}"
            )

    def close(self) -> None:
        self._processes.close()
