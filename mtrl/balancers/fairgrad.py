"""α-fair division of the step among the tasks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from torch import Tensor

from mtrl.balancers import solvers
from mtrl.balancers.base import Balancer
from mtrl.options import Range


class FairGrad(Balancer):
    """G w = w^{-1/α}, w > 0: the step maximises the α-fair utility Σ (g_i·d)^{1-α} / (1-α) of the tasks' progress.
    α → 0 is LS up to scale, 1 is Nash-MTL, ∞ maximises the least progress. O(T³) per Newton step, 4 to 10 of them.

    Ban & Ji, "Fair Resource Allocation in Multi-Task Learning", ICML 2024, arXiv 2402.15638, Eq. 7. The authors' code
    minimises the residual by least squares or 20 gradient steps; here it is a convex problem, solved to convergence.
    It has no preference; here p weighs the utilities, G w = (T p / w)^{1/α}. No w solves it at a Pareto-stationary
    point: counted in `failures`, w = p.

    Args:
        preference: the task weights p, see `Balancer`.
        alpha: the fairness; far from 1 the systems of very uneven gradients are not solved. The authors take 2 on MT10
            (mtrl_files/run.sh of their code).
    """

    def __init__(
        self, preference: Sequence[float] | None = None, alpha: Annotated[float, Range(0.01, 100.0)] = 1.0
    ) -> None:
        super().__init__(preference)
        self.alpha = alpha

    def weights(self, gramian: Tensor, losses: Tensor) -> Tensor:
        return self.settle(*solvers.fair(gramian, self.alpha, losses.shape[-1] * self.preference))
