"""Uncertainty weighting."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from mtrl.adam import Adam
from mtrl.balancers.base import Balancer
from mtrl.options import NonNegativeFloat


class Uncertainty(Balancer):
    """Each task has a learned log-variance s_i = log σ_i²: minimise Σ p_i (e^{-s_i} L_i + s_i) over the
    parameters and s, thus w = p ⊙ e^{-s}. At the optimum e^{s_i} = L_i. O(T).

    Kendall et al., "Multi-Task Learning Using Uncertainty to Weigh Losses", CVPR 2018, arXiv 1705.07115, Eq.
    7 with the substitution of Sec. 3.2. A negative loss would drive s_i to -∞.
    Without the factor ½ (below) it is IMTL-L, whose log-scale is -s: both give the same weights.
    Choices: the paper's common factor ½ is left out, so that the first weights (s = 0) are LS; it learns s
    with the network's optimiser, here Adam with its own rate; it has no preference, here p multiplies a
    task's whole term, so that the learned scale does not undo it.

    Args:
        learning_rate: Adam's rate for s.
        preference: the task weights p.
    """

    reads_gramian = False

    requires_positive_losses = True

    #: |s| stays below it: e^{±20} spans losses of 2e-9 to 5e8, and nothing overflows.
    bound = 20.0

    log_variance: Tensor  # [S, T]

    def __init__(
        self, learning_rate: NonNegativeFloat = 0.025, preference: Sequence[float] | None = None
    ) -> None:
        super().__init__(preference)
        self.learning_rate = learning_rate

    def allocate(self, zeros: Tensor, seeds: Sequence[int]) -> None:
        self.register_buffer("log_variance", zeros.clone())
        self.moments = Adam(zeros)

    def weights(self, gramian: Tensor, losses: Tensor) -> Tensor:
        precision = torch.exp(-self.log_variance)
        self.log_variance.sub_(self.learning_rate * self.moments.direction(1.0 - precision * losses))
        self.log_variance.clamp_(-self.bound, self.bound)
        return self.settle(self.preference * precision, ~losses.isfinite().all(dim=-1))
