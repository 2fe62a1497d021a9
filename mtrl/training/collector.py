"""Collecting transitions: the policy acts in the worlds, and the replay keeps what happened."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from agents.sac import SAC, Batch
from envs import VectorEnv
from mtrl.config.train import TrainConfig
from mtrl.device.generators import Generators
from mtrl.evaluation.episodes import EpisodeTracker
from mtrl.logging.metrics import EpisodeMetrics
from mtrl.policy.acting import VectorPolicy, finite_actions, to_tensor
from mtrl.training.frozen import FrozenSeeds
from mtrl.training.normalize import ReturnStatistics, RewardNormalizer
from mtrl.training.replay import Replay


class Collector:
    """Steps all worlds with the agent's actions.

    Args:
        replay: takes the transitions, with normalised rewards where the protocol says so; what is not finite never
            reaches it.
        frozen: is told of seeds that something is wrong with.

    Attributes:
        num_steps: made in each task and seed.
        episode_metrics: of the episodes that ended.
    """

    def __init__(
        self,
        config: TrainConfig,
        env: VectorEnv,
        agent: SAC,
        replay: Replay,
        frozen: FrozenSeeds,
    ) -> None:
        self._config, self._env, self._agent, self._replay = config, env, agent, replay
        self._frozen = frozen
        self.observation, _ = env.reset()
        num_seeds, num_tasks, _ = self._layout = env.layout
        self._policy = VectorPolicy(agent, (*self._layout, agent.observation_size))
        normalize = config.get_protocol().normalize_rewards
        self._normalizer = RewardNormalizer((num_seeds, num_tasks)) if normalize else None
        self._returns = (
            ReturnStatistics(self._layout, config.agent.gamma) if config.agent.normalize_returns else None
        )
        self._tracker = EpisodeTracker(self._layout, env.protocol.success)
        self.random_actions = Generators(config.seeds, "random actions")
        self.episode_metrics = EpisodeMetrics((num_seeds, num_tasks))
        self.num_steps = 0

    def start(self) -> None:
        """Begins to compute actions; on a GPU they are queued, and what is queued next does not wait for the host."""
        if not self._acts_at_random:
            self._policy.start(to_tensor(self.observation, self._layout))

    def step(self) -> None:
        """Steps every world once, by the actions that `start` began to compute, and stores the transitions."""
        observation, actions = self.observation, self._actions()
        self.observation, rewards, terminated, truncated, infos = self._env.step(
            actions.numpy().reshape(self._env.num_envs, -1)
        )
        done = terminated | truncated
        # What followed the action: at an episode's end not the next episode's first observation.
        next_observation = np.where(done[:, None], infos["final_obs"], self.observation)
        finite = np.isfinite(next_observation).all(-1) & np.isfinite(rewards)
        valid = ~infos["invalid"]
        if not (finite | ~valid).all():
            self._refuse_transitions((valid & ~finite).reshape(self._layout))
            valid &= finite
            self.observation = np.where(np.isfinite(self.observation), self.observation, 0.0)
        for fault in self._env.faults():
            print(fault, file=sys.stderr)

        rewards, success, done, valid, terminated = (
            x.reshape(self._layout) for x in (rewards, infos["success"], done, valid, terminated)
        )
        episodes = self._tracker.step(np.where(valid, rewards, 0.0), np.where(valid, success, np.nan), done)
        if done.any():
            self.episode_metrics.add(
                {"training/success": episodes.success, "training/returns": episodes.returns}
            )
        if self._normalizer is not None:
            rewards = self._normalizer(rewards, valid)
        if self._returns is not None:
            self._returns.add(rewards, valid, done)
            self._agent.return_scale.set(self._returns.largest, self._returns.variance)
        batch = Batch(
            to_tensor(observation, self._layout),
            actions,
            torch.from_numpy(rewards.astype(np.float32)),
            to_tensor(next_observation, self._layout),
            torch.from_numpy(terminated.astype(np.float32)),
        )
        self._replay.add(batch, valid)
        self.num_steps += self._config.worlds_per_task

    def _actions(self) -> Tensor:
        """Actions [S, T, W, A] on the CPU: uniform at first, then the policy's.

        Those of a seed of which one is not finite are zero, and the seed is left out.
        """
        if self._acts_at_random:
            return 2 * self.random_actions.rand(*self._layout[1:], self._agent.action_size) - 1
        actions, finite = finite_actions(self._policy.finish())
        if not finite.all():
            self._frozen.freeze(~finite, "an action of the policy is not finite")
        return actions

    @property
    def _acts_at_random(self) -> bool:
        assert self._config.random_steps is not None
        return self.num_steps < self._config.random_steps

    def _refuse_transitions(self, bad: NDArray[np.bool_]) -> None:
        """Leaves out the seeds with transitions [S, T, W] that are not finite."""
        s, t, w = (int(i[0]) for i in np.nonzero(bad))
        seeds: NDArray[np.bool_] = np.asarray(bad.any((1, 2)))
        if (self._frozen.mask | seeds).all():
            # What is kept must be good to go on from, and the simulation of that world is not.
            self._begin_episodes()
        task = self._config.get_benchmark().tasks[t]
        world = f"seed {self._config.seeds[s]}, task {task}, world {w}"
        self._frozen.freeze(seeds, f"an observation or a reward is not finite ({world})")

    def state_dict(self) -> dict[str, Any]:
        return {
            "step": self.num_steps,
            "observation": self.observation,
            "tracker": self._tracker.state_dict(),
            "episode_metrics": self.episode_metrics.state_dict(),
            "normalizer": None if self._normalizer is None else self._normalizer.state_dict(),
            "returns": None if self._returns is None else self._returns.state_dict(),
            "random_actions": self.random_actions.state_dict(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.num_steps = state["step"]
        self.observation = np.array(state["observation"])
        self._tracker.load_state_dict(state["tracker"])
        self.episode_metrics.load_state_dict(state["episode_metrics"])
        if self._normalizer is not None:
            self._normalizer.load_state_dict(state["normalizer"])
        if self._returns is not None:
            self._returns.load_state_dict(state["returns"])
        self.random_actions.load_state_dict(state["random_actions"])
        if not self._env.keeps_state:
            self._begin_episodes()

    def _begin_episodes(self) -> None:
        """Starts new episodes in all worlds; what was of those before is forgotten."""
        self.observation, _ = self._env.reset()
        self._tracker = EpisodeTracker(self._layout, self._env.protocol.success)
        if self._returns is not None:
            self._returns.returns[:] = 0.0
