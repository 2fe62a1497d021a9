"""Settings of the agent."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from agents.values import CategoricalValue, Ensemble, ScalarValue, Value

Precision = Literal["float32", "bfloat16"]


@dataclass(frozen=True)
class SACConfig:
    """Settings of the agent.

    Args:
        learning_rate: of actor and critics.
        temperature_learning_rate: of the temperatures.
        gamma: discount factor.
        tau: rate at which the target critics follow.
        initial_temperature: of every task.
        log_std_min: lower bound of the policy's log standard deviation.
        log_std_max: upper bound of the same.
        log_std: how it is kept there: `clamp`, or `tanh` for min + (max - min) (1 + tanh u) / 2, which has a gradient
            everywhere.
        target_entropy: of the policy; null takes minus the number of actions.
        critic: `squared` trains a number by the squared Bellman error; `categorical` a distribution over atoms by the
            projected distribution of the targets (1707.06887), `hl_gauss` by their smoothed mean (2403.03950).
        num_atoms: of a distribution.
        value_min: the first atom.
        value_max: the last atom, and what `normalize_returns` scales returns to.
        ensemble: whether policy and targets follow the least of the two critics or their mean.
        normalize_returns: divide each task's rewards by a running scale of its returns, so that values fill the atoms
            (2502.15280, 2505.23150).
        weight_decay: of actor and critics, decoupled (AdamW, 1711.05101).
        max_grad_norm: clips each seed's gradients; null takes the protocol's.
        task_weights: factors of the tasks' critic and actor losses before anything balances them: `uniform`, or
            `temperature` for T softmax(-log α), which favours the tasks that explore least (soft modularization,
            Yang et al. 2020, 2003.13661, Sec. 4.4).
    """

    learning_rate: float = 3e-4
    temperature_learning_rate: float = 3e-4
    gamma: float = 0.99
    tau: float = 0.005
    initial_temperature: float = 1.0
    log_std_min: float = -20.0
    log_std_max: float = 2.0
    log_std: Literal["clamp", "tanh"] = "clamp"
    target_entropy: float | None = None
    critic: Literal["squared", "categorical", "hl_gauss"] = "squared"
    num_atoms: int = 101
    value_min: float = -10.0
    value_max: float = 10.0
    ensemble: Ensemble = "min"
    normalize_returns: bool = False
    weight_decay: float = 0.0
    max_grad_norm: float | None = None
    task_weights: Literal["uniform", "temperature"] = "uniform"

    def bounded_log_std(self, log_std: Tensor) -> Tensor:
        """The actor's output as a log standard deviation within the bounds."""
        low, high = self.log_std_min, self.log_std_max
        if self.log_std == "clamp":
            return log_std.clamp(low, high)
        return low + 0.5 * (high - low) * (1 + torch.tanh(log_std))

    def make_value(self, device: torch.device, dtype: torch.dtype = torch.float32) -> Value:
        """What the critics' outputs say."""
        if self.critic == "squared":
            return ScalarValue(self.ensemble)
        return CategoricalValue(
            self.value_min, self.value_max, self.num_atoms, self.critic, self.ensemble, device, dtype
        )
