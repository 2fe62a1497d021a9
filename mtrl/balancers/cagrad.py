"""Conflict-averse gradient descent."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from mtrl.balancers import solvers
from mtrl.balancers.base import Balancer
from mtrl.options import NonNegativeFloat

#: The combination g_w is taken for zero if its length is this fraction of its terms' lengths.
_VANISHED = 1e-6


class CAGrad(Balancer):
    """The direction that helps the worst-off task most, within a ball of radius c ‖g_0‖ around g_0 = Jᵀp. O(T³).

    Liu et al., "Conflict-Averse Gradient Descent for Multi-task Learning", NeurIPS 2021, arXiv 2110.14048, Alg. 1:
    d = g_0 + c ‖g_0‖ / ‖g_w‖ · g_w with w = argmin over the simplex of g_w·g_0 + c ‖g_0‖ ‖g_w‖. Solved exactly, where
    the authors' code for Meta-World takes 20 gradient steps. At a Pareto-stationary point g_w = 0 leaves the
    second term undefined; it is left out.

    The defaults are those of the authors' Meta-World runs. The paper's algorithm itself is not rescaled.

    Args:
        preference: the task weights p, see `Balancer`.
        c: the radius relative to ‖g_0‖.
        rescale: divides d by 1, 1 + c ("linear") or 1 + c² ("square").
    """

    def __init__(
        self,
        preference: Sequence[float] | None = None,
        c: NonNegativeFloat = 0.9,
        rescale: Literal["none", "linear", "square"] = "square",
    ) -> None:
        super().__init__(preference)
        self.c = c
        self.divisor = {"none": 1.0, "linear": 1.0 + c, "square": 1.0 + c**2}[rescale]

    def weights(self, gramian: Tensor, losses: Tensor) -> Tensor:
        preference = self.preference.double().expand(losses.shape)
        pull = solvers.matvec(gramian.double(), preference)  # g_i · g_0
        radius = self.c * (pull * preference).sum(dim=-1).clamp(min=0.0).sqrt()
        worst, failed = solvers.simplex_norm(gramian, pull, solvers.unit_scale(gramian), radius)
        return self.around_mean(gramian, worst, radius, failed)

    def around_mean(self, gramian: Tensor, worst: Tensor, radius: Tensor, failed: Tensor) -> Tensor:
        """The weights of g_0 + radius · g_w / ‖g_w‖, rescaled and settled; `worst` is w.

        It fails where g_w is taken for zero and has a gradient too short to tell (see `solvers.unit_scale`).
        """
        lengths, scale = gramian.diagonal(dim1=-2, dim2=-1).clamp(min=0.0).sqrt(), solvers.unit_scale(gramian)
        length = solvers.quadratic(gramian.double(), worst).sqrt()
        moves = length > _VANISHED * (worst * scale).sum(dim=-1)
        too_short = ((worst > 0.0) & (lengths > 0.0) & (lengths < scale)).any(dim=-1)
        factor = torch.where(moves, radius / length, 0.0)
        weights = (self.preference.double() + factor.unsqueeze(-1) * worst) / self.divisor
        return self.settle(weights, failed | (~moves & too_short))
