"""Kernels of the methods that solve a program over the simplex or the cone: one program of the grid per system."""

# Triton compiles these functions; they are not the Python that the checkers know.
# mypy: ignore-errors
# ruff: noqa: SIM109

import triton
import triton.language as tl

from mtrl.balancers.kernels.dense import active_set, diagonal_of, length_of, load_system, product_of, settle

#: Which method `simplex_kernel` is compiled for.
MGDA, SDMGRAD, CAGRAD, IMGRAD, CONICGRAD = (tl.constexpr(i) for i in range(5))
#: A combination of gradients this short, relative to its terms, is taken for zero.
VANISHED = tl.constexpr(1e-6)
#: ConicGrad's direction is taken for the best one if what is missing to the bound is so little of the terms.
GAP = tl.constexpr(1e-5)


@triton.jit
def unit_scale(matrix, index, T: tl.constexpr, SHORTEST: tl.constexpr):
    """The length of each gradient, floored as in `active_set.unit_scale`; 1 beyond T."""
    lengths = tl.where(index < T, tl.sqrt(tl.maximum(diagonal_of(matrix, index), 0.0)), 0.0)
    longest = tl.max(lengths, axis=0)
    lengths = tl.where(longest > 0.0, tl.maximum(lengths, SHORTEST * longest), 1.0)
    return tl.where(index < T, lengths, 1.0)


@triton.jit
def simplex_kernel(
    gramian_pointer,
    preference_pointer,
    draws_pointer,
    weights_pointer,
    failures_pointer,
    METHOD: tl.constexpr,
    PARAMETER: tl.constexpr,
    SINE: tl.constexpr,
    DIVISOR: tl.constexpr,
    SAMPLED: tl.constexpr,
    PROBABILITY: tl.constexpr,
    T: tl.constexpr,
    B: tl.constexpr,
    RIDGE: tl.constexpr,
    REFINEMENTS: tl.constexpr,
    TOLERANCE: tl.constexpr,
    SHORTEST: tl.constexpr,
    LIMIT: tl.constexpr,
):
    """MGDA, SDMGrad (`PARAMETER` is λ), CAGrad, IMGrad (c) and ConicGrad (c): see the classes."""
    seed = tl.program_id(0).to(tl.int64)
    index = tl.arange(0, B)
    inside = index < T
    matrix, finite = load_system(gramian_pointer + seed * T * T, index, T)
    preference = tl.load(preference_pointer + index, mask=inside, other=0.0).to(tl.float64)
    lengths = unit_scale(matrix, index, T, SHORTEST)
    sum_of = 1.0 / lengths
    unit = matrix * sum_of[:, None] * sum_of[None, :]
    zero = lengths * 0.0
    none = tl.sum(zero, axis=0)
    target = preference
    allowed = inside
    if SAMPLED:
        draws = tl.load(draws_pointer + seed * T + index, mask=inside, other=2.0)
        allowed = inside & ((draws < PROBABILITY) | (draws == tl.min(draws, axis=0)))
        target = tl.where(allowed, preference / PROBABILITY, 0.0)
    if METHOD == CONICGRAD:  # a task without gradient drops out
        allowed = inside & (diagonal_of(matrix, index) > 0.0)
    pull = product_of(matrix, target)
    mean_length = tl.sqrt(tl.maximum(tl.sum(pull * target, axis=0), 0.0))

    failed = finite == 0
    shortest = zero
    length = none
    solid = failed
    if METHOD == MGDA or METHOD == SDMGRAD or METHOD == IMGRAD or METHOD == CONICGRAD:
        cost = zero
        if METHOD == SDMGRAD:
            cost = PARAMETER * pull * sum_of
        y, unsolved = active_set(
            unit, cost, sum_of, allowed, none, index, True, False, RIDGE, REFINEMENTS, TOLERANCE, LIMIT
        )
        failed = failed | unsolved
        shortest = y * sum_of
        if METHOD == IMGRAD or METHOD == CONICGRAD:
            length = length_of(matrix, shortest)
            solid = length > VANISHED * tl.sum(shortest * lengths, axis=0)

    weights = shortest
    if METHOD == SDMGRAD:
        weights = (shortest + PARAMETER * target) / (1.0 + PARAMETER)
    if METHOD == CAGRAD or METHOD == IMGRAD:
        radius = PARAMETER * mean_length
        cost = pull * sum_of
        inner = radius
        if METHOD == IMGRAD:
            solid = solid & (mean_length > 0.0)
            cosine = tl.sum(shortest * pull, axis=0) / tl.where(solid, length * mean_length, 1.0)
            cosine = tl.where(solid, tl.minimum(tl.maximum(cosine, 0.0), 1.0), 0.0)
            cost = (1.0 - cosine) * cost
            inner = cosine * radius
        y, unsolved = active_set(
            unit, cost, sum_of, allowed, inner, index, True, True, RIDGE, REFINEMENTS, TOLERANCE, LIMIT
        )
        failed = failed | unsolved
        worst = y * sum_of
        length = length_of(matrix, worst)
        moves = length > VANISHED * tl.sum(worst * lengths, axis=0)
        own = tl.sqrt(tl.maximum(diagonal_of(matrix, index), 0.0))
        too_short = tl.where((worst > 0.0) & (own > 0.0) & (own < lengths), 1, 0)
        failed = failed | ((moves == 0) & (tl.max(too_short, axis=0) > 0))  # as in `CAGrad.around_mean`
        weights = (preference + tl.where(moves, radius / tl.where(moves, length, 1.0), 0.0) * worst) / DIVISOR
    counted = failed
    if METHOD == CONICGRAD:
        along = pull / tl.where(mean_length > 0.0, mean_length, 1.0)
        in_cone = solid & (tl.sum(shortest * along, axis=0) >= PARAMETER * length)
        across = matrix - along[:, None] * along[None, :]
        across_unit = across * sum_of[:, None] * sum_of[None, :]
        radius = none + SINE
        y, unsolved = active_set(
            across_unit,
            PARAMETER * along * sum_of,
            sum_of,
            allowed,
            radius,
            index,
            True,
            True,
            RIDGE,
            REFINEMENTS,
            TOLERANCE,
            LIMIT,
        )
        failed = failed | unsolved
        worst = y * sum_of
        side = length_of(across, worst)
        moves = side > VANISHED * tl.sum(worst * lengths, axis=0)
        sideways = worst * mean_length - tl.sum(worst * along, axis=0) * preference
        surface = PARAMETER * preference + SINE / tl.where(moves, side, 1.0) * sideways
        surface = tl.where(moves, surface, preference)
        weights = tl.where(in_cone, shortest * (mean_length / tl.where(solid, length, 1.0)), surface)
        # As in `ConicGrad`: whether the direction may not be the best.
        w = tl.where(in_cone, shortest, worst)
        w_along, w_length = tl.sum(w * along, axis=0), length_of(matrix, w)
        bound = tl.where(
            w_along >= PARAMETER * w_length, w_length, PARAMETER * w_along + SINE * length_of(across, w)
        )
        least = tl.min(tl.where(allowed, product_of(matrix, weights), float("inf")), axis=0)
        counted = failed | (bound * mean_length - least > GAP * mean_length * tl.sum(w * lengths, axis=0))
    settle(weights, failed, counted, preference, index, weights_pointer, failures_pointer, seed, T)


@triton.jit
def cone_kernel(
    gramian_pointer,
    preference_pointer,
    weights_pointer,
    failures_pointer,
    EACH: tl.constexpr,
    T: tl.constexpr,
    B: tl.constexpr,
    RIDGE: tl.constexpr,
    REFINEMENTS: tl.constexpr,
    TOLERANCE: tl.constexpr,
    SHORTEST: tl.constexpr,
    LIMIT: tl.constexpr,
):
    """DualProj, v = argmin of vᵀGv over v ≥ p; or, with EACH, the T vectors of UPGrad, one program each.

    With EACH, `weights_pointer` is [S, T, T] and `failures_pointer` an empty [S, T].
    """
    system = tl.program_id(0).to(tl.int64)
    index = tl.arange(0, B)
    inside = index < T
    seed = system
    if EACH:
        seed = system // T
    matrix, finite = load_system(gramian_pointer + seed * T * T, index, T)
    start = tl.load(preference_pointer + index, mask=inside, other=0.0).to(tl.float64)
    if EACH:
        start = tl.where(index == system % T, 1.0, 0.0).to(tl.float64)
    sum_of = 1.0 / unit_scale(matrix, index, T, SHORTEST)
    unit = matrix * sum_of[:, None] * sum_of[None, :]
    cost = product_of(matrix, start) * sum_of
    zero = cost * 0.0
    y, unsolved = active_set(
        unit,
        cost,
        zero,
        inside,
        tl.sum(zero, axis=0),
        index,
        False,
        False,
        RIDGE,
        REFINEMENTS,
        TOLERANCE,
        LIMIT,
    )
    failed = unsolved | (finite == 0)
    if EACH:
        tl.store(weights_pointer + system * T + index, start + y * sum_of, mask=inside)
        tl.store(failures_pointer + system, tl.where(failed, 1, 0))
    else:
        settle(start + y * sum_of, failed, failed, start, index, weights_pointer, failures_pointer, system, T)


@triton.jit
def average_kernel(
    projected_pointer,
    failed_pointer,
    preference_pointer,
    weights_pointer,
    failures_pointer,
    T: tl.constexpr,
    B: tl.constexpr,
):
    """w = Σ p_i v_i from v [S, T, T]; failed if one of the T programs is."""
    seed = tl.program_id(0).to(tl.int64)
    index = tl.arange(0, B)
    rows, columns = index[:, None], index[None, :]
    preference = tl.load(preference_pointer + index, mask=index < T, other=0.0).to(tl.float64)
    tile = seed * T * T + rows * T + columns
    projected = tl.load(projected_pointer + tile, mask=(rows < T) & (columns < T), other=0.0)
    weights = tl.sum(projected * preference[:, None], axis=0)
    failed = tl.sum(tl.load(failed_pointer + seed * T + index, mask=index < T, other=0), axis=0) > 0
    settle(weights, failed, failed, preference, index, weights_pointer, failures_pointer, seed, T)
