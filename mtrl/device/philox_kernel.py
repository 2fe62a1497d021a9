"""The kernel that draws the random numbers of `mtrl.device.philox`."""

# Triton compiles this function; it is not the Python that the checkers know.
# mypy: ignore-errors
# ruff: noqa: RUF005

import triton
import triton.language as tl


@triton.jit
def draw_kernel(state_pointer, drawn_pointer, size, NORMAL: tl.constexpr, LANES: tl.constexpr):
    """Fills [S, size] from the states [S, 3]; LANES counters a program, each for two float64 or four float32."""
    DOUBLE: tl.constexpr = drawn_pointer.dtype.element_ty == tl.float64
    EACH: tl.constexpr = 2 if DOUBLE else 4
    program, seed = tl.program_id(0), tl.program_id(1).to(tl.int64)
    state_pointer += 3 * seed
    drawn_pointer += seed * size
    key, calls = tl.load(state_pointer), tl.load(state_pointer + 1)
    lane = tl.arange(0, LANES)
    counter = program * LANES + lane
    zero = counter * 0
    low, high = zero + calls.to(tl.int32), zero + (calls >> 32).to(tl.int32)
    w0, w1, w2, w3 = tl.philox(key, counter, low, high, zero)
    # The numbers that float32 and float64 hold at equal distances, from zero to one less a step.
    if DOUBLE:
        STEP: tl.constexpr = 2.0**-53
        first = ((w0 >> 5).to(tl.uint64) << 26) | (w1 >> 6).to(tl.uint64)
        second = ((w2 >> 5).to(tl.uint64) << 26) | (w3 >> 6).to(tl.uint64)
        words = (first, second)
    else:
        STEP: tl.constexpr = 2.0**-24
        words = (w0 >> 8, w1 >> 8, w2 >> 8, w3 >> 8)
    numbers = ()
    for word in tl.static_range(EACH):
        numbers = numbers + (words[word].to(drawn_pointer.dtype.element_ty) * STEP,)
    if NORMAL:
        normal = ()
        for pair in tl.static_range(EACH // 2):
            # A logarithm of one that is rounded up must not become the root of a negative number.
            logarithm = tl.minimum(tl.log(numbers[2 * pair] + STEP), 0.0)
            radius, angle = tl.sqrt(-2.0 * logarithm), 6.283185307179586 * numbers[2 * pair + 1]
            normal = normal + (radius * tl.cos(angle), radius * tl.sin(angle))
        numbers = normal
    for number in tl.static_range(EACH):
        position = (program * EACH + number).to(tl.int64) * LANES + lane
        tl.store(drawn_pointer + position, numbers[number], mask=position < size)
    # The last program of a seed, when all have read the number of calls, counts this one.
    tl.debug_barrier()
    if tl.atomic_add(state_pointer + 2, 1) == tl.num_programs(0) - 1:
        tl.store(state_pointer + 1, calls + 1)
        tl.store(state_pointer + 2, 0)
