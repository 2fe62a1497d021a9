"""Impartial multi-task learning: the loss balance."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from mtrl.adam import Adam
from mtrl.balancers.base import Balancer
from mtrl.options import NonNegativeFloat


class IMTLL(Balancer):
    """Each task has a learned log-scale s_i: minimise Σ p_i (e^{s_i} L_i - s_i) over the parameters and s,
    thus w = p ⊙ e^{s}. At the optimum every scaled loss e^{s_i} L_i is 1. O(T).

    Liu et al., "Towards Impartial Multi-task Learning", ICLR 2021, Sec. 3.2 (IMTL-L). A negative loss would
    drive s_i to ∞.
    Choices: the paper learns s with the network's optimiser, here Adam with its own rate; it has no
    preference, here p multiplies a task's whole term, so that the learned scale does not undo it.

    Args:
        learning_rate: Adam's rate for s.
        preference: the task weights p.
    """

    reads_gramian = False

    requires_positive_losses = True

    #: |s| stays below it: e^{±20} spans losses of 2e-9 to 5e8, and nothing overflows.
    bound = 20.0

    log_scale: Tensor  # [S, T]

    def __init__(
        self, learning_rate: NonNegativeFloat = 0.025, preference: Sequence[float] | None = None
    ) -> None:
        super().__init__(preference)
        self.learning_rate = learning_rate

    def allocate(self, zeros: Tensor, seeds: Sequence[int]) -> None:
        self.register_buffer("log_scale", zeros.clone())
        self.moments = Adam(zeros)

    def weights(self, gramian: Tensor, losses: Tensor) -> Tensor:
        return self.settle(self.preference * self.scales(losses), ~losses.isfinite().all(dim=-1))

    def scales(self, losses: Tensor) -> Tensor:
        """The scales e^{s} of this step, [S, T]; then one step on s."""
        scales = torch.exp(self.log_scale)
        self.log_scale.sub_(self.learning_rate * self.moments.direction(scales * losses - 1.0))
        self.log_scale.clamp_(-self.bound, self.bound)
        return scales
