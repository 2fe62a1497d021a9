"""Kernel of the fair division: one program of the grid per system."""

# Triton compiles these functions; they are not the Python that the checkers know.
# mypy: ignore-errors

import triton
import triton.language as tl

from mtrl.balancers.kernels.dense import SHORTEST_GRADIENT, invert, load_system, symmetric_product_of


@triton.jit
def power(base, EXPONENT: tl.constexpr):
    """base ** EXPONENT, for a positive base."""
    if EXPONENT == 0.0:
        result = base * 0.0 + 1.0
    elif EXPONENT == 1.0:
        result = base
    elif EXPONENT == -1.0:
        result = 1.0 / base
    elif EXPONENT == 2.0:
        result = base * base
    elif EXPONENT == 0.5:
        result = tl.sqrt(base)
    else:
        result = tl.exp(tl.log(base) * EXPONENT)
    return result


@triton.jit
def fair(matrix, finite, share, index, ALPHA: tl.constexpr, T: tl.constexpr, STEPS: tl.constexpr):
    """`solvers.fair`: the weights, and whether there are none.

    By its Newton steps, u relative to y (to r for α < 1), but what takes the time is the elimination: the inverse is
    kept while steps are within 5 %, which still shrink to a hundredth each time or so, and one more is taken from where
    the others end. y is multiplied by 1 + u + u²/2α, right to second order for a task alone, or for u < 0 divided by
    1 - u + (1 - 1/2α) u², as right and never negative: no step needs a cut. In r, 1/α takes the place of α.
    """
    diagonal = index[:, None] == index[None, :]
    squares = tl.maximum(tl.sum(tl.where(diagonal, matrix, 0.0), axis=0), 0.0)
    plays = (index < T) & (squares >= SHORTEST_GRADIENT * SHORTEST_GRADIENT) & (share > 0.0)
    longest = tl.sqrt(tl.max(tl.where(plays, squares, 0.0), axis=0))
    longest = tl.where(longest > 0.0, longest, 1.0)
    scale = tl.where(plays, 1.0 / tl.sqrt(tl.where(plays, squares, 1.0)), 0.0)
    matrix = tl.where(diagonal, 1.0, matrix * scale[:, None] * scale[None, :])
    scale = tl.where(plays, longest * scale, 1.0)
    constant = power(tl.where(plays, share, 1.0), 1.0 / ALPHA) * power(scale, 1.0 - 1.0 / ALPHA)

    y = power(constant, ALPHA / (1.0 + ALPHA))
    curvature = tl.sum(tl.where(index < T, symmetric_product_of(matrix, y) * y, 0.0), axis=0)
    value = tl.sum(tl.where(index < T, constant * power(y, 1.0 - 1.0 / ALPHA), 0.0), axis=0)
    y = y * power(value / tl.maximum(curvature, 1e-12), ALPHA / (1.0 + ALPHA))
    y = tl.where(plays, y, 1.0)

    inverse = tl.zeros_like(matrix)
    moved = plays
    running = tl.sum(tl.where(index == 0, 1, 0), axis=0)
    count = running - 1
    while (running > 0) & (count < STEPS):
        reciprocal = 1.0 / y
        right = constant * power(reciprocal, 1.0 / ALPHA)
        left = symmetric_product_of(matrix, y)
        error = tl.abs(left - right)
        resolvable = error > 1e-15 * (right + symmetric_product_of(tl.abs(matrix), y))
        running = tl.sum(tl.where(plays & resolvable & (error > 1e-10 * right), 1, 0), axis=0)
        if (running > 0) & (tl.sum(tl.where(moved, 1, 0), axis=0) > 0):
            curvatures = right * reciprocal * (1.0 / ALPHA)
            inverse = invert(matrix + tl.where(diagonal, curvatures[:, None], 0.0), index, T)
        step = tl.where(plays, symmetric_product_of(inverse, right - left) * reciprocal, 0.0)
        if ALPHA >= 1.0:
            size = tl.abs(step)
            bend = tl.where(step > 0.0, 0.5 / ALPHA, 1.0 - 0.5 / ALPHA)
        else:  # r falls where y rises
            size = tl.abs(step) * (1.0 / ALPHA)
            bend = tl.where(step > 0.0, 1.0 - 0.5 * ALPHA, 0.5 * ALPHA)
        factor = 1.0 + size * (1.0 + size * bend)
        factor = tl.where(step > 0.0, factor, 1.0 / factor)
        if ALPHA < 1.0:
            factor = power(factor, ALPHA)
        y = y * factor
        moved = size > 0.05
        count += 1
    ratio = symmetric_product_of(matrix, y) / (constant * power(1.0 / y, 1.0 / ALPHA))
    solved = tl.sum(tl.where(plays & ((tl.abs(ratio - 1.0) < 1e-6) == 0), 1, 0), axis=0) == 0
    weights = tl.where(plays, y * scale, 0.0) * power(longest, -2.0 * ALPHA / (1.0 + ALPHA))
    return weights, (solved & finite) == 0


@triton.jit
def fair_kernel(
    gramian_pointer,
    share_pointer,
    weights_pointer,
    failed_pointer,
    ALPHA: tl.constexpr,
    T: tl.constexpr,
    B: tl.constexpr,
    STEPS: tl.constexpr,
):
    """`solvers.fair`."""
    seed = tl.program_id(0).to(tl.int64)
    index = tl.arange(0, B)
    matrix, finite = load_system(gramian_pointer + seed * T * T, index, T)
    share = tl.load(share_pointer + seed * T + index, mask=index < T, other=0.0)
    weights, failed = fair(matrix, finite, share, index, ALPHA, T, STEPS)
    tl.store(weights_pointer + seed * T + index, weights, mask=index < T)
    tl.store(failed_pointer + seed, failed)
