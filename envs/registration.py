"""The benchmarks under Gymnasium's names: `import envs`, then `gymnasium.make_vec("mtrl/MT10-v3", ...)`."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
from numpy.typing import NDArray

from envs import make
from envs.benchmarks import get_benchmark
from envs.vector import VectorEnv


class TaskEnv(gymnasium.Env[NDArray[np.float64], NDArray[np.floating]]):
    """One world of one task: observations float64 [39], actions [4], `info["success"]`.

    Args:
        task: its name, such as reach-v3.
        options: as for `envs.make`.
    """

    metadata: dict[str, Any] = {"render_modes": []}  # noqa: RUF012

    def __init__(self, task: str | None = None, render_mode: str | None = None, **options: Any) -> None:
        self._worlds = make_vector_env(task=task, render_mode=render_mode, **{"num_workers": 1, **options})
        if self._worlds.num_envs != 1:
            self._worlds.close()
            raise ValueError("gymnasium.make makes one world: use gymnasium.make_vec for several.")
        self.observation_space = self._worlds.single_observation_space
        self.action_space = self._worlds.single_action_space

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[np.float64], dict[str, Any]]:
        super().reset(seed=None if seed is None else int(seed))
        observations, _ = self._worlds.reset(seed=None if seed is None else int(seed))
        return observations[0], {}

    def step(
        self, action: NDArray[np.floating]
    ) -> tuple[NDArray[np.float64], float, bool, bool, dict[str, Any]]:
        observations, rewards, _, truncations, infos = self._worlds.step(np.asarray(action)[None])
        truncated = bool(truncations[0])
        observation = infos["final_obs"][0] if truncated else observations[0]
        return observation, float(rewards[0]), False, truncated, {"success": bool(infos["success"][0])}

    def close(self) -> None:
        self._worlds.close()


def make_vector_env(
    num_envs: int = 1,
    benchmark: str | None = None,
    task: str | None = None,
    protocol: str = "metaworld_plus",
    seeds: tuple[int, ...] = (0,),
    render_mode: str | None = None,
    **options: Any,
) -> VectorEnv:
    """What `gymnasium.make_vec` calls.

    Args:
        num_envs: seeds x tasks x worlds per task; Gymnasium's default of 1 means one world per task and seed.
        options: as for `envs.make`.

    Raises:
        ValueError: `num_envs` is not a multiple of seeds x tasks, or a `render_mode` is given.
    """
    if render_mode is not None:
        raise ValueError(
            f"These environments render nothing, so render_mode must be None, not {render_mode!r}: use "
            "`mtrl evaluate RUN --video DIR`, or Meta-World's own environment."
        )
    if benchmark is None:
        if task is None:
            raise ValueError("mtrl/MT1-v3 needs the name of its task: pass task='reach-v3', for example.")
        benchmark = f"MT1:{task}"
    if num_envs != 1:
        share = len(seeds) * len(get_benchmark(benchmark).tasks)
        if num_envs % share:
            raise ValueError(
                f"num_envs is expected to be a multiple of {share} (seeds x tasks), but it is {num_envs}."
            )
        options["worlds_per_task"] = num_envs // share
    return make(benchmark, protocol, seeds, **options)
