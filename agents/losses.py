"""The losses of multi-task SAC as pure functions: one loss PER TASK, [S, T].

Haarnoja et al. 2018, 1812.05905. What combines the tasks is the optimiser's business.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn


def sample_action(mean: Tensor, log_std: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
    """A squashed Gaussian action [..., A] and its log-probability [...] (1812.05905, App. C).

    log(1 - tanh²u) is computed as 2 (log 2 - u - softplus(-2u)), which does not overflow.
    """
    u = mean + log_std.exp() * noise
    log_prob = (-0.5 * noise.square() - log_std - 0.5 * math.log(2 * math.pi)).sum(-1)
    log_prob = log_prob - (2 * (math.log(2) - u - nn.functional.softplus(-2 * u))).sum(-1)
    return torch.tanh(u), log_prob


def soft_target(reward: Tensor, discount: Tensor, next_q: Tensor, entropy_cost: Tensor) -> Tensor:
    """The soft Bellman target [S, T, B]: r + γ (1 - terminated) (Q(s', a') - α log π(a'|s')).

    A time limit does not terminate, so its last transition bootstraps as any other does.

    Args:
        discount: γ (1 - terminated).
        next_q: one value Q of the target critics'.
        entropy_cost: α log π(a'|s').
    """
    return reward + discount * (next_q - entropy_cost)


def critic_loss(q: Tensor, target: Tensor) -> Tensor:
    """Mean squared Bellman error [S, T], summed over the critics: q [S, E, T, B], target [S, T, B]."""
    return (q - target.unsqueeze(1)).square().mean(-1).sum(1)


def actor_loss(q: Tensor, log_prob: Tensor, alpha: Tensor) -> Tensor:
    """E[α log π(a|s) - Q(s, a)] per task, [S, T]: q (one of the critics') and log_prob [S, T, B], alpha [S, T]."""
    return (alpha.unsqueeze(-1) * log_prob - q).mean(-1)


def temperature_loss(log_alpha: Tensor, log_prob: Tensor, target_entropy: float) -> Tensor:
    """-α (log π(a|s) + H̄) per task, [S, T]; log_prob [S, T] is the batch's mean, a constant."""
    return -log_alpha.exp() * (log_prob + target_entropy)


def temperature_weights(log_alpha: Tensor) -> Tensor:
    """T softmax(-log α) over the tasks, [S, T] to [S, T]: of mean 1 (2003.13661, Sec. 4.4, log α as in its code)."""
    return log_alpha.shape[-1] * torch.softmax(-log_alpha, dim=-1)
