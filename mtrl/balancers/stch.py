"""Smooth Tchebycheff scalarisation."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from mtrl.balancers.base import Balancer, per_task
from mtrl.options import FiniteFloat, PositiveFloat


class STCH(Balancer):
    """Gradient of the smooth Tchebycheff scalarisation μ log Σ exp(p_i (L_i - z_i) / μ), a smooth maximum of
    the weighted losses: w = T p ⊙ softmax(p ⊙ (L - z) / μ). μ → ∞ gives LS, μ → 0 trains the worst task only.
    O(T).

    Lin et al., "Smooth Tchebycheff Scalarization for Multi-Objective Optimization", ICML 2024, arXiv
    2402.19078, Sec. 3.
    Choices: the factor T puts the weights on the scale of LS. μ and the ideal point z are left to the user by
    the paper; its multi-task code takes logarithms of losses after a warm-up, we follow the text.

    Args:
        mu: μ, in units of p ⊙ L.
        ideal: z, one for all tasks or one per task: the value that each loss could reach alone.
        preference: the task weights p.
    """

    reads_gramian = False

    ideal_point: Tensor  # [T], z

    def __init__(
        self,
        mu: PositiveFloat = 1.0,
        ideal: FiniteFloat | Sequence[FiniteFloat] = 0.0,
        preference: Sequence[float] | None = None,
    ) -> None:
        super().__init__(preference)
        self.mu = mu
        self.ideal = ideal

    def allocate(self, zeros: Tensor, seeds: Sequence[int]) -> None:
        self.register_buffer("ideal_point", per_task(self.ideal, zeros, "STCH's ideal"))

    def weights(self, gramian: Tensor, losses: Tensor) -> Tensor:
        softmax = (self.preference * (losses - self.ideal_point) / self.mu).softmax(dim=-1)
        weights = losses.shape[-1] * self.preference * softmax
        return self.settle(weights, ~losses.isfinite().all(dim=-1))
