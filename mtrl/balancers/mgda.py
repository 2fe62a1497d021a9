"""Multiple-gradient descent: the shortest vector in the convex hull of the gradients."""

import torch
from torch import Tensor

from mtrl.balancers import solvers
from mtrl.balancers.base import Balancer


class MGDA(Balancer):
    """w = argmin over the simplex of wᵀGw: its direction descends for every task at once, or is zero. O(T³).

    Désidéri, "Multiple-gradient descent algorithm (MGDA) for multiobjective optimization", C. R. Math. 2012;
    Sener & Koltun, "Multi-Task Learning as Multi-Objective Optimization", NeurIPS 2018, arXiv 1810.04650, Eq. 3.
    They solve it by Frank-Wolfe steps, which converge slowly; here the solution is exact. The method has no preference.
    Where the shortest vector has several representations (dependent gradients) any of them is returned.
    """

    def weights(self, gramian: Tensor, losses: Tensor) -> Tensor:
        none = torch.zeros_like(gramian[..., 0])
        return self.settle(*solvers.simplex_quadratic(gramian, none, solvers.unit_scale(gramian)))
