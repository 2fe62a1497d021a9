"""The kernel's numbers, against Philox in Python, whose numbers are those that its authors publish.

Run it without a GPU in Triton's interpreter: TRITON_INTERPRET=1 pytest -n 0 tests/mtrl/device/test_philox.py
"""

import math
from collections.abc import Sequence

import pytest
import torch
from scipy import stats
from torch import Tensor

from mtrl.device import philox
from mtrl.device.triton import runs_on

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
needs_kernel = pytest.mark.skipif(not runs_on(DEVICE), reason="needs Triton, and a GPU or its interpreter")
LANES = 256
WORD = 0xFFFFFFFF
KEYS = (0x9E3779B97F4A7C15, 3)


def words(counter: Sequence[int], key: int) -> list[int]:
    """Philox 4x32-10 of Salmon et al. 2011."""
    a, b, c, d = counter
    low, high = key & WORD, key >> 32
    for _ in range(10):
        left, right = 0xD2511F53 * a, 0xCD9E8D57 * c
        a, b, c, d = right >> 32 ^ b ^ low, right & WORD, left >> 32 ^ d ^ high, left & WORD
        low, high = low + 0x9E3779B9 & WORD, high + 0xBB67AE85 & WORD
    return [a, b, c, d]


@pytest.mark.parametrize(
    ("counter", "key", "expected"),
    [
        ([0] * 4, 0, "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
        ([WORD] * 4, WORD << 32 | WORD, "408f276d 41c83b0e a20bc7c6 6d5451fd"),
        (
            [0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344],
            0x299F31D0 << 32 | 0xA4093822,
            "d16cfe09 94fdcceb 5001e420 24126ea1",
        ),
    ],
)
def test_the_reference_gives_the_known_answers_of_random123(
    counter: list[int], key: int, expected: str
) -> None:
    assert " ".join(f"{word:08x}" for word in words(counter, key)) == expected


def state_after(calls: int, keys: Sequence[int] = KEYS) -> Tensor:
    state = philox.seeded(keys, DEVICE)
    state[:, 1] = calls
    return state


def reference(key: int, calls: int, size: int, dtype: torch.dtype) -> Tensor:
    """Uniform numbers, [size]: every LANES counters fill LANES places with their first number, then their second."""
    each = 4 if dtype == torch.float32 else 2
    drawn = []
    for start in range(0, size, each * LANES):
        rows = []
        for counter in range(start // each, start // each + LANES):
            w = words([counter, calls & WORD, calls >> 32, 0], key)
            if dtype == torch.float32:
                rows.append([word >> 8 for word in w])
            else:
                rows.append([w[0] >> 5 << 26 | w[1] >> 6, w[2] >> 5 << 26 | w[3] >> 6])
        drawn += [row[number] for number in range(each) for row in rows]
    return torch.tensor(drawn[:size], dtype=torch.float64) * 2.0 ** (-24 if dtype == torch.float32 else -53)


@needs_kernel
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("calls", [0, 7, 5 << 32 | 0xFFFFFFF0])
def test_uniform_numbers_are_those_of_the_reference(dtype: torch.dtype, calls: int) -> None:
    found = philox.rand(state_after(calls), (3, 411), dtype)
    assert found.dtype == dtype
    for numbers, key in zip(found.cpu().double(), KEYS, strict=True):
        assert torch.equal(numbers.flatten(), reference(key, calls, 3 * 411, dtype))


@needs_kernel
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_normal_numbers_are_the_uniform_ones_after_box_and_muller(dtype: torch.dtype) -> None:
    found = philox.randn(state_after(2), (1500,), dtype)
    each, step = (4, 2.0**-24) if dtype == torch.float32 else (2, 2.0**-53)
    whole = -(-1500 // (each * LANES)) * each * LANES
    for numbers, key in zip(found.cpu().double(), KEYS, strict=True):
        pairs = reference(key, 2, whole, dtype).view(-1, 2, LANES)
        radius, angle = (-2 * (pairs[:, 0] + step).log()).sqrt(), 2 * math.pi * pairs[:, 1]
        expected = torch.stack([radius * angle.cos(), radius * angle.sin()], dim=1).flatten()[:1500]
        tolerance = 1e-5 if dtype == torch.float32 else 1e-13
        torch.testing.assert_close(numbers, expected, rtol=0, atol=tolerance)


@needs_kernel
def test_a_seed_draws_the_same_whoever_is_beside_it() -> None:
    together, alone = philox.seeded((1, *KEYS, 2), DEVICE), philox.seeded(KEYS[:1], DEVICE)
    for size in (1, 700, 2100):
        assert torch.equal(
            philox.randn(together, (size,), torch.float32)[1],
            philox.randn(alone, (size,), torch.float32)[0],
        )


@needs_kernel
def test_every_draw_is_counted_and_a_restored_state_draws_it_again() -> None:
    state = philox.seeded(KEYS, DEVICE)
    first = philox.rand(state, (2500,), torch.float64)
    saved = state.clone()
    assert saved[:, 1:].tolist() == [[1, 0], [1, 0]]
    second = philox.rand(state, (2500,), torch.float64)
    assert torch.cat([first, second]).unique().numel() == 4 * 2500
    assert torch.equal(philox.rand(saved, (2500,), torch.float64), second)


@needs_kernel
@pytest.mark.parametrize("key", [0, 1, 1 << 63, 1 << 32])
def test_every_bit_of_a_key_counts(key: int) -> None:
    found = philox.rand(philox.seeded((key, key ^ 1 << 31, key ^ 1 << 62), DEVICE), (8,), torch.float64)
    assert found.unique().numel() == 24


@needs_kernel
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_distributions(dtype: torch.dtype) -> None:
    """Both seeds' draws of one call and of three more, together against the distribution function."""
    state = philox.seeded(KEYS, DEVICE)
    uniform = torch.stack([philox.rand(state, (8000,), dtype) for _ in range(4)]).cpu()
    normal = torch.stack([philox.randn(state, (8000,), dtype) for _ in range(4)]).cpu()
    assert uniform.min() >= 0
    assert uniform.max() < 1
    assert normal.isfinite().all()
    assert stats.kstest(uniform.flatten(), stats.uniform.cdf).pvalue > 1e-3
    assert stats.kstest(normal.flatten(), stats.norm.cdf).pvalue > 1e-3
    count = normal.numel()
    assert abs(normal.mean()) < 4 / count**0.5
    assert abs(normal.var() - 1) < 4 * (2 / count) ** 0.5
    assert abs((normal**4).mean() - 3) < 4 * (96 / count) ** 0.5
    # Neither the two numbers of a pair nor two draws nor two seeds know of each other.
    for other in (normal.roll(LANES, dims=-1), normal.roll(1, dims=0), normal.roll(1, dims=1)):
        assert abs((normal * other).mean()) < 5 / count**0.5


@pytest.mark.skipif(DEVICE.type != "cuda", reason="needs a CUDA device")
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_hundred_million_normal_numbers_are_finite(dtype: torch.dtype) -> None:
    assert philox.randn(philox.seeded(KEYS, DEVICE), (50_000_000,), dtype).isfinite().all()
