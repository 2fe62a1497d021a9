"""What entropy is worth to the policy: a temperature of each seed and task, learned."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from agents.config import SACConfig
from agents.losses import temperature_loss
from mtrl.adam import Adam


class Temperature(nn.Module):
    """α [S, T], which rises while the policy's entropy is below its target (Haarnoja et al. 2018, 1812.05905, Sec. 5).

    Args:
        config: settings.
        num_seeds: S.
        num_tasks: T.
        action_size: A; the target entropy is -A where the settings name none.
        learning_rate_factor: a tensor [] may change in place between the steps.
        device: where it lives.
    """

    log_alpha: Tensor  # [S, T]

    def __init__(
        self,
        config: SACConfig,
        num_seeds: int,
        num_tasks: int,
        action_size: int,
        learning_rate_factor: Tensor | float,
        device: torch.device,
    ) -> None:
        super().__init__()
        self.target_entropy = -float(action_size) if config.target_entropy is None else config.target_entropy
        initial = math.log(config.initial_temperature)
        self.register_buffer("log_alpha", torch.full((num_seeds, num_tasks), initial, device=device))
        self.adam = Adam(
            self.log_alpha, config.temperature_learning_rate, learning_rate_factor=learning_rate_factor
        )

    def forward(self) -> Tensor:
        """α [S, T]."""
        return self.log_alpha.exp()

    @torch.no_grad()
    def step(self, log_prob: Tensor, active: Tensor) -> None:
        """One step by the mean log-probabilities [S, T] of the policy's actions, for the seeds where `active` [S] is 1.

        The loss is α times a constant, so its gradient with respect to log α is the loss itself.
        """
        gradient = temperature_loss(self.log_alpha, log_prob, self.target_entropy)
        self.adam.step(self.log_alpha, gradient, active)
