"""Kernel of the programs over the simplex and the cone: one program of the grid per system."""

# Triton compiles these functions; they are not the Python that the checkers know.
# mypy: ignore-errors

import triton
import triton.language as tl

from mtrl.balancers.kernels.dense import active_set, load_system


@triton.jit
def active_set_kernel(
    gramian_pointer,
    linear_pointer,
    lengths_pointer,
    radius_pointer,
    allowed_pointer,
    weights_pointer,
    failed_pointer,
    SIMPLEX: tl.constexpr,
    NORM: tl.constexpr,
    MASKED: tl.constexpr,
    T: tl.constexpr,
    B: tl.constexpr,
    RIDGE: tl.constexpr,
    REFINEMENTS: tl.constexpr,
    TOLERANCE: tl.constexpr,
    SMALLEST_PIVOT: tl.constexpr,
    SUM_ACCURACY: tl.constexpr,
    LIMIT: tl.constexpr,
):
    """`active_set.solve`, with a radius where NORM and allowed tasks where MASKED."""
    system = tl.program_id(0).to(tl.int64)
    index = tl.arange(0, B)
    inside = index < T
    matrix, finite = load_system(gramian_pointer + system * T * T, index, T)
    cost = tl.load(linear_pointer + system * T + index, mask=inside, other=0.0)
    finite = finite & (tl.sum(tl.where(cost - cost == 0.0, 0, 1), axis=0) == 0)
    cost = tl.where(finite, cost, 0.0)
    lengths = tl.load(lengths_pointer + system * T + index, mask=inside, other=1.0)
    scale = 1.0 / tl.where(finite, lengths, 1.0)
    allowed = inside
    if MASKED:
        allowed = inside & (tl.load(allowed_pointer + system * T + index, mask=inside, other=0) != 0)
    sum_of = scale * 0.0
    radius = tl.sum(sum_of, axis=0)
    if SIMPLEX:
        sum_of = scale
    if NORM:
        radius = tl.load(radius_pointer + system)
    y, unsolved = active_set(
        matrix * scale[:, None] * scale[None, :],
        cost * scale,
        sum_of,
        allowed,
        radius,
        index,
        SIMPLEX,
        NORM,
        RIDGE,
        REFINEMENTS,
        TOLERANCE,
        SMALLEST_PIVOT,
        LIMIT,
    )
    if SIMPLEX:
        unsolved = unsolved | (tl.abs(tl.sum(y * scale, axis=0) - 1.0) > SUM_ACCURACY)
    tl.store(weights_pointer + system * T + index, y * scale, mask=inside)
    tl.store(failed_pointer + system, tl.where(finite, unsolved, True))
