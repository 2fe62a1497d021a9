"""What the critics' outputs say of an action's value: a number, or a distribution over atoms."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import Literal

import torch
from torch import Tensor

from agents.losses import critic_loss, soft_target

Ensemble = Literal["min", "mean"]


class Value(ABC):
    """How critics E with K outputs each are read and trained.

    Args:
        ensemble: the value that policy and targets follow: the least of the critics', or their mean.
    """

    num_outputs: int

    def __init__(self, ensemble: Ensemble) -> None:
        self.ensemble = ensemble

    @abstractmethod
    def mean(self, outputs: Tensor) -> Tensor:
        """Expected values [S, E, T, B] of outputs [S, E, T, B, K]."""

    @abstractmethod
    def target(self, reward: Tensor, discount: Tensor, next_outputs: Tensor, entropy_cost: Tensor) -> Tensor:
        """What `loss` is to bring the critics to.

        Args:
            reward: [S, T, B].
            discount: γ (1 - terminated), [S, T, B].
            next_outputs: of the target critics, [S, E, T, B, K].
            entropy_cost: α log π(a'|s'), [S, T, B].
        """

    @abstractmethod
    def loss(self, outputs: Tensor, target: Tensor) -> Tensor:
        """The critics' loss of every task [S, T], summed over the critics."""

    def combined(self, q: Tensor) -> Tensor:
        """One value [S, T, B] of the critics' [S, E, T, B]."""
        return q.amin(1) if self.ensemble == "min" else q.mean(1)


class ScalarValue(Value):
    """A number for each critic, trained by the squared Bellman error (Haarnoja et al. 2018, 1812.05905, Eq. 5)."""

    num_outputs = 1

    def mean(self, outputs: Tensor) -> Tensor:
        return outputs.squeeze(-1)

    def target(self, reward: Tensor, discount: Tensor, next_outputs: Tensor, entropy_cost: Tensor) -> Tensor:
        return soft_target(reward, discount, self.combined(self.mean(next_outputs)), entropy_cost)

    def loss(self, outputs: Tensor, target: Tensor) -> Tensor:
        return critic_loss(self.mean(outputs), target)


class CategoricalValue(Value):
    """A distribution over K atoms z_1 < ... < z_K for each critic, by its logits.

    The loss is KL(m ‖ softmax(logits)) for the target's distribution m, the mean over the samples: it has the
    cross-entropy's gradient and is zero where the critic is right. Targets beyond the atoms are clipped to them.

    Args:
        low: z_1.
        high: z_K.
        num_atoms: K.
        method: "categorical" moves the target critics' whole distribution by the Bellman operator and shares each atom
            out to its two neighbours (Bellemare et al. 2017, 1707.06887, Algorithm 1). "hl_gauss" smooths the target's
            expected value by a Gaussian (Farebrother et al. 2024, 2403.03950, Sec. 3).
    """

    SMOOTHING = 0.75  # σ / Δ

    def __init__(
        self,
        low: float,
        high: float,
        num_atoms: int,
        method: Literal["categorical", "hl_gauss"],
        ensemble: Ensemble,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> None:
        super().__init__(ensemble)
        self.num_outputs = num_atoms
        self.low, self.high, self.method = low, high, method
        self.distance = (high - low) / (num_atoms - 1)
        self.atoms = torch.linspace(low, high, num_atoms, device=device, dtype=dtype)
        self._edges = torch.cat([self.atoms - self.distance / 2, self.atoms[-1:] + self.distance / 2])

    def mean(self, outputs: Tensor) -> Tensor:
        return (torch.softmax(outputs, dim=-1) * self.atoms).sum(-1)

    def target(self, reward: Tensor, discount: Tensor, next_outputs: Tensor, entropy_cost: Tensor) -> Tensor:
        """The distribution m [S, T, B, K] over the atoms."""
        if self.method == "hl_gauss":
            return self.smoothed(
                soft_target(reward, discount, self.combined(self.mean(next_outputs)), entropy_cost)
            )
        returns = reward.unsqueeze(-1) + discount.unsqueeze(-1) * (self.atoms - entropy_cost.unsqueeze(-1))
        return self.projected(self._combined_distribution(next_outputs), returns)

    def loss(self, outputs: Tensor, target: Tensor) -> Tensor:
        log_prob = torch.log_softmax(outputs, dim=-1)
        cross_entropy = -(target.unsqueeze(1) * log_prob).sum(-1).sum(1)
        # Without `xlogy`, which takes a CPU three times as long.
        negative_entropy = (target * target.clamp(min=torch.finfo(target.dtype).tiny).log()).sum(-1)
        return (cross_entropy + outputs.shape[1] * negative_entropy).mean(-1)

    def projected(self, probability: Tensor, returns: Tensor) -> Tensor:
        """m_j = Σ_i p_i max(0, 1 - |y_i - z_j| / Δ): the probabilities [..., K] of returns y [..., K] on the atoms."""
        position = ((returns - self.low) / self.distance).clamp(0, self.num_outputs - 1)
        if position.device.type == "cpu":
            return self._by_neighbours(probability, position)
        return self._by_kernel(probability, position)

    def _by_kernel(self, probability: Tensor, position: Tensor) -> Tensor:
        """Each atom by its distance from every return: fuses, and a GPU always sums it in the same order."""
        atom = torch.arange(self.num_outputs, device=position.device).unsqueeze(-1)
        distance = (position.unsqueeze(-2) - atom).abs()  # [..., j, i]
        return ((1 - distance).clamp(min=0) * probability.unsqueeze(-2)).sum(-1)

    def _by_neighbours(self, probability: Tensor, position: Tensor) -> Tensor:
        """Each return to the atoms beside it: K times fewer numbers, which a CPU feels."""
        lower = position.nan_to_num().floor().clamp(max=self.num_outputs - 2)
        upper_part, index = probability * (position - lower), lower.long()
        projected = torch.zeros_like(upper_part)
        projected.scatter_add_(-1, index, probability - upper_part)
        return projected.scatter_add_(-1, index + 1, upper_part)

    def smoothed(self, returns: Tensor) -> Tensor:
        """m_j: a Gaussian around each return [...], cut off at the outermost edges, in each atom's cell: [..., K]."""
        returns = returns.clamp(self.low, self.high).unsqueeze(-1)
        scale = math.sqrt(2) * self.SMOOTHING * self.distance
        cumulative = 0.5 * torch.erf((self._edges - returns) / scale)
        return cumulative.diff(dim=-1) / (cumulative[..., -1:] - cumulative[..., :1])

    def _combined_distribution(self, outputs: Tensor) -> Tensor:
        """One distribution [S, T, B, K] of the critics': their mixture, or that of the least expected value."""
        probability = torch.softmax(outputs, dim=-1)
        if self.ensemble == "mean":
            return probability.mean(1)
        least = (probability * self.atoms).sum(-1).argmin(1, keepdim=True)
        return probability.take_along_dim(least.unsqueeze(-1), dim=1).squeeze(1)
