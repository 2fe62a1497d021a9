"""Kernels that decompose matrices: one program of the grid per system."""

# Triton compiles these functions; they are not the Python that the checkers know.
# mypy: ignore-errors

import triton
import triton.language as tl

from mtrl.balancers.kernels.dense import diagonal_of, factor, load_system, orthogonalise


@triton.jit
def store_ascending(rows, values, kept, index, values_pointer, vectors_pointer, T: tl.constexpr):
    """Writes the values, zero where not kept, in ascending order, and the rows' directions as columns."""
    key = tl.where(kept, values, 0.0)
    first, second = key[:, None], key[None, :]
    smaller = (second < first) | ((second == first) & (index[None, :] < index[:, None]))
    position = tl.sum(tl.where((index[None, :] < T) & smaller, 1, 0), axis=1)
    tl.store(values_pointer + position, key, mask=index < T)
    directions = (
        rows * tl.where(kept, 1.0 / tl.where(kept, tl.sqrt(tl.sum(rows * rows, axis=1)), 1.0), 0.0)[:, None]
    )
    tile = (index[:, None] < T) & (index[None, :] < T)
    tl.store(vectors_pointer + index[None, :] * T + position[:, None], directions, mask=tile)


@triton.jit
def gramian_eigen_kernel(
    gramian_pointer,
    values_pointer,
    vectors_pointer,
    failed_pointer,
    TOLERANCE: tl.constexpr,
    T: tl.constexpr,
    B: tl.constexpr,
    SIZE: tl.constexpr,
    SWEEPS: tl.constexpr,
):
    """`solvers.gramian_eigen`."""
    seed = tl.program_id(0).to(tl.int64)
    index = tl.arange(0, B)
    matrix, finite = load_system(gramian_pointer + seed * T * T, index, T)
    squares = diagonal_of(matrix, index)
    plays = (index < T) & (squares > 0.0)
    lengths = tl.where(plays, tl.sqrt(tl.where(plays, squares, 1.0)), 1.0)
    rows, columns = index[:, None], index[None, :]
    cosines = matrix / (lengths[:, None] * lengths[None, :])
    cosines = tl.where((rows == columns) & plays[:, None], 1.0, cosines)
    cosines = tl.where((rows < T) & (columns < T), cosines, 0.0)
    factors, rank = factor(cosines, tl.where(plays, 1.0, 0.0).to(tl.float64), lengths, index, T, TOLERANCE)
    longest = tl.max(tl.where(plays, lengths, 0.0), axis=0)
    longest = tl.where(longest > 0.0, longest, 1.0)
    factors = factors * (lengths / longest)[None, :]
    factors, unsolved = orthogonalise(factors, index, SIZE, SWEEPS, 0.0)
    values = tl.sum(factors * factors, axis=1) * (longest * longest)
    store_ascending(
        factors, values, index < rank, index, values_pointer + seed * T, vectors_pointer + seed * T * T, T
    )
    tl.store(failed_pointer + seed, tl.where(finite, unsolved, True))


@triton.jit
def symmetric_eigen_kernel(
    matrix_pointer,
    values_pointer,
    vectors_pointer,
    failed_pointer,
    T: tl.constexpr,
    B: tl.constexpr,
    SIZE: tl.constexpr,
    SWEEPS: tl.constexpr,
):
    """`solvers.symmetric_eigen`."""
    seed = tl.program_id(0).to(tl.int64)
    index = tl.arange(0, B)
    matrix, finite = load_system(matrix_pointer + seed * T * T, index, T)
    matrix = tl.where((index[:, None] < T) & (index[None, :] < T), matrix, 0.0)
    rows, unsolved = orthogonalise(matrix, index, SIZE, SWEEPS, 1e-30)
    values = tl.sqrt(tl.sum(rows * rows, axis=1))
    store_ascending(
        rows, values, values > 0.0, index, values_pointer + seed * T, vectors_pointer + seed * T * T, T
    )
    tl.store(failed_pointer + seed, tl.where(finite, unsolved, True))
