"""Convex programs over the simplex and the non-negative cone, by a primal active-set method.

With the support S of the solution fixed, each program has a closed-form solution in X = Q_SS⁻¹. The method walks from
support to support: it moves towards that solution until a weight reaches zero, which then leaves S, or else lets the
task with the most negative reduced cost enter. The objective falls at every step and T to 2T steps are usual, each of
them one Gauss-Jordan exchange on the tableau [Q | a | q], which holds X a and X q inside S and the ingredients of the
reduced costs outside. (Lawson & Hanson 1974, ch. 23; Wolfe 1976 for the minimum-norm point.)

Tasks are first scaled to unit gradients, so gradients that differ by many orders of magnitude do no harm. A small ridge
keeps exactly dependent rows invertible, and refinement removes what it does to the others. A support of dependent rows
leaves rounding in the tableau when it is left: what seems to be the end then is judged by a tableau made anew.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

RIDGE = 1e-12
REFINEMENTS = 2
#: Reduced costs above -TOLERANCE, relative to the terms they are a difference of, are taken for zero.
TOLERANCE = 1e-12
#: Of a smaller pivot, the squared sine of a task's gradient to those in S, rounding stays in the tableau.
SMALLEST_PIVOT = 1e-6
#: Weights whose sum is not 1 up to this are on no simplex: a solve that failed.
SUM_ACCURACY = 1e-6
#: Gradients shorter than this, relative to the longest, are scaled as if they were this long.
SHORTEST = 1e-10


class Solution(NamedTuple):
    """weights: [N, T]. failed: no convergence, or not a finite system (its weights are arbitrary), bool [N]."""

    weights: Tensor
    failed: Tensor


def unit_scale(gramian: Tensor) -> Tensor:
    """The length of each gradient, [N, T], or 1 in a system of zeros; never less than `SHORTEST` of the longest."""
    lengths = gramian.diagonal(dim1=-2, dim2=-1).clamp(min=0.0).sqrt()
    longest = lengths.amax(dim=-1, keepdim=True)
    return torch.where(longest > 0.0, torch.maximum(lengths, SHORTEST * longest), 1.0)


def max_iterations(num_tasks: int) -> int:
    return 4 * num_tasks + 10


def solve(
    gramian: Tensor,
    linear: Tensor,
    lengths: Tensor,
    radius: Tensor | None,
    simplex: bool,
    allowed: Tensor | None = None,
) -> Solution:
    """The programs of `solvers`, over the simplex or the cone; with a `radius` the norm stands for half its square."""
    num_tasks = gramian.shape[-1]
    index = torch.arange(num_tasks, device=gramian.device)
    matrix = gramian.double() / lengths.unsqueeze(-1) / lengths.unsqueeze(-2)
    cost = linear.double() / lengths
    finite = matrix.isfinite().flatten(1).all(dim=-1) & cost.isfinite().all(dim=-1)
    matrix = torch.where(
        finite[:, None, None], matrix, torch.eye(num_tasks, dtype=matrix.dtype, device=matrix.device)
    )
    cost = torch.where(finite[:, None], cost, 0.0)
    sum_of = (
        1.0 / lengths if simplex else torch.zeros_like(cost)
    )  # a: the constraint is aᵀy = 1 for y = w · lengths
    allowed = torch.ones_like(cost, dtype=torch.bool) if allowed is None else allowed

    ridged = matrix + RIDGE * torch.eye(num_tasks, dtype=matrix.dtype, device=matrix.device)
    tableau = empty = torch.cat([ridged, sum_of.unsqueeze(-1), cost.unsqueeze(-1)], dim=-1)
    y = torch.zeros_like(cost)
    support = torch.zeros_like(allowed)
    running = torch.ones_like(finite)
    if simplex:  # start from the best single task
        square = ridged.diagonal(dim1=-2, dim2=-1) / sum_of.square()
        value = cost / sum_of + (0.5 * square if radius is None else radius.unsqueeze(-1) * square.sqrt())
        first = torch.where(allowed, value, torch.inf).argmin(dim=-1)
        support = index == first.unsqueeze(-1)
        y = torch.where(support, 1.0 / sum_of, 0.0)
        tableau = _exchange(tableau, first, running)

    mu = torch.ones_like(cost[:, :1])
    nu = torch.zeros_like(mu)
    worn = torch.zeros_like(finite)
    for _ in range(max_iterations(num_tasks)):
        mu, nu, step, longest = _direction(tableau, y, support, sum_of, cost, radius, simplex)
        until_zero = torch.where(support & (step < 0.0), -y / step, torch.inf)
        length, leaving = until_zero.min(dim=-1, keepdim=True)
        blocked = length < longest
        moved = y + torch.where(blocked, length, torch.where(longest.isinf(), 0.0, 1.0)) * step
        moved = torch.where(blocked & (index == leaving), 0.0, moved)
        y = torch.where(running.unsqueeze(-1), moved, y)

        reduced = mu * tableau[..., -1] - nu * tableau[..., -2]
        size = moved.abs().sum(dim=-1, keepdim=True) + mu * cost.abs() + nu.abs() * sum_of
        reduced = torch.where(allowed & ~support & (size > 0.0), reduced / size, torch.inf)
        lowest, entering = reduced.min(dim=-1, keepdim=True)
        exchanges = running & (blocked | (lowest < -TOLERANCE)).squeeze(-1)
        renews = running & ~exchanges & worn
        running = exchanges | renews
        pivot = torch.where(blocked, leaving, entering)
        value = tableau.diagonal(dim1=-2, dim2=-1).gather(-1, pivot)
        worn = exchanges & (worn | (value < SMALLEST_PIVOT).squeeze(-1))
        tableau = _exchange(tableau, pivot.squeeze(-1), exchanges)
        support = support ^ (exchanges.unsqueeze(-1) & (index == pivot))
        if gramian.device.type == "cpu":  # asking a GPU would stall it; its kernel does both
            if renews.any():
                tableau = torch.where(renews[:, None, None], _with_support(empty, support), tableau)
            if not running.any():
                break

    # Refinement, with the system without the ridge.
    inverse = torch.where(support.unsqueeze(-1) & support.unsqueeze(-2), tableau[..., :num_tasks], 0.0)
    inside = torch.where(support, tableau[..., -2], 0.0)
    for _ in range(REFINEMENTS):
        residual = torch.where(support, mu * cost + (matrix @ y.unsqueeze(-1)).squeeze(-1) - nu * sum_of, 0.0)
        refined = y - (inverse @ residual.unsqueeze(-1)).squeeze(-1)
        if simplex:
            missing = 1.0 - (refined * sum_of).sum(dim=-1, keepdim=True)
            refined = refined + inside * missing / (inside * sum_of).sum(dim=-1, keepdim=True)
        # The support is that of the ridged system: of nearly dependent rows, the one without leaves the cone there.
        stays = refined.amin(dim=-1, keepdim=True) >= -TOLERANCE * y.sum(dim=-1, keepdim=True)
        y = torch.where(stays, refined, y)
    weights = y.clamp(min=0.0) / lengths
    if simplex:
        running = running | ((weights.sum(dim=-1) - 1.0).abs() > SUM_ACCURACY)
    return Solution(weights, running | ~finite)


def _direction(
    tableau: Tensor,
    y: Tensor,
    support: Tensor,
    sum_of: Tensor,
    cost: Tensor,
    radius: Tensor | None,
    simplex: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The step to the minimiser with this support, how much of it may be taken, and the multipliers.

    The minimiser solves Q y + μ q = ν a. With the norm instead of the square μ = ‖y‖_Q / ρ depends on y, which leaves a
    quadratic equation for μ; it has no solution if the objective falls for ever, along the limit of μ → ∞ (a ray).
    """
    toward_sum = torch.where(support, tableau[..., -2], 0.0)  # X a
    toward_cost = torch.where(support, tableau[..., -1], 0.0)  # X q
    one = torch.ones_like(y[:, :1])
    if not simplex:
        return one, torch.zeros_like(one), -toward_cost - y, one
    aa = (toward_sum * sum_of).sum(dim=-1, keepdim=True)
    aq = (toward_sum * cost).sum(dim=-1, keepdim=True)
    mu, ray = one, torch.zeros_like(one, dtype=torch.bool)
    if radius is not None:
        slope = ((toward_cost * cost).sum(dim=-1, keepdim=True) - aq.square() / aa).clamp(min=0.0)
        excess = radius.unsqueeze(-1).square() - slope
        ray = excess <= 0.0
        mu = torch.where(ray, 1.0, 1.0 / (aa * excess).sqrt())
    nu = (torch.where(ray, 0.0, 1.0) + mu * aq) / aa
    target = nu * toward_sum - mu * toward_cost
    several = support.sum(dim=-1, keepdim=True) > 1
    return mu, nu, torch.where(ray, target * several, target - y), torch.where(ray, torch.inf, 1.0)


def _with_support(empty: Tensor, support: Tensor) -> Tensor:
    """The tableau of a support [N, T], from that of none."""
    tableau = empty
    for task in range(support.shape[-1]):
        pivot = torch.full_like(support[:, 0], task, dtype=torch.int64)
        tableau = _exchange(tableau, pivot, support[:, task])
    return tableau


def _exchange(tableau: Tensor, pivot: Tensor, active: Tensor) -> Tensor:
    """Gauss-Jordan exchange of row and column `pivot` [N]; doing it twice undoes it. Only where `active` [N]."""
    size, num_tasks, width = tableau.shape
    position = pivot.view(size, 1, 1)
    row = tableau.gather(1, position.expand(size, 1, width))
    column = tableau[..., :num_tasks].gather(2, position.expand(size, num_tasks, 1))
    value = row.gather(2, position)
    row = row / value
    result = tableau - column * row
    result.scatter_(1, position.expand(size, 1, width), row)
    result.scatter_(2, position.expand(size, num_tasks, 1), -column / value)
    result.scatter_(1, position.expand(size, 1, width), row.scatter(2, position, 1.0 / value))
    return torch.where(active.view(size, 1, 1), result, tableau)
