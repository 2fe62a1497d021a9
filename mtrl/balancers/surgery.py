"""Changes to one gradient after the other, on their coefficients: g_i' = Σ_j c_ij g_j.

Row i of `draws` [S, T, T] puts the tasks in the order in which i meets them, the smallest draw first.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class Surgery(NamedTuple):
    """coefficients: c, [S, T, T]. failed: not a finite system, bool [S]."""

    coefficients: Tensor
    failed: Tensor


class Vaccination(NamedTuple):
    """coefficients: c, [S, T, T]. targets: the new ones, [S, T, T]. failed: not a finite system, bool [S]."""

    coefficients: Tensor
    targets: Tensor
    failed: Tensor


def surgery(gramian: Tensor, draws: Tensor) -> Surgery:
    """Each gradient loses its projection on every original one that it conflicts with; `gramian` is float64."""
    order = draws.argsort(dim=-1)
    squares = gramian.diagonal(dim1=-2, dim2=-1)
    tasks = torch.arange(gramian.shape[-1], device=gramian.device)
    coefficients = _identity(gramian)
    products = gramian.clone()  # g_i' · g_j
    for other in order.unbind(dim=-1):  # [S, T]: the task that each one meets
        product = products.gather(-1, other.unsqueeze(-1)).squeeze(-1)
        conflict = (product < 0.0) & (other != tasks)
        removed = torch.where(conflict, product / squares.gather(-1, other), 0.0).unsqueeze(-1)
        coefficients.scatter_add_(-1, other.unsqueeze(-1), -removed)
        products -= removed * gramian.gather(1, other.unsqueeze(-1).expand_as(gramian))
    return Surgery(coefficients, ~gramian.isfinite().flatten(1).all(dim=-1))


def vaccinate(gramian: Tensor, draws: Tensor, targets: Tensor, beta: float) -> Vaccination:
    """Each gradient whose cosine with another is below its target is turned until it has it; `gramian` is float64.

    Args:
        targets: moving averages of the cosines, [S, T, T].
        beta: weight of the newest cosine in them.
    """
    order, targets = draws.argsort(dim=-1), targets.clone()
    failed = ~gramian.isfinite().flatten(1).all(dim=-1)
    lengths = gramian.diagonal(dim1=-2, dim2=-1).clamp(min=0.0).sqrt()
    tasks = torch.arange(gramian.shape[-1], device=gramian.device)
    coefficients = _identity(gramian)
    products = gramian.clone()  # g_i' · g_j
    changed = lengths.square()  # ‖g_i'‖²
    for other in order.unbind(dim=-1):  # [S, T]: the task that each one meets
        column = other.unsqueeze(-1)
        product = products.gather(-1, column).squeeze(-1)
        length, other_length = changed.clamp(min=0.0).sqrt(), lengths.gather(-1, other)
        meets = (other != tasks) & (changed > 1e-12 * lengths.square()) & (other_length > 0.0)
        cosine = torch.where(meets, product / (length * other_length), 0.0).clamp(-1.0, 1.0)
        target = targets.gather(-1, column).squeeze(-1)
        sine, target_sine = (1.0 - cosine.square()).sqrt(), (1.0 - target.square()).sqrt()
        added = length * (target * sine - cosine * target_sine) / (other_length * target_sine)
        added = torch.where(meets & (cosine < target) & (target_sine > 0.0), added, 0.0)
        coefficients.scatter_add_(-1, column, added.unsqueeze(-1))
        changed = changed + 2.0 * added * product + (added * other_length).square()
        products += added.unsqueeze(-1) * gramian.gather(1, column.expand_as(gramian))
        newest = torch.where(meets & ~failed.unsqueeze(-1), target + beta * (cosine - target), target)
        targets.scatter_(-1, column, newest.unsqueeze(-1))
    return Vaccination(coefficients, targets, failed)


def _identity(gramian: Tensor) -> Tensor:
    return torch.eye(gramian.shape[-1], dtype=torch.float64, device=gramian.device).repeat(len(gramian), 1, 1)
