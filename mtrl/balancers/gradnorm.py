"""Gradient normalisation."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from mtrl.adam import Adam
from mtrl.balancers.base import Balancer
from mtrl.options import NonNegativeFloat


class GradNorm(Balancer):
    """Learned weights that bring the weighted gradient norms ‖w_i g_i‖ to a common scale, higher for tasks that
    lag. O(T).

        minimise over w  Σ_i | ‖w_i g_i‖ - T p_i r_i^α · mean_j ‖w_j g_j‖ |,   r_i = L̃_i / mean_j L̃_j,
        L̃_i = L_i / L_i(0)

    with the target held constant; after each step the weights are renormalised to Σw = 1.

    Chen et al., "GradNorm", ICML 2018, arXiv 1711.02257, Eq. 1, Eq. 2 and Alg. 1.
    Choices: the norm is that over all shared parameters (the paper takes a subset, often the last shared
    layer); w is learned by Adam with its own rate, and kept above 1e-3 / T before it is renormalised (the
    paper names neither); the paper's weights sum to T; it has no preference, here p sets the ratio of the
    target norms.

    Args:
        asymmetry: α, how strongly lagging tasks are pulled; 0 asks for equal norms.
        learning_rate: Adam's rate for T w.
        preference: the task weights p.
    """

    requires_positive_losses = True

    scales: Tensor  # [S, T], the paper's weights: they sum to T
    initial: Tensor  # [S, T], the losses of the first call; NaN before it

    def __init__(
        self,
        asymmetry: NonNegativeFloat = 0.12,
        learning_rate: NonNegativeFloat = 0.025,
        preference: Sequence[float] | None = None,
    ) -> None:
        super().__init__(preference)
        self.asymmetry = asymmetry
        self.learning_rate = learning_rate

    def allocate(self, zeros: Tensor, seeds: Sequence[int]) -> None:
        self.register_buffer("scales", zeros + zeros.shape[-1] * self.preference)
        self.register_buffer("initial", torch.full_like(zeros, torch.nan))
        self.moments = Adam(zeros)

    def weights(self, gramian: Tensor, losses: Tensor) -> Tensor:
        num_tasks = losses.shape[-1]
        weights = self.scales / num_tasks
        self.initial.copy_(torch.where(self.initial.isnan() & losses.isfinite(), losses, self.initial))

        norms = gramian.diagonal(dim1=-2, dim2=-1).sqrt().to(losses.dtype)
        weighted = self.scales * norms
        progress = torch.nan_to_num(losses / self.initial, nan=1.0)
        rate = torch.nan_to_num(progress / progress.mean(dim=-1, keepdim=True), nan=1.0)
        target = weighted.mean(dim=-1, keepdim=True) * num_tasks * self.preference * rate**self.asymmetry
        gradient = torch.sign(weighted - target) * norms

        self.scales.sub_(self.learning_rate * self.moments.direction(gradient))
        self.scales.clamp_(min=1e-3)
        self.scales.mul_(num_tasks / self.scales.sum(dim=-1, keepdim=True))
        return self.settle(weights, ~(losses.isfinite() & norms.isfinite()).all(dim=-1))
