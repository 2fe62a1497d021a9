"""Gradient surgery."""

from __future__ import annotations

import torch
from torch import Tensor

from mtrl.balancers import kernels
from mtrl.balancers.base import Balancer
from mtrl.balancers.random import Random


class PCGrad(Random, Balancer):
    """Each gradient, in a random order of its own, loses its projection on every original gradient that it conflicts
    with; then the preference-weighted mean. O(T³) in T sequential steps.

    Yu et al., "Gradient Surgery for Multi-Task Learning", NeurIPS 2020, arXiv 2001.06782, Alg. 1, which sums: T times
    ours at a uniform p. The surgery is linear in the gradients, g_i' = Σ_j c_ij g_j, so it is done on the coefficients.
    """

    def weights(self, gramian: Tensor, losses: Tensor) -> Tensor:
        num_tasks = losses.shape[-1]
        draws = self.generators.rand(num_tasks, num_tasks)
        if kernels.usable(gramian):
            return kernels.surgery(gramian, self.preference, self.failures, draws)
        gramian = gramian.double()
        order = draws.argsort(dim=-1)
        squares = gramian.diagonal(dim1=-2, dim2=-1)
        tasks = torch.arange(num_tasks, device=gramian.device)
        coefficients = torch.eye(num_tasks, dtype=torch.float64, device=gramian.device).repeat(
            len(gramian), 1, 1
        )
        products = gramian.clone()  # g_i' · g_j
        for other in order.unbind(dim=-1):  # [S, T]: the task that each one meets
            product = products.gather(-1, other.unsqueeze(-1)).squeeze(-1)
            conflict = (product < 0.0) & (other != tasks)
            removed = torch.where(conflict, product / squares.gather(-1, other), 0.0).unsqueeze(-1)
            coefficients.scatter_add_(-1, other.unsqueeze(-1), -removed)
            products -= removed * gramian.gather(1, other.unsqueeze(-1).expand_as(gramian))
        weights = (self.preference.double().unsqueeze(-2) @ coefficients).squeeze(-2)
        return self.settle(weights, ~gramian.isfinite().flatten(1).all(dim=-1))
