"""Statistics of rewards and returns that rewards are divided by."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray


class RewardNormalizer:
    """Divides rewards by a running standard deviation per seed and task (protocol `paper`).

    Mean and variance are exponential moving averages, v ← (1 - d) v + d (r - m)², started at m = 0, v = 1.

    Args:
        shape: (S, T).
        decay: d, the weight of the newest reward.
    """

    def __init__(self, shape: tuple[int, int], decay: float = 1e-3) -> None:
        self.decay = decay
        self.mean = np.zeros(shape)
        self.variance = np.ones(shape)

    def __call__(self, rewards: NDArray[np.float64], valid: NDArray[np.bool_]) -> NDArray[np.float64]:
        """Takes rewards [S, T, W] into account, world by world where valid, and returns them scaled."""
        for w in range(rewards.shape[-1]):
            reward = np.where(valid[..., w], rewards[..., w], self.mean)
            decay = np.where(valid[..., w], self.decay, 0.0)
            self.mean = (1 - decay) * self.mean + decay * reward
            self.variance = (1 - decay) * self.variance + decay * (reward - self.mean) ** 2
        scaled: NDArray[np.float64] = rewards / np.sqrt(self.variance + 1e-8)[..., None]
        return scaled

    def state_dict(self) -> dict[str, NDArray[np.float64]]:
        return {"mean": self.mean, "variance": self.variance}

    def load_state_dict(self, state: Mapping[str, NDArray[np.float64]]) -> None:
        self.mean, self.variance = np.array(state["mean"]), np.array(state["variance"])


class ReturnStatistics:
    """The largest magnitude and the variance of discounted returns of running episodes, per seed and task.

    In every world g ← γ g + r, from 0 at an episode's start; g is what an agent has got so far, discounted from now on
    (SimbaV2, Lee et al. 2025, 2502.15280, Sec. 4.2). The statistics are over all worlds and steps.

    Args:
        layout: (S, T, W).
        gamma: the agent's discount factor.
    """

    def __init__(self, layout: tuple[int, int, int], gamma: float) -> None:
        self.gamma = gamma
        self.returns = np.zeros(layout)
        self.count = np.zeros(layout[:2])
        self.mean = np.zeros(layout[:2])
        self.squares = np.zeros(layout[:2])  # sum of squared distances from the mean
        self.largest = np.zeros(layout[:2])

    def add(self, rewards: NDArray[np.float64], valid: NDArray[np.bool_], done: NDArray[np.bool_]) -> None:
        """Takes a step [S, T, W] into account where it is valid; `done` ends a world's episode after it."""
        self.returns = np.where(
            valid, self.gamma * self.returns + np.where(valid, rewards, 0.0), self.returns
        )
        kept = np.where(valid, self.returns, 0.0)
        self.largest = np.maximum(self.largest, np.abs(kept).max(-1))
        # Two sets' statistics in one (Chan et al. 1983, Eq. 2.1).
        count = valid.sum(-1).astype(np.float64)
        mean = kept.sum(-1) / np.maximum(count, 1.0)
        squares = (np.where(valid, self.returns - mean[..., None], 0.0) ** 2).sum(-1)
        total = np.maximum(self.count + count, 1.0)
        difference = mean - self.mean
        self.mean = self.mean + difference * count / total
        self.squares = self.squares + squares + difference**2 * self.count * count / total
        self.count = self.count + count
        self.returns[done] = 0.0

    @property
    def variance(self) -> NDArray[np.float64]:
        """[S, T]; 0 before the first step."""
        variance: NDArray[np.float64] = self.squares / np.maximum(self.count, 1.0)
        return variance

    def state_dict(self) -> dict[str, NDArray[np.float64]]:
        return {name: value for name, value in vars(self).items() if name != "gamma"}

    def load_state_dict(self, state: Mapping[str, NDArray[np.float64]]) -> None:
        for name in self.state_dict():
            setattr(self, name, np.array(state[name]))
