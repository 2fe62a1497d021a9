"""Small dense problems, solved for every seed at once.

All arithmetic is float64 whatever the inputs are, so the global TF32 switches do not touch it. Nothing here reads a
value back from a GPU. This is the only place that knows of two ways: PyTorch's operations, here, in `active_set.py` and
in `surgery.py`, and the kernels for GPUs.
"""

from __future__ import annotations

from functools import reduce
from itertools import groupby
from operator import add
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from mtrl.balancers import active_set, kernels
from mtrl.balancers import surgery as operations
from mtrl.balancers.active_set import Solution, unit_scale
from mtrl.balancers.blocks import Blocks, Factors
from mtrl.balancers.surgery import Surgery, Vaccination

__all__ = [
    "Solution",
    "Spectrum",
    "Surgery",
    "Vaccination",
    "combine",
    "cone_quadratic",
    "fair",
    "fits",
    "gramian",
    "gramian_eigen",
    "matvec",
    "packed",
    "quadratic",
    "simplex_norm",
    "simplex_quadratic",
    "surgery",
    "symmetric_eigen",
    "unit_scale",
    "vaccinate",
    "vecmat",
]

#: Numbers of a Jacobian converted to float64 at a time: what fits a core's cache.
_CHUNK = 2**16
_NEWTON_STEPS = 50
#: Gradients shorter than this, which float32 does not hold to its accuracy, are none.
SHORTEST_GRADIENT = torch.finfo(torch.float32).tiny
_LARGEST_WEIGHT = torch.finfo(torch.float32).max


class Spectrum(NamedTuple):
    """Eigendecomposition of symmetric matrices.

    values: ascending, [S, T].
    vectors: the eigenvectors, in columns, [S, T, T]; of `gramian_eigen`, zero where the value is.
    failed: the matrix was not finite (its decomposition is the identity's), or no convergence, bool [S].
    """

    values: Tensor
    vectors: Tensor
    failed: Tensor


def gramian(jacobian: Tensor | Blocks) -> Tensor:
    """J Jᵀ in float64, [S, T, T], from J [S, T, P] of any floating dtype.

    A Gramian squares the condition number: in float32, task gradients a thousand times smaller than the
    largest would drown in its rounding error. In chunks, it takes no longer than the float32 product.
    """
    if isinstance(jacobian, Blocks) and jacobian.factors:
        rows = [gramian(Blocks(jacobian.rows))] if jacobian.rows else []
        return reduce(add, [*rows, *(factors.gramian() for factors in jacobian.factors)])
    if kernels.usable(jacobian):
        return kernels.gramian(jacobian)
    jacobian = packed(jacobian)
    num_tasks = jacobian.shape[-2]
    total = jacobian.new_zeros(*jacobian.shape[:-2], num_tasks, num_tasks, dtype=torch.float64)
    for columns in jacobian.split(max(1, _CHUNK // num_tasks), dim=-1):
        chunk = columns.double()
        total += chunk @ chunk.mT
    return total


def combine(weights: Tensor, jacobian: Tensor | Blocks) -> Tensor:
    """wᵀJ, [S, P], in the dtype of the Jacobian."""
    if isinstance(jacobian, Blocks) and jacobian.factors:
        parts = []
        for _, group in groupby(jacobian.blocks, lambda block: isinstance(block, Factors)):
            neighbours = Blocks(tuple(group))
            if neighbours.factors:
                parts += [factors.combined(weights.to(factors.dtype)) for factors in neighbours.factors]
            else:
                parts.append(combine(weights, neighbours))
        return torch.cat(parts, dim=-1)
    if kernels.usable(jacobian):
        return kernels.combine(weights, jacobian)
    jacobian = packed(jacobian)
    return (weights.to(jacobian.dtype).unsqueeze(-2) @ jacobian).squeeze(-2)


def packed(jacobian: Tensor | Blocks) -> Tensor:
    """The Jacobian as one tensor [S, T, P]."""
    return jacobian.packed() if isinstance(jacobian, Blocks) else jacobian


def matvec(matrix: Tensor, vector: Tensor) -> Tensor:
    """A x, [S, T]."""
    if kernels.usable(matrix):  # compiled, it is part of what stands around it
        return (matrix * vector.unsqueeze(-2)).sum(dim=-1)
    return (matrix @ vector.unsqueeze(-1)).squeeze(-1)


def vecmat(vector: Tensor, matrix: Tensor) -> Tensor:
    """xᵀA, [S, T]; x is [S, T] or [T]."""
    if kernels.usable(matrix):
        return (vector.unsqueeze(-1) * matrix).sum(dim=-2)
    return (vector.unsqueeze(-2) @ matrix).squeeze(-2)


def quadratic(matrix: Tensor, vector: Tensor) -> Tensor:
    """xᵀA x, [S], never negative."""
    return (matvec(matrix, vector) * vector).sum(dim=-1).clamp(min=0.0)


def fits(weights: Tensor) -> Tensor:
    """Whether float32 can hold all the weights [S, T] of a seed, bool [S]."""
    return (weights.abs() <= _LARGEST_WEIGHT).all(dim=-1)


def simplex_quadratic(
    gramian: Tensor, linear: Tensor, lengths: Tensor, allowed: Tensor | None = None
) -> Solution:
    """argmin ½wᵀQw + qᵀw over the simplex; Q `gramian` [N, T, T], q `linear` [N, T], of `allowed` tasks only."""
    return _solve(gramian, linear, lengths, None, simplex=True, allowed=allowed)


def simplex_norm(
    gramian: Tensor, linear: Tensor, lengths: Tensor, radius: Tensor, allowed: Tensor | None = None
) -> Solution:
    """argmin qᵀw + ρ √(wᵀQw) over the simplex; ρ `radius` [N] ≥ 0, of `allowed` tasks only."""
    return _solve(gramian, linear, lengths, radius, simplex=True, allowed=allowed)


def cone_quadratic(gramian: Tensor, linear: Tensor, lengths: Tensor) -> Solution:
    """argmin ½zᵀQz + qᵀz over z ≥ 0."""
    return _solve(gramian, linear, lengths, None, simplex=False)


def _solve(
    gramian: Tensor,
    linear: Tensor,
    lengths: Tensor,
    radius: Tensor | None,
    simplex: bool,
    allowed: Tensor | None = None,
) -> Solution:
    if kernels.usable(gramian):
        return Solution(*kernels.active_set(gramian, linear, lengths, radius, allowed, simplex))
    return active_set.solve(gramian, linear, lengths, radius, simplex, allowed)


def surgery(gramian: Tensor, draws: Tensor) -> Surgery:
    """Each gradient, in an order of its own, loses its projection on every original one that it conflicts with.

    Args:
        gramian: float64, [S, T, T].
        draws: row i of [S, T, T] puts the tasks in the order in which i meets them, the smallest first.
    """
    if kernels.usable(gramian):
        return Surgery(*kernels.surgery(gramian, draws))
    return operations.surgery(gramian, draws)


def vaccinate(gramian: Tensor, draws: Tensor, targets: Tensor, beta: float) -> Vaccination:
    """Each gradient whose cosine with another is below its target is turned until it has it.

    Args:
        gramian: float64, [S, T, T].
        draws: see `surgery`.
        targets: moving averages of the cosines, [S, T, T].
        beta: weight of the newest cosine in them.
    """
    if kernels.usable(gramian):
        return Vaccination(*kernels.vaccinate(gramian, draws, targets, beta))
    return operations.vaccinate(gramian, draws, targets, beta)


def symmetric_eigen(matrix: Tensor) -> Spectrum:
    """Eigendecomposition of positive semidefinite matrices [S, T, T] with entries up to 1, as cosines are."""
    if kernels.usable(matrix):
        return Spectrum(*kernels.symmetric_eigen(matrix))
    finite = matrix.isfinite().flatten(1).all(dim=-1)
    identity = torch.eye(matrix.shape[-1], dtype=torch.float64, device=matrix.device)
    values, vectors = torch.linalg.eigh(torch.where(finite[:, None, None], matrix.double(), identity))
    return Spectrum(values, vectors, ~finite)


def gramian_eigen(gramian: Tensor, tolerance: float) -> Spectrum:
    """Eigendecomposition of Gramians [S, T, T], each value to relative accuracy however uneven the lengths are.

    The rank is that of the cosines C = D⁻¹GD⁻¹ with D the lengths: their Cholesky factorisation with pivoting, C = LLᵀ,
    ends where no gradient is left whose squared sine to the span of those before it is above `tolerance`. Jacobi
    rotations of DL, as G = (DL)(DL)ᵀ, give the values; those beyond the rank are zero.

    Demmel & Veselić, "Jacobi's method is more accurate than QR", 1992; Drmač & Veselić, "New fast and accurate Jacobi
    SVD algorithm", 2008, which is LAPACK's gejsv.
    """
    if kernels.usable(gramian):
        return Spectrum(*kernels.gramian_eigen(gramian, tolerance))
    from scipy.linalg import lapack  # takes a quarter of a second, which a GPU does not need

    systems = gramian.detach().double().cpu().numpy()
    failed = ~np.isfinite(systems).all((-2, -1))
    values, vectors = np.zeros(systems.shape[:2]), np.zeros(systems.shape)
    itself = np.arange(systems.shape[-1])
    triangle = itself[:, None] >= itself
    for seed in np.flatnonzero(~failed):
        lengths = np.sqrt(np.maximum(systems[seed].diagonal(), 0.0))
        present = lengths > 0.0
        units = np.where(present, lengths, 1.0)
        cosines = systems[seed] / units[:, None] / units
        cosines[itself, itself] = present
        lower, pivots, rank, _ = lapack.dpstrf(cosines, tol=tolerance, lower=1)
        if rank == 0:
            continue
        # Rows of any lengths need the longest first. With joba F gejsv would sort them by OpenBLAS's laswp, which wakes
        # all its threads for any size; these then keep their cores busy with waiting.
        longest = np.argsort(-lengths[pivots - 1], kind="stable")
        order = pivots[longest] - 1
        factor = lengths[order, None] * (lower * triangle)[longest, :rank]
        # joba C is F without that; with jobu U and jobv N: the left vectors, and no others.
        singular, left, _, scale, _, failed[seed] = lapack.dgejsv(factor, joba=0, jobu=0, jobv=3, jobr=0)
        values[seed, -rank:] = np.square(singular[::-1] * (scale[0] / scale[1]))
        vectors[seed, order, -rank:] = left[:, ::-1]
    return Spectrum(*(torch.from_numpy(array).to(gramian.device) for array in (values, vectors, failed)))


def fair(gramian: Tensor, alpha: float, share: Tensor) -> Solution:
    """The w > 0 with (G w)_i = (share_i / w_i)^{1/α}, by Newton's method.

    It is the minimiser of the convex ½wᵀGw - Σ share_i^{1/α} w_i^{1-1/α} / (1-1/α) (of -share_i log w_i for α = 1),
    unique where it exists: nowhere, if a convex combination of the gradients is zero, which counts as failed.
    A task without share, or without gradient (one shorter than `SHORTEST_GRADIENT`), drops out, w_i = 0.

    With unit gradients (y = w · length) and s the right-hand side's constant the step solves (C + diag(r / α y)) d =
    r - C y, r = s y^{-1/α}. It is taken in y for α ≥ 1, in r, whose problem is the dual one, for α < 1: that of the two
    in which Newton's method grows by more than a factor of 2 a step. A step that would leave the positive cone is
    cut at nine tenths of the way.

    Args:
        gramian: [S, T, T].
        alpha: the fairness, > 0; 1 is proportional fairness, the Nash bargaining solution.
        share: [S, T] or [T], >= 0.
    """
    gramian, share = gramian.double(), share.double().expand(gramian.shape[:2])
    if kernels.usable(gramian):
        return Solution(*kernels.fair(gramian, share, alpha))
    finite = gramian.isfinite().flatten(1).all(dim=-1)
    squares = torch.where(finite[:, None], gramian.diagonal(dim1=-2, dim2=-1).clamp(min=0.0), 1.0)
    plays = (squares >= SHORTEST_GRADIENT**2) & (share > 0.0)
    largest = torch.where(plays, squares, 0.0).amax(dim=-1, keepdim=True)
    largest = torch.where(largest > 0.0, largest, 1.0)
    lengths = torch.where(plays, (squares / largest).sqrt(), 1.0)
    matrix = gramian / largest.unsqueeze(-1) / lengths.unsqueeze(-1) / lengths.unsqueeze(-2)
    couples = finite[:, None, None] & plays.unsqueeze(-1) & plays.unsqueeze(-2)
    matrix = torch.where(
        couples, matrix, torch.eye(matrix.shape[-1], dtype=matrix.dtype, device=matrix.device)
    )
    constant = torch.where(plays, share, 1.0) ** (1.0 / alpha) * lengths ** (1.0 / alpha - 1.0)

    y = constant ** (alpha / (1.0 + alpha))  # exact for orthogonal gradients, then the best multiple of it
    level = (constant * y ** (1.0 - 1.0 / alpha)).sum(dim=-1) / quadratic(matrix, y).clamp(min=1e-12)
    y = y * level.unsqueeze(-1) ** (alpha / (1.0 + alpha))
    for _ in range(_NEWTON_STEPS):
        right = constant * y ** (-1.0 / alpha)
        left = matvec(matrix, y)
        error = (left - right).abs()
        resolvable = error > 1e-15 * (right + matvec(matrix.abs(), y))
        running = (resolvable & (error > 1e-10 * right)).any(dim=-1, keepdim=True)
        if gramian.device.type == "cpu" and not running.any():
            break
        hessian = matrix + torch.diag_embed(right / y / alpha)
        factor, _ = torch.linalg.cholesky_ex(hessian)
        step = torch.cholesky_solve((right - left).unsqueeze(-1), factor).squeeze(-1) / y
        step = step if alpha >= 1.0 else -step / alpha
        step = step / (-step / 0.9).amax(dim=-1, keepdim=True).clamp(min=1.0)
        y = torch.where(running, y * (1.0 + step) ** (1.0 if alpha >= 1.0 else -alpha), y)
    failed = (
        ((matvec(matrix, y) / (constant * y ** (-1.0 / alpha)) - 1.0).abs() < 1e-6).all(dim=-1).logical_not()
    )
    weights = torch.where(plays, y / lengths, 0.0) * largest ** (-alpha / (1.0 + alpha))
    return Solution(weights, failed | ~finite)
