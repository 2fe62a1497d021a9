"""Evaluating the policy during training: in its process, while it waits."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import Future
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from agents.actor_critic import ActorCritic
from envs import VectorEnv
from mtrl.config.build import make_evaluation_env
from mtrl.config.train import TrainConfig
from mtrl.evaluation.episodes import Episodes, run_episodes
from mtrl.policy.acting import finite_actions

PolicyState = Mapping[str, Mapping[str, Tensor]]
"""What `ActorCritic.policy_state` gives."""


class Evaluated(NamedTuple):
    """The outcomes, and for which seeds all actions were finite [S]; others were replaced by zero."""

    episodes: Episodes
    finite: NDArray[np.bool_]


class ForegroundEvaluator:
    """Evaluates in this process, by the agent that is trained.

    Args:
        before_step: called before each step of the worlds; if it raises, the evaluation is off.

    Attributes:
        background: whether `start` returns at once.
    """

    background = False

    def __init__(self, config: TrainConfig, agent: ActorCritic, before_step: Callable[[], None]) -> None:
        self._env = make_evaluation_env(config, config.seeds, config.evaluation, config.engine)
        self._config, self._agent, self._before_step = config, agent, before_step

    def start(self, policy: PolicyState) -> Future[Evaluated]:
        evaluated: Future[Evaluated] = Future()
        trained = self._agent.policy_state()
        self._agent.load_policy(policy)
        try:
            evaluated.set_result(evaluate_policy(self._config, self._env, self._act, self._agent.device))
        finally:
            self._agent.load_policy(trained)
        return evaluated

    def _act(self, observation: Tensor) -> Tensor:
        self._before_step()
        return self._agent.act(observation, deterministic=True)

    def close(self) -> None:
        self._env.close()


def evaluate_policy(
    config: TrainConfig, env: VectorEnv, act: Callable[[Tensor], Tensor], device: torch.device
) -> Evaluated:
    """Runs the evaluation's episodes; `act` takes observations [S, T, W, O] on the device."""
    finite = np.ones(len(config.seeds), dtype=np.bool_)

    def policy(observation: Tensor) -> Tensor:
        nonlocal finite
        actions, finite_now = finite_actions(act(observation).cpu())
        finite = finite & finite_now
        return actions

    assert config.evaluation.episodes is not None
    episodes = run_episodes(env, policy, config.evaluation.episodes, device)
    return Evaluated(episodes, finite)
