"""Gradient surgery."""

from __future__ import annotations

from torch import Tensor

from mtrl.balancers import solvers
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
        coefficients, failed = solvers.surgery(gramian.double(), draws)
        return self.settle(solvers.vecmat(self.preference.double(), coefficients), failed)
