"""Gradient vaccine."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from mtrl.balancers import kernels
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
        preference: see `Balancer`.
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
        if kernels.usable(gramian):
            return kernels.surgery(
                gramian, self.preference, self.failures, draws, targets=self.targets, beta=self.beta
            )
        gramian = gramian.double()
        order = draws.argsort(dim=-1)
        failed = ~gramian.isfinite().flatten(1).all(dim=-1)
        lengths = gramian.diagonal(dim1=-2, dim2=-1).clamp(min=0.0).sqrt()
        tasks = torch.arange(num_tasks, device=gramian.device)
        coefficients = torch.eye(num_tasks, dtype=torch.float64, device=gramian.device).repeat(
            len(gramian), 1, 1
        )
        products = gramian.clone()  # g_i' · g_j
        changed = lengths.square()  # ‖g_i'‖²
        for other in order.unbind(dim=-1):  # [S, T]: the task that each one meets
            column = other.unsqueeze(-1)
            product = products.gather(-1, column).squeeze(-1)
            length, other_length = changed.clamp(min=0.0).sqrt(), lengths.gather(-1, other)
            meets = (other != tasks) & (changed > 1e-12 * lengths.square()) & (other_length > 0.0)
            cosine = torch.where(meets, product / (length * other_length), 0.0).clamp(-1.0, 1.0)
            target = self.targets.gather(-1, column).squeeze(-1)
            sine, target_sine = (1.0 - cosine.square()).sqrt(), (1.0 - target.square()).sqrt()
            added = length * (target * sine - cosine * target_sine) / (other_length * target_sine)
            added = torch.where(meets & (cosine < target) & (target_sine > 0.0), added, 0.0)
            coefficients.scatter_add_(-1, column, added.unsqueeze(-1))
            changed = changed + 2.0 * added * product + (added * other_length).square()
            products += added.unsqueeze(-1) * gramian.gather(1, column.expand_as(gramian))
            newest = torch.where(
                meets & ~failed.unsqueeze(-1), target + self.beta * (cosine - target), target
            )
            self.targets.scatter_(-1, column, newest.unsqueeze(-1))
        weights = (self.preference.double().unsqueeze(-2) @ coefficients).squeeze(-2)
        return self.settle(weights, failed)
