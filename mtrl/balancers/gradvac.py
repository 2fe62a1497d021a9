"""Gradient vaccine."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from mtrl.balancers import solvers
from mtrl.balancers.base import Balancer
from mtrl.balancers.random import Random
from mtrl.options import UnitInterval


class GradVac(Random, Balancer):
    """PCGrad with a target for the cosine of each pair, where PCGrad has 0: a gradient whose cosine with another is
    below the moving average of that cosine is turned until it has it; then the preference-weighted mean. O(T³).

    Wang et al., "Gradient Vaccine: Investigating and Improving Multi-task Optimization in Massively Multilingual
    Models", ICLR 2021, arXiv 2010.05874, Alg. 1, Eq. 3, 4, over the whole gradient. It sums: T times ours at a uniform
    p. The cosine, and the average, is that of g_i as changed so far with the original g_j, so it has an order (i, j).

    Args:
        preference: the task weights p, see `Balancer`.
        beta: weight of the newest cosine in the moving average, which starts at 0.
    """

    targets: Tensor  # [S, T, T], the moving averages

    def __init__(self, preference: Sequence[float] | None = None, beta: UnitInterval = 0.01) -> None:
        super().__init__(preference)
        self.beta = beta

    def allocate(self, zeros: Tensor, seeds: Sequence[int]) -> None:
        super().allocate(zeros, seeds)
        num_tasks = zeros.shape[-1]
        self.register_buffer(
            "targets", zeros.new_zeros(len(seeds), num_tasks, num_tasks, dtype=torch.float64)
        )

    def weights(self, gramian: Tensor, losses: Tensor) -> Tensor:
        num_tasks = losses.shape[-1]
        draws = self.generators.rand(num_tasks, num_tasks)
        coefficients, targets, failed = solvers.vaccinate(gramian.double(), draws, self.targets, self.beta)
        self.targets.copy_(targets)
        return self.settle(solvers.vecmat(self.preference.double(), coefficients), failed)
