"""Kernel of the methods that need the eigenvectors of a Gramian: one program of the grid per system."""

# Triton compiles these functions; they are not the Python that the checkers know.
# mypy: ignore-errors

import triton
import triton.language as tl

from mtrl.balancers.kernels.dense import (
    diagonal_of,
    factor,
    load_system,
    orthogonalise,
    product_of,
    settle,
)


@triton.jit
def cosines_of(matrix, index, T: tl.constexpr):
    """Which tasks have a gradient, its length (1 for the others), and the symmetric cosines with ones, to the last bit.

    The cosines of a task without gradient are zero, its own too.
    """
    squares = diagonal_of(matrix, index)
    plays = (index < T) & (squares > 0.0)
    lengths = tl.where(plays, tl.sqrt(tl.where(plays, squares, 1.0)), 1.0)
    rows, columns = index[:, None], index[None, :]
    cosines = matrix / (lengths[:, None] * lengths[None, :])
    cosines = tl.where((rows == columns) & plays[:, None], 1.0, cosines)
    cosines = tl.where((rows < T) & (columns < T), cosines, 0.0)
    return plays, lengths, cosines


@triton.jit
def aligned_kernel(
    gramian_pointer,
    preference_pointer,
    weights_pointer,
    failures_pointer,
    SCALE: tl.constexpr,
    TOLERANCE: tl.constexpr,
    T: tl.constexpr,
    B: tl.constexpr,
    SIZE: tl.constexpr,
    SWEEPS: tl.constexpr,
):
    """AlignedMTL with `scale_mode` min (0), median (1) or rmse (2)."""
    seed = tl.program_id(0).to(tl.int64)
    index = tl.arange(0, B)
    matrix, finite = load_system(gramian_pointer + seed * T * T, index, T)
    preference = tl.load(preference_pointer + index, mask=index < T, other=0.0).to(tl.float64)
    plays, lengths, cosines = cosines_of(matrix, index, T)
    rows, rank = factor(cosines, tl.where(plays, 1.0, 0.0).to(tl.float64), lengths, index, T, TOLERANCE)
    longest = tl.max(tl.where(plays, lengths, 0.0), axis=0)
    rows = rows * (lengths / tl.where(longest > 0.0, longest, 1.0))[None, :]
    rows, unsolved = orthogonalise(rows, index, SIZE, SWEEPS, 0.0)
    values = tl.sqrt(tl.sum(rows * rows, axis=1))  # singular values of the gradients, over the longest
    kept = index < rank
    if SCALE == 0:
        scale = tl.min(tl.where(kept, values, float("inf")), axis=0)
    elif SCALE == 1:  # the kept value with (rank - 1) // 2 smaller ones
        first, second = values[:, None], values[None, :]
        smaller = kept[None, :] & ((second < first) | ((second == first) & (index[None, :] < index[:, None])))
        position = tl.sum(tl.where(smaller, 1, 0), axis=1)
        scale = tl.sum(tl.where(kept & (position == (rank - 1) // 2), values, 0.0), axis=0)
    else:
        scale = tl.sqrt(tl.sum(tl.where(kept, values * values, 0.0), axis=0) / tl.maximum(rank, 1))
    safe = tl.where(kept, values, 1.0)
    components = product_of(rows, preference) / (safe * safe) * (scale / safe)
    components = tl.where(kept, components, 0.0)
    weights = tl.sum(rows * components[:, None], axis=0)
    failed = (finite == 0) | unsolved
    deficient = failed | (rank < T)
    failed = failed | (rank == 0)
    settle(weights, failed, deficient, preference, index, weights_pointer, failures_pointer, seed, T)


@triton.jit
def impartial_kernel(
    gramian_pointer,
    preference_pointer,
    weights_pointer,
    failures_pointer,
    T: tl.constexpr,
    B: tl.constexpr,
    SIZE: tl.constexpr,
    SWEEPS: tl.constexpr,
):
    """IMTLG."""
    seed = tl.program_id(0).to(tl.int64)
    index = tl.arange(0, B)
    matrix, finite = load_system(gramian_pointer + seed * T * T, index, T)
    preference = tl.load(preference_pointer + index, mask=index < T, other=0.0).to(tl.float64)
    plays, lengths, cosines = cosines_of(matrix, index, T)
    rows, unsolved = orthogonalise(cosines, index, SIZE, SWEEPS, 1e-30)
    values = tl.sqrt(tl.sum(rows * rows, axis=1))
    kept = values > 1e-12 * tl.max(values, axis=0)
    safe = tl.where(kept, values, 1.0)
    ones = tl.where(plays, 1.0, 0.0).to(tl.float64)
    components = tl.where(kept, product_of(rows, ones) / (safe * safe * safe), 0.0)
    solution = tl.sum(rows * components[:, None], axis=0)
    unequal = tl.max(tl.abs(product_of(cosines, solution) - ones), axis=0) > 1e-6
    share = tl.where(plays, solution / lengths, 0.0)
    total = tl.sum(share, axis=0)
    vanished = tl.abs(total) <= 1e-10 * tl.sum(tl.abs(share), axis=0)
    failed = (finite == 0) | unsolved | unequal | vanished
    weights = share / tl.where(vanished, 1.0, total)
    settle(weights, failed, failed, preference, index, weights_pointer, failures_pointer, seed, T)
