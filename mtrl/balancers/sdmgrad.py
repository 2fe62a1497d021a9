"""Direction-oriented multi-objective gradient descent."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from mtrl.balancers import solvers
from mtrl.balancers.base import Balancer
from mtrl.balancers.random import Random
from mtrl.options import NonNegativeFloat, PositiveFloat


class SDMGrad(Balancer):
    """MGDA pulled towards the preferred direction: d = (g_w + λ g_0) / (1 + λ), w = argmin over the simplex of
    ½‖g_w + λ g_0‖². λ = 0 is MGDA, λ → ∞ is LS. O(T³).

    Xiao et al., "Direction-oriented Multi-objective Learning: Simple and Provable Stochastic Algorithms", NeurIPS 2023,
    arXiv 2305.18409, Eq. 6. The paper approaches w by a few stochastic gradient steps from the last w, each with
    two independent batches; here w is the exact solution for the batch at hand, and there is no state.

    Args:
        preference: the task weights p, see `Balancer`.
        pull: λ; 0.6 is the authors' value for Meta-World.
    """

    def __init__(self, preference: Sequence[float] | None = None, pull: NonNegativeFloat = 0.6) -> None:
        super().__init__(preference)
        self.pull = pull

    def weights(self, gramian: Tensor, losses: Tensor) -> Tensor:
        target = self.preference.double().expand(losses.shape)
        return self.pulled(gramian, target, torch.ones_like(target, dtype=torch.bool))

    def pulled(self, gramian: Tensor, target: Tensor, allowed: Tensor) -> Tensor:
        """The weights with g_0 = Jᵀ target [S, T] and w on the `allowed` tasks, bool [S, T]."""
        linear = self.pull * solvers.matvec(gramian.double(), target)
        shortest, failed = solvers.simplex_quadratic(gramian, linear, solvers.unit_scale(gramian), allowed)
        return self.settle((shortest + self.pull * target) / (1.0 + self.pull), failed)


class SDMGradOS(Random, SDMGrad):
    """SDMGrad on a random subset of the tasks each step, each task in it with probability n / T. O(T³).

    The same paper, Sec. 4 (objective sampling). w is on the simplex of the sampled tasks, and g_0 sums p_i T / n g_i
    over them, so that its mean over the draws is Jᵀp. An empty subset is replaced by one task drawn uniformly.
    The authors' code leaves the tasks that were not drawn in the simplex, with gradients of zero, where an exact
    solution would put all the weight on them, and multiplies the whole direction by T / n.
    The method saves time where one backward pass per task is needed; here all gradients come from one pass anyway.

    Args:
        preference: the task weights p, see `Balancer`.
        pull: λ.
        num_sampled: n, the expected number of tasks.
    """

    def __init__(
        self,
        preference: Sequence[float] | None = None,
        pull: NonNegativeFloat = 0.6,
        num_sampled: PositiveFloat = 4.0,
    ) -> None:
        super().__init__(preference, pull)
        self.num_sampled = num_sampled

    def weights(self, gramian: Tensor, losses: Tensor) -> Tensor:
        num_tasks = losses.shape[-1]
        probability = min(1.0, self.num_sampled / num_tasks)
        draws = self.generators.rand(num_tasks)
        sampled = (draws < probability) | (draws == draws.amin(dim=-1, keepdim=True))
        return self.pulled(gramian, self.preference.double() / probability * sampled, sampled)
