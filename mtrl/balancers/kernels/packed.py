"""Kernels over a Jacobian [S, T, P] in blocks: its Gramian, and a weighted sum of its rows.

A block [S, E, T, n] holds E·n of the P columns. Each program takes a piece of a block that `launch` planned, a row of
`plan`: which block; where the piece begins, for task 0; the distance from one task to the next and from one seed to the
next; how many columns; and which of the P columns is the first.
"""

# Triton compiles these functions; they are not the Python that the checkers know.
# mypy: ignore-errors
# ruff: noqa: RUF005

import triton
import triton.language as tl


@triton.jit
def piece_of(blocks, plan_pointer, program):
    """The address of the piece's first number, and the other entries of its row."""
    plan_pointer += program * 6
    block = tl.load(plan_pointer)
    address = blocks[0].to(tl.int64, bitcast=True)
    for other in tl.static_range(1, len(blocks)):
        address = tl.where(block == other, blocks[other].to(tl.int64, bitcast=True), address)
    pointer = address.to(blocks[0].dtype, bitcast=True) + tl.load(plan_pointer + 1)
    per_task, per_seed = tl.load(plan_pointer + 2), tl.load(plan_pointer + 3)
    return pointer, per_task, per_seed, tl.load(plan_pointer + 4), tl.load(plan_pointer + 5)


@triton.jit
def rows_of(pointer, per_task, count, start, T: tl.constexpr, LANES: tl.constexpr, UNROLL: tl.constexpr):
    """T rows of UNROLL times LANES columns from `start` on: entries [step * T + row], zero from `count` on."""
    entries = ()
    for step in tl.static_range(UNROLL):
        column = start + step * LANES + tl.arange(0, LANES)
        for row in tl.static_range(T):
            entries = entries + (tl.load(pointer + row * per_task + column, mask=column < count, other=0.0),)
    return entries


@triton.jit
def pairs_kernel(
    blocks,
    plan_pointer,
    partial_pointer,
    SPAN: tl.constexpr,
    T: tl.constexpr,
    LANES: tl.constexpr,
    UNROLL: tl.constexpr,
):
    """Inner products of all pairs of rows, over up to SPAN columns: [S, programs, T (T + 1) / 2]. For few tasks.

    Every thread keeps the sums of all pairs over its own columns in registers: each number is read once and nothing
    is padded. UNROLL columns a thread are on their way while it adds those before them.
    """
    program, seed = tl.program_id(0), tl.program_id(1).to(tl.int64)
    pointer, per_task, per_seed, count, _first = piece_of(blocks, plan_pointer, program)
    pointer += seed * per_seed
    sums = ()
    for _ in tl.static_range(T * (T + 1) // 2):
        sums = sums + (tl.zeros([LANES], tl.float64),)
    entries = rows_of(pointer, per_task, count, 0, T, LANES, UNROLL)
    for offset in range(LANES * UNROLL, SPAN + LANES * UNROLL, LANES * UNROLL):
        following = rows_of(pointer, per_task, count, offset, T, LANES, UNROLL)
        for step in tl.static_range(UNROLL):
            rows = ()
            for row in tl.static_range(T):
                rows = rows + (entries[step * T + row].to(tl.float64),)
            updated = ()
            for i in tl.static_range(T):
                for j in tl.static_range(i + 1):
                    updated = updated + (sums[i * (i + 1) // 2 + j] + rows[i] * rows[j],)
            sums = updated
        entries = following
    partial_pointer += (seed * tl.num_programs(0) + program) * (T * (T + 1) // 2)
    for pair in tl.static_range(T * (T + 1) // 2):
        tl.store(partial_pointer + pair, tl.sum(sums[pair], axis=0))


@triton.jit
def tile_kernel(
    blocks,
    plan_pointer,
    partial_pointer,
    SPAN: tl.constexpr,
    T: tl.constexpr,
    B: tl.constexpr,
    COLUMNS: tl.constexpr,
):
    """J Jᵀ over up to SPAN columns as a padded tile, on the float64 tensor cores: [S, programs, B, B]."""
    program, seed = tl.program_id(0), tl.program_id(1).to(tl.int64)
    row = tl.arange(0, B)
    pointer, per_task, per_seed, count, _first = piece_of(blocks, plan_pointer, program)
    pointer += seed * per_seed + row[:, None] * per_task
    total = tl.zeros([B, B], tl.float64)
    for offset in range(0, SPAN, COLUMNS):
        column = offset + tl.arange(0, COLUMNS)[None, :]
        inside = (row[:, None] < T) & (column < count)
        rows = tl.load(pointer + column, mask=inside, other=0.0).to(tl.float64)
        total = tl.dot(rows, tl.trans(rows), total, input_precision="ieee", out_dtype=tl.float64)
    partial_pointer += (seed * tl.num_programs(0) + program) * B * B
    tl.store(partial_pointer + row[:, None] * B + row[None, :], total)


@triton.jit
def gramian_kernel(
    partial_pointer,
    gramian_pointer,
    TRIANGLE: tl.constexpr,
    T: tl.constexpr,
    B: tl.constexpr,
    NUM_PARTIALS: tl.constexpr,
    PARTIALS: tl.constexpr,
    PAIRS: tl.constexpr,
):
    """Adds the partial sums, always in the same order, into [S, T, T]; they are lower triangles, or tiles [B, B]."""
    seed = tl.program_id(1).to(tl.int64)
    pair = tl.program_id(0) * PAIRS + tl.arange(0, PAIRS)
    if TRIANGLE:
        count = T * (T + 1) // 2
        i = ((tl.sqrt(8.0 * pair.to(tl.float32) + 1.0) - 1.0) / 2.0 + 1e-3).to(tl.int32)
        j = pair - i * (i + 1) // 2
    else:
        count = B * B
        i = pair // B
        j = pair % B
    total = tl.zeros([PAIRS], tl.float64)
    for start in range(0, NUM_PARTIALS, PARTIALS):
        partial = start + tl.arange(0, PARTIALS)[:, None]
        place = (seed * NUM_PARTIALS + partial) * count + pair[None, :]
        total += tl.sum(
            tl.load(partial_pointer + place, mask=(partial < NUM_PARTIALS) & (pair < count), other=0.0), 0
        )
    inside = (pair < count) & (i < T) & (j < T)
    tl.store(gramian_pointer + (seed * T + i) * T + j, total, mask=inside)
    if TRIANGLE:
        tl.store(gramian_pointer + (seed * T + j) * T + i, total, mask=inside)


@triton.jit
def combine_kernel(
    blocks,
    plan_pointer,
    weights_pointer,
    direction_pointer,
    size,
    T: tl.constexpr,
    SPAN: tl.constexpr,
):
    """wᵀJ, [S, P], in the dtype of J."""
    seed = tl.program_id(1).to(tl.int64)
    pointer, per_task, per_seed, count, first = piece_of(blocks, plan_pointer, tl.program_id(0))
    column = tl.arange(0, SPAN)
    pointer += seed * per_seed + column
    total = tl.zeros([SPAN], direction_pointer.dtype.element_ty)
    for task in tl.static_range(T):
        weight = tl.load(weights_pointer + seed * T + task).to(total.dtype)
        total += weight * tl.load(pointer + task * per_task, mask=column < count, other=0.0)
    tl.store(direction_pointer + seed * size + first + column, total, mask=column < count)
