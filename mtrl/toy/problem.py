"""The synthetic two-task problem of Senushkin et al. 2023 (arXiv 2305.19000, App. C).

The plane has two narrow valleys for x2 > 0 and a smooth basin for x2 < 0 that holds the Pareto set.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

STARTS = ((-8.5, 7.5), (0.0, 0.0), (9.0, 9.0), (-7.5, -0.5), (9.0, -1.0))


@dataclass
class ToyResult:
    """One method on one preference, from all starts.

    trajectories: the point of each start at the start, at regular steps and at the end, [start, K, 2].
    seconds: processor time, for all preferences of the method together.
    gaps: how far the weighted loss of each start's last point lies above the optimum.
    failures: what the balancer counted, over all starts.
    """

    balancer: str
    preference: float
    steps: int
    seconds: float
    optimum: list[float]
    optimum_loss: float
    gaps: list[float]
    reached: list[bool]
    failures: int
    trajectories: list[list[list[float]]]


class Optimum(NamedTuple):
    """The minimum of the preference-weighted loss: where, and how low."""

    point: Tensor  # [2]
    loss: float


def losses_and_jacobian(points: Tensor) -> tuple[Tensor, Tensor]:
    """The two losses, [..., 2], at points [..., 2], and their gradients, [..., 2, 2].

    The derivatives are written out: automatic differentiation would take most of the time of a run.
    """
    sign = points.new_tensor([-1.0, 1.0])  # the problem is symmetric: x1 -> -x1 exchanges the tasks
    x1, x2 = points[..., :1], points[..., 1:]

    tanh = torch.tanh(x2)
    argument = 0.5 * (7.0 * sign - x1) - sign * tanh
    size = argument.abs()
    valley = size.clamp(min=5e-6).log() + 6.0
    slope = torch.where(size > 5e-6, 1.0 / argument, 0.0)
    valley_x1, valley_x2 = -0.5 * slope, sign * (tanh.square() - 1.0) * slope

    offset, height = x1 + 7.0 * sign, x2 + 8.0
    basin = (offset.square() + 0.1 * height.square()) / 10.0 - 20.0
    basin_x1, basin_x2 = 0.2 * offset, 0.02 * height

    half = torch.tanh(0.5 * x2)
    upper, lower = half.clamp(min=0.0), (-half).clamp(min=0.0)
    half_x2 = 0.5 * (1.0 - half.square())
    # At x2 = 0, where max(., 0) has no derivative, both count, as in the authors' code.
    upper_x2, lower_x2 = (x2 >= 0.0) * half_x2, (x2 <= 0.0) * -half_x2

    losses = valley * upper + basin * lower
    by_x1 = valley_x1 * upper + basin_x1 * lower
    by_x2 = valley_x2 * upper + valley * upper_x2 + basin_x2 * lower + basin * lower_x2
    return losses, torch.stack([by_x1, by_x2], dim=-1)


def task_losses(points: Tensor) -> Tensor:
    """The two losses, [..., 2], at points [..., 2]."""
    return losses_and_jacobian(points)[0]


def weighted_loss(points: Tensor, preference: float) -> Tensor:
    """p L1 + (1 - p) L2 at points [..., 2]."""
    first, second = task_losses(points).unbind(dim=-1)
    return preference * first + (1.0 - preference) * second


@functools.cache
def _grid() -> tuple[Tensor, Tensor]:
    """Points [N, 2] every 0.02 on [-12, 12]², and their losses [N, 2]."""
    axis = torch.linspace(-12.0, 12.0, 1201, dtype=torch.float64)
    points = torch.cartesian_prod(axis, axis)
    return points, task_losses(points)


@functools.cache
def optimum(preference: float) -> Optimum:
    """The global minimum of the weighted loss: the best point of a dense grid, refined by ever finer grids
    around it.

    The grid may step over the narrow valleys, but nothing with x2 > 0 lies below log(5e-6) + 6 > -7, and the
    smooth basin goes below -15 for every preference.
    """
    points, losses = _grid()
    best = points[(losses @ losses.new_tensor([preference, 1.0 - preference])).argmin()]
    offsets = torch.linspace(-1.0, 1.0, 41, dtype=torch.float64)
    square = torch.cartesian_prod(offsets, offsets)
    for radius in torch.logspace(-1.5, -9.0, 11, dtype=torch.float64):
        around = best + radius * square
        best = around[weighted_loss(around, preference).argmin()]
    return Optimum(best, float(weighted_loss(best, preference)))


def pareto_front() -> tuple[Tensor, Tensor]:
    """Points of the Pareto set [K, 2] and their losses [K, 2]: the optima of 101 preferences (the front is
    convex)."""
    points, losses = _grid()
    best = [
        (losses @ losses.new_tensor([p, 1.0 - p])).argmin() for p in torch.linspace(0.0, 1.0, 101).tolist()
    ]
    return points[best], losses[best]
