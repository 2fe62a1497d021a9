"""Kernels of the methods that change one gradient at a time: one program of the grid per system."""

# Triton compiles these functions; they are not the Python that the checkers know.
# mypy: ignore-errors

import triton
import triton.language as tl

from mtrl.balancers.kernels.dense import diagonal_of, load_system


@triton.jit
def surgery_kernel(
    gramian_pointer,
    draws_pointer,
    targets_pointer,
    coefficients_pointer,
    new_targets_pointer,
    failed_pointer,
    VACCINE: tl.constexpr,
    BETA: tl.constexpr,
    T: tl.constexpr,
    B: tl.constexpr,
):
    """`surgery.surgery`, or with VACCINE `surgery.vaccinate`."""
    seed = tl.program_id(0).to(tl.int64)
    index = tl.arange(0, B)
    rows, columns = index[:, None], index[None, :]
    tile = (rows < T) & (columns < T)
    gramian_pointer += seed * T * T
    matrix, finite = load_system(gramian_pointer, index, T)
    diagonal = diagonal_of(matrix, index)
    lengths = tl.sqrt(tl.maximum(diagonal, 0.0))
    own_pointers = seed * T * T + rows * T + columns

    draws = tl.load(draws_pointer + own_pointers, mask=tile, other=2.0)
    place = tl.zeros([B, B], tl.int32)
    for k in range(T):
        draw = tl.load(draws_pointer + seed * T * T + index * T + k, mask=index < T, other=2.0)[:, None]
        place += tl.where((draw < draws) | ((draw == draws) & (k < columns)), 1, 0)

    coefficients = tl.where(rows == columns, 1.0, 0.0).to(tl.float64)
    products = matrix
    if VACCINE:
        targets = tl.load(targets_pointer + own_pointers, mask=tile, other=0.0)
        changed = diagonal
    for k in range(T):
        meets = tile & (place == k)
        other = tl.sum(tl.where(meets, columns, 0), axis=1)
        product = tl.sum(tl.where(meets, products, 0.0), axis=1)
        other_length = tl.sum(tl.where(meets, lengths[None, :], 0.0), axis=1)
        if VACCINE:
            target = tl.sum(tl.where(meets, targets, 0.0), axis=1)
            length = tl.sqrt(tl.maximum(changed, 0.0))
            counts = (other != index) & (changed > 1e-12 * diagonal) & (other_length > 0.0)
            cosine = tl.where(counts, product / tl.where(counts, length * other_length, 1.0), 0.0)
            cosine = tl.minimum(tl.maximum(cosine, -1.0), 1.0)
            sine = tl.sqrt(1.0 - cosine * cosine)
            target_sine = tl.sqrt(1.0 - target * target)
            turns = counts & (cosine < target) & (target_sine > 0.0)
            added = length * (target * sine - cosine * target_sine)
            added = tl.where(turns, added / tl.where(turns, other_length * target_sine, 1.0), 0.0)
            changed = changed + 2.0 * added * product + (added * other_length) * (added * other_length)
            newest = tl.where(counts, target + BETA * (cosine - target), target)
            targets = tl.where(meets, newest[:, None], targets)
        else:
            conflict = (product < 0.0) & (other != index)
            added = tl.where(conflict, -product / tl.where(conflict, other_length * other_length, 1.0), 0.0)
        coefficients += tl.where(meets, added[:, None], 0.0)
        theirs = tl.load(gramian_pointer + other[:, None] * T + columns, mask=tile, other=0.0).to(tl.float64)
        products += added[:, None] * tl.where(finite, theirs, 0.0)
    tl.store(coefficients_pointer + own_pointers, coefficients, mask=tile)
    if VACCINE:
        kept = tl.load(targets_pointer + own_pointers, mask=tile, other=0.0)
        tl.store(new_targets_pointer + own_pointers, tl.where(finite, targets, kept), mask=tile)
    tl.store(failed_pointer + seed, finite == 0)
