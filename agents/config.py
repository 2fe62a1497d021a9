"""Settings of the agent."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

import torch
from torch import Tensor

from agents.values import CategoricalValue, Ensemble, ScalarValue, Value
from mtrl.options import FiniteFloat, NonNegativeFloat, PositiveFloat, Range, UnitInterval, check

Rate = Annotated[float, Range(0.0, 1.0, "(]")]
#: Its exponential does not overflow or vanish in float32.
LogScale = Annotated[float, Range(-80.0, 80.0)]
Atoms = Annotated[int, Range(2, 2**16)]
Precision = Literal["float32", "bfloat16"]


@dataclass(frozen=True)
class SACConfig:
    """Settings of the agent.

    Args:
        learning_rate: of actor and critics.
        temperature_learning_rate: of the temperatures.
        learning_rate_decay: of both rates: `none`, or `linear` to stay for the first half of training and then fall
            linearly to zero at `total_steps` (2405.18392).
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

    Raises:
        ValueError: a value is outside the range that its type names, or two do not go together.
    """

    learning_rate: PositiveFloat = 3e-4
    temperature_learning_rate: PositiveFloat = 3e-4
    learning_rate_decay: Literal["none", "linear"] = "none"
    gamma: UnitInterval = 0.99
    tau: Rate = 0.005
    initial_temperature: PositiveFloat = 1.0
    log_std_min: LogScale = -20.0
    log_std_max: LogScale = 2.0
    log_std: Literal["clamp", "tanh"] = "clamp"
    target_entropy: FiniteFloat | None = None
    critic: Literal["squared", "categorical", "hl_gauss"] = "squared"
    num_atoms: Atoms = 101
    value_min: FiniteFloat = -10.0
    value_max: FiniteFloat = 10.0
    ensemble: Ensemble = "min"
    normalize_returns: bool = False
    weight_decay: NonNegativeFloat = 0.0
    max_grad_norm: PositiveFloat | None = None
    task_weights: Literal["uniform", "temperature"] = "uniform"

    def __post_init__(self) -> None:
        check("agent", type(self), vars(self))
        if self.log_std_min > self.log_std_max:
            raise ValueError(
                f"agent.log_std_min must not be above agent.log_std_max, got {self.log_std_min} and "
                f"{self.log_std_max}."
            )
        if not self.value_min < self.value_max:
            raise ValueError(
                f"agent.value_min must be below agent.value_max, got {self.value_min} and {self.value_max}."
            )
        if self.normalize_returns and self.gamma == 1.0:
            raise ValueError(
                "agent.normalize_returns needs agent.gamma below 1: a return must have a bound, got 1."
            )
        if self.normalize_returns and self.value_max <= 0.0:
            raise ValueError(
                "agent.normalize_returns scales returns to agent.value_max, which must be a positive number, got "
                f"{self.value_max}."
            )

    def learning_rate_factor(self, progress: float) -> float:
        """Of both learning rates at a share of training in [0, 1]."""
        return 1.0 if self.learning_rate_decay == "none" else min(1.0, max(0.0, 2.0 * (1.0 - progress)))

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
