"""Gradient descent within a cone around the preferred direction."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import torch
from torch import Tensor

from mtrl.balancers import solvers
from mtrl.balancers.base import Balancer
from mtrl.options import Range

#: How much longer than their sum weighted gradients are at most: float32 then keeps it to a thousandth.
_MOST_CANCELLED = 1e4


class ConicGrad(Balancer):
    """The direction of length ‖g_0‖ that helps the worst-off task most, at an angle of at most arccos(c) to g_0 = Jᵀp:
    argmax min_i g_i·d. O(T³).

    Hassanpour et al., "Fantastic Multi-Task Gradient Updates and How to Find Them In a Cone", 2025, arXiv 2502.00217.
    The paper alternates a gradient step on w with the stationary direction Z⁻¹ g_w of the Lagrangian, Z = c²‖g_0‖² I -
    g_0 g_0ᵀ. Here the problem itself is solved. If MGDA's direction is in the cone, it is the answer. Otherwise the
    answer lies on the surface, d = ‖g_0‖ (c ĝ_0 + √(1-c²) b̂), where b is the part of g_w across g_0, and by duality
    w = argmin over the simplex of c g_w·ĝ_0 + √(1-c²) ‖b‖, a problem of CAGrad's form. Then dᵀZd = 0. A task
    without gradient drops out.

    Where no direction in the cone helps every task, the problem is not convex, and this one may not be the best: if it
    falls short of the bound min_i g_i·d ≤ max over the cone of g_w·d, the step is counted in `failures`. So are most
    Pareto-stationary systems, where b may vanish, and d = g_0; so it is where the weighted gradients cancel to less
    than a ten-thousandth of their lengths.

    Args:
        preference: the task weights p, see `Balancer`.
        c: cosine of the cone's half angle, in (0, 1]; 1 is LS. The authors tune it for each benchmark.
    """

    def __init__(
        self, preference: Sequence[float] | None = None, c: Annotated[float, Range(0.0, 1.0, "(]")] = 0.5
    ) -> None:
        super().__init__(preference)
        self.c = c

    def weights(self, gramian: Tensor, losses: Tensor) -> Tensor:
        gramian = gramian.double()
        lengths = solvers.unit_scale(gramian)
        plays = gramian.diagonal(dim1=-2, dim2=-1) > 0.0
        preference = self.preference.double().expand(losses.shape)
        pull = solvers.matvec(gramian, preference)
        mean_length = (pull * preference).sum(dim=-1, keepdim=True).clamp(min=0.0).sqrt()
        along = torch.where(mean_length > 0.0, pull / mean_length, 0.0)  # g_i · ĝ_0

        shortest, failed = solvers.simplex_quadratic(gramian, torch.zeros_like(pull), lengths, plays)
        shortest_length = solvers.quadratic(gramian, shortest).sqrt().unsqueeze(-1)
        in_cone = (shortest * along).sum(dim=-1, keepdim=True) >= self.c * shortest_length
        in_cone &= shortest_length > 1e-6 * (shortest * lengths).sum(dim=-1, keepdim=True)

        across = gramian - along.unsqueeze(-1) * along.unsqueeze(-2)
        sine = (1.0 - self.c**2) ** 0.5
        radius = torch.full_like(losses[:, 0], sine, dtype=torch.float64)
        worst, not_solved = solvers.simplex_norm(across, self.c * along, lengths, radius, plays)
        failed = failed | not_solved
        length = solvers.quadratic(across, worst).sqrt().unsqueeze(-1)
        vanished = length <= 1e-6 * (worst * lengths).sum(dim=-1, keepdim=True)
        sideways = worst * mean_length - (worst * along).sum(dim=-1, keepdim=True) * preference
        surface = self.c * preference + torch.where(vanished, 0.0, sine / length) * sideways
        surface = torch.where(vanished, preference, surface)
        weights = torch.where(in_cone, shortest * mean_length / shortest_length, surface)
        # Long gradients that nearly cancel each other: rounding to float32 would turn their sum.
        cancels = (weights.abs() * lengths).sum(dim=-1, keepdim=True) > _MOST_CANCELLED * mean_length
        weights = torch.where(cancels, preference, weights)

        # For every w the least g_i·d is at most g_w·d, and that at most ‖g_0‖ times this bound. Where gradients depend
        # on each other, rounding of the Gramian alone is a millionth.
        w = torch.where(in_cone, shortest, worst)
        w = w / w.sum(dim=-1, keepdim=True)
        w_along, w_length = (w * along).sum(dim=-1), solvers.quadratic(gramian, w).sqrt()
        on_surface = self.c * w_along + sine * solvers.quadratic(across, w).sqrt()
        bound = torch.where(w_along >= self.c * w_length, w_length, on_surface)
        least = torch.where(plays, solvers.matvec(gramian, weights), torch.inf).amin(dim=-1)
        longest = mean_length.squeeze(-1)
        self.failures += ~failed & (bound * longest - least > 1e-5 * longest * (w * lengths).sum(dim=-1))
        return self.settle(weights, failed)
