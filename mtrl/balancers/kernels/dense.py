"""Device functions on one small float64 system: the active-set method, an inverse, eigenvectors.

A system is a tile [B, B] with B a power of two >= T; rows and columns from T on are those of the identity. They restate
`mtrl.balancers.active_set` for one program, which runs until its system is solved.
"""

# Triton compiles these functions; they are not the Python that the checkers know.
# mypy: ignore-errors
# ruff: noqa: SIM108

import triton
import triton.language as tl

#: Float32's smallest normal number: see `solvers.fair`.
SHORTEST_GRADIENT = tl.constexpr(1.1754943508222875e-38)


@triton.jit
def at(vector, index, position):
    """The entry of a vector [B] at a position, a scalar."""
    return tl.sum(tl.where(index == position, vector, 0.0), axis=0)


@triton.jit
def load_system(pointer, index, T: tl.constexpr):
    """One matrix [T, T] as a float64 tile, the identity if it is not finite, and whether it is finite."""
    rows, columns = index[:, None], index[None, :]
    matrix = tl.load(pointer + rows * T + columns, mask=(rows < T) & (columns < T), other=0.0).to(tl.float64)
    finite = tl.sum(tl.sum(tl.where(matrix - matrix == 0.0, 0, 1), axis=1), axis=0) == 0
    identity = tl.where(rows == columns, 1.0, 0.0).to(tl.float64)
    size = tl.where(finite, T, 0)
    matrix = tl.where((rows < size) & (columns < size), matrix, identity)
    return matrix, finite


@triton.jit
def product_of(matrix, vector):
    """A x."""
    return tl.sum(matrix * vector[None, :], axis=1)


@triton.jit
def diagonal_of(matrix, index):
    return tl.sum(tl.where(index[:, None] == index[None, :], matrix, 0.0), axis=1)


@triton.jit
def symmetric_product_of(matrix, vector):
    """A x for a symmetric A: sums down the columns, of which more is in one thread than of those along the rows."""
    return tl.sum(matrix * vector[:, None], axis=0)


@triton.jit
def invert(matrix, index, T: tl.constexpr):
    """A⁻¹ of a positive definite A, by Gauss-Jordan elimination in its place; -1 from T on.

    With the signs of the sweep operator (Beaton 1964) what is eliminated and what is left are symmetric together: a
    column is its row, and only rows are summed over threads.
    """
    for k in range(T):
        own = index == k
        row = tl.sum(tl.where(own[:, None], matrix, 0.0), axis=0)
        inverse = 1.0 / tl.gather(row, tl.zeros([1], tl.int32) + k, axis=0)
        scaled = row * inverse
        matrix = tl.where(own[None, :], scaled[:, None], matrix - scaled[:, None] * row[None, :])
        matrix = tl.where(own[:, None], tl.where(own, -inverse, scaled)[None, :], matrix)
    return -matrix


@triton.jit
def factor(matrix, left, lengths, index, T: tl.constexpr, TOLERANCE: tl.constexpr):
    """Lᵀ of C = LLᵀ by Cholesky's factorisation with pivoting, and the rank, beyond which its rows are zero.

    It ends where no diagonal entry of what is left is above TOLERANCE. Until then the pivot is that of DCD with D the
    lengths, so that the long rows of LᵀD come first: of ten tasks as uneven as MT10's a sweep less orthogonalises them.

    Args:
        left: the diagonal of C.
    """
    rows = tl.zeros_like(matrix)
    rank = tl.sum(index * 0, axis=0)
    for k in range(T):
        pivot = tl.argmax(tl.where(left > TOLERANCE, left * lengths * lengths, -1.0), axis=0)
        value = at(left, index, pivot)
        counts = value > TOLERANCE
        row = tl.sum(tl.where((index == pivot)[:, None], matrix, 0.0), axis=0)
        row = tl.where(index == pivot, value, tl.where(left > 0.0, row, 0.0))
        row = row * tl.where(counts, 1.0 / tl.sqrt(tl.where(counts, value, 1.0)), 0.0)
        rows = tl.where((index == k)[:, None], row[None, :], rows)
        matrix = matrix - row[:, None] * row[None, :]
        left = tl.where(index == pivot, 0.0, tl.maximum(left - row * row, 0.0))
        rank += tl.where(counts, 1, 0)
    return rows, rank


@triton.jit
def orthogonalise(rows, index, SIZE: tl.constexpr, SWEEPS: tl.constexpr, NOISE: tl.constexpr):
    """Rotates the rows of a tile until they are orthogonal (one-sided Jacobi), and whether it did not converge.

    From a symmetric matrix VΛVᵀ with entries of order 1 the rows become λ_i v_iᵀ; rows whose square is below NOISE are
    left as they are, the rounding error of a zero. From Lᵀ D, where LLᵀ = C has a diagonal of ones and D is the lengths
    of gradients up to 1, they become the √λ_i v_iᵀ of DCD, all to relative accuracy (see `solvers.gramian_eigen`);
    NOISE is zero. Rounds of SIZE / 2 disjoint pairs, paired as in a round-robin
    tournament: in round r, i meets j with i + j = 2 r modulo SIZE - 1, and r meets SIZE - 1. SIZE is even. A sweep
    that saw no cosine above 1e-8 leaves none above the rounding error.

    The angle is float32, as float64 divisions and roots take most of the time: it need not be exact, since any rotation
    keeps the rows' system, and a cosine becomes a millionth of what it was. The rotation itself is exact to float64.
    """
    slanted = tl.sum(tl.where(index == 0, 1, 0), axis=0)
    sweep = slanted - 1
    while (slanted > 0) & (sweep < SWEEPS):
        seen = index * 0
        for r in range(SIZE - 1):
            partner = (2 * r - index + 2 * SIZE - 2) % (SIZE - 1)
            partner = tl.where(index == SIZE - 1, r, tl.where(index == r, SIZE - 1, partner))
            partner = tl.where(index < SIZE, partner, index)
            others = tl.gather(rows, tl.broadcast_to(partner[:, None], rows.shape), axis=0)
            own = tl.sum(rows * rows, axis=1)
            # Not summed anew: where both are equal, a last bit would have the pair turn in the same direction.
            other = tl.gather(own, partner, axis=0)
            inner = tl.sum(rows * others, axis=1)
            square = inner * inner
            turns = (square > 1e-32 * (own * other)) & (tl.minimum(own, other) > NOISE) & (index < SIZE)
            seen = seen | tl.where(turns & (square > 1e-16 * (own * other)), 1, 0)
            # 1e34 keeps products of lengths from 1e-28 to 64 within float32.
            ratio = (1e34 * (other - own)).to(tl.float32) / tl.where(turns, 2e34 * inner, 1.0).to(tl.float32)
            size = tl.minimum(tl.abs(ratio), 1e36)
            root = tl.where(size > 1e9, size, tl.sqrt(1.0 + size * size))
            sign = tl.where((ratio > 0.0) | ((ratio == 0.0) & (index < partner)), 1.0, -1.0)
            tangent = tl.where(turns, sign / (size + root), 0.0).to(tl.float64)
            secant = 1.0 + tangent * tangent  # squared
            scale = (1.0 / tl.sqrt(secant.to(tl.float32))).to(tl.float64)
            scale = scale * (1.5 - 0.5 * secant * scale * scale)  # Newton's method, to float64
            scale = scale * (1.5 - 0.5 * secant * scale * scale)
            rows = scale[:, None] * (rows - tangent[:, None] * others)
        slanted = tl.max(seen, axis=0)
        sweep += 1
    return rows, slanted > 0


@triton.jit
def exchange(tableau, first, second, index, pivot):
    """Gauss-Jordan exchange of row and column `pivot` of a tile and of two columns beside it."""
    rows, columns = index[:, None] == pivot, index[None, :] == pivot
    row = tl.sum(tl.where(rows, tableau, 0.0), axis=0)
    column = tl.sum(tl.where(columns, tableau, 0.0), axis=1)
    inverse = 1.0 / at(column, index, pivot)
    own = index == pivot
    first_pivot, second_pivot = at(first, index, pivot) * inverse, at(second, index, pivot) * inverse
    first = tl.where(own, first_pivot, first - column * first_pivot)
    second = tl.where(own, second_pivot, second - column * second_pivot)
    row, column = row * inverse, column[:, None]
    inside = tl.where(rows, row[None, :], tableau - column * row[None, :])
    crossing = tl.where(rows, inverse, -column * inverse)
    return tl.where(columns, crossing, inside), first, second


@triton.jit
def active_set(
    matrix,
    cost,
    sum_of,
    allowed,
    radius,
    index,
    SIMPLEX: tl.constexpr,
    NORM: tl.constexpr,
    RIDGE: tl.constexpr,
    REFINEMENTS: tl.constexpr,
    TOLERANCE: tl.constexpr,
    SMALLEST_PIVOT: tl.constexpr,
    LIMIT: tl.constexpr,
):
    """The program of `active_set.py` in scaled weights y, and whether it did not converge."""
    diagonal = index[:, None] == index[None, :]
    infinity = float("inf")
    tableau = matrix + tl.where(diagonal, RIDGE, 0.0)
    first, second = sum_of, cost
    y = cost * 0.0
    support = allowed & (index < 0)
    mu = tl.sum(y, axis=0) + 1.0
    nu = tl.sum(y, axis=0)
    if SIMPLEX:
        square = tl.sum(tl.where(diagonal, tableau, 0.0), axis=1) / (sum_of * sum_of)
        if NORM:
            value = cost / sum_of + radius * tl.sqrt(square)
        else:
            value = cost / sum_of + 0.5 * square
        start = tl.argmin(tl.where(allowed, value, infinity), axis=0)
        support = index == start
        y = tl.where(support, 1.0 / sum_of, 0.0)
        tableau, first, second = exchange(tableau, first, second, index, start)

    running = tl.sum(tl.where(index == 0, 1, 0), axis=0)
    count = running - 1
    worn = running - 1
    while (running > 0) & (count < LIMIT):
        # The minimiser with this support; see `_direction` there.
        toward_sum = tl.where(support, first, 0.0)
        toward_cost = tl.where(support, second, 0.0)
        ray = mu < 0.0
        if SIMPLEX:
            aa = tl.sum(toward_sum * sum_of, axis=0)
            aq = tl.sum(toward_sum * cost, axis=0)
            if NORM:
                qq = tl.sum(toward_cost * cost, axis=0)
                excess = radius * radius - tl.maximum(qq - aq * aq / aa, 0.0)
                ray = excess <= 0.0
                mu = tl.where(ray, 1.0, 1.0 / tl.sqrt(aa * tl.where(ray, 1.0, excess)))
            nu = (tl.where(ray, 0.0, 1.0) + mu * aq) / aa
            several = tl.sum(tl.where(support, 1, 0), axis=0) > 1
            target = nu * toward_sum - mu * toward_cost
            step = tl.where(ray, tl.where(several, target, 0.0), target - y)
        else:
            step = -toward_cost - y
        shrinks = support & (step < 0.0)
        until_zero = tl.where(shrinks, -y / tl.where(shrinks, step, 1.0), infinity)
        length, leaving = tl.min(until_zero, axis=0, return_indices=True)
        blocked = length < tl.where(ray, infinity, 1.0)
        y = y + tl.where(blocked, length, tl.where(ray, 0.0, 1.0)) * step
        y = tl.where(index == tl.where(blocked, leaving, -1), 0.0, y)

        reduced = mu * second - nu * first
        size = tl.sum(tl.abs(y), axis=0) + mu * tl.abs(cost) + tl.abs(nu) * sum_of
        enters = allowed & (support == 0) & (size > 0.0)
        reduced = tl.where(enters, reduced / tl.where(enters, size, 1.0), infinity)
        lowest, entering = tl.min(reduced, axis=0, return_indices=True)
        if blocked | (lowest < -TOLERANCE):
            pivot = tl.where(blocked, leaving, entering)
            worn = tl.where(at(diagonal_of(tableau, index), index, pivot) < SMALLEST_PIVOT, 1, worn)
            tableau, first, second = exchange(tableau, first, second, index, pivot)
            support = support ^ (index == pivot)
        else:
            # Judged again by a tableau made anew, where rounding may show in this one.
            if worn > 0:
                # In terms of `worn`, which is 1: a constant tile would be kept beside the others in every iteration.
                tableau, first, second = (
                    matrix + tl.where(diagonal, RIDGE * worn.to(tl.float64), 0.0),
                    sum_of,
                    cost,
                )
                for task in range(index.shape[0]):
                    if tl.sum(tl.where((index == task) & support, 1, 0), axis=0) > 0:
                        tableau, first, second = exchange(tableau, first, second, index, task)
            running = worn
            worn = worn * 0
        count += 1

    # Refinement, with the system without the ridge.
    inside = tl.where(support, first, 0.0)
    for _ in tl.static_range(REFINEMENTS):
        residual = tl.where(support, mu * cost + product_of(matrix, y) - nu * sum_of, 0.0)
        refined = tl.where(support, y - product_of(tableau, residual), 0.0)
        if SIMPLEX:
            missing = 1.0 - tl.sum(refined * sum_of, axis=0)
            refined = refined + inside * (missing / tl.sum(inside * sum_of, axis=0))
        stays = tl.min(refined, axis=0) >= -TOLERANCE * tl.sum(y, axis=0)
        y = tl.where(stays, refined, y)
    return tl.maximum(y, 0.0), running > 0
