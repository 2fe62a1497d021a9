from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from mtrl.balancers import available
from mtrl.balancers.random import Random
from mtrl.device import generators as generators_module
from mtrl.device import philox
from mtrl.device.cuda_graph import WARM_UP_CALLS, Captured
from mtrl.device.generators import Generators
from mtrl.device.triton import runs_on

CPU_COUNTS = runs_on(torch.device("cpu"))
needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
on_every_device = pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=needs_cuda)])


@on_every_device
def test_a_seed_draws_the_same_whoever_is_beside_it(device: str) -> None:
    alone = Generators([7], "policy", device).randn(3, 2)
    together = Generators([1, 7, 5], "policy", device).randn(3, 2)
    assert torch.equal(together[1], alone[0])


@on_every_device
def test_streams_of_one_seed_differ(device: str) -> None:
    assert not torch.equal(
        Generators([7], "policy", device).rand(8), Generators([7], "replay", device).rand(8)
    )


@on_every_device
def test_seeds_differ(device: str) -> None:
    first, second = Generators([0, 1], "policy", device).rand(8)
    assert not torch.equal(first, second)


@on_every_device
def test_distributions(device: str) -> None:
    uniform = Generators([0], "a", device).rand(20_000)
    normal = Generators([0], "b", device).randn(20_000)
    assert uniform.min() >= 0
    assert uniform.max() < 1
    assert abs(uniform.mean() - 0.5) < 0.01
    assert abs(normal.mean()) < 0.03
    assert abs(normal.std() - 1) < 0.03


@on_every_device
def test_state_round_trip(device: str) -> None:
    generators = Generators([0, 3], "policy", device)
    generators.rand(5)
    state = generators.state_dict()
    expected = generators.rand(5)
    other = Generators([8, 9], "else", device)
    other.load_state_dict({name: value.cpu() for name, value in state.items()})
    assert torch.equal(other.rand(5), expected)


@pytest.mark.skipif(CPU_COUNTS, reason="in Triton's interpreter a CPU draws as a GPU does")
def test_a_cpu_draws_from_generators_of_pytorch() -> None:
    """The numbers of every run on a CPU so far, and of every checkpoint."""
    generators = Generators([7, 1], "policy")
    assert len(generators.generators) == 2
    torch.testing.assert_close(
        generators.randn(2),
        torch.tensor([[1.1436472, -0.454851], [-0.0330535, 0.1134765]]),
        rtol=0,
        atol=1e-6,
    )


@pytest.mark.skipif(CPU_COUNTS, reason="in Triton's interpreter a CPU draws as a GPU does")
def test_a_state_of_another_kind_of_device_goes_on_with_other_numbers() -> None:
    """The state decides them, so that seeds and moments do not draw the same."""

    def draw(key: int, count: int) -> torch.Tensor:
        state = philox.seeded([key, key + 1], torch.device("cpu"))
        state[:, 1] = count
        generators = Generators([0, 0], "policy")
        generators.load_state_dict(dict(zip("01", state, strict=True)))
        return generators.randn(3)

    torch.testing.assert_close(draw(3, 5), draw(3, 5), rtol=0, atol=0)
    drawn = torch.cat([draw(3, 5), draw(3, 6), draw(8, 5)]).flatten()
    assert len(drawn.unique()) == len(drawn)


@needs_cuda
def test_a_captured_draw_is_the_next_of_the_eager_ones() -> None:
    eager, generators = Generators([0, 3], "policy", "cuda"), Generators([0, 3], "policy", "cuda")
    normal, uniform = torch.zeros(2, 5000, device="cuda"), torch.zeros(2, 30, 20, device="cuda").double()

    def draw() -> None:
        normal.copy_(generators.randn(5000))
        uniform.copy_(generators.rand(30, 20, dtype=torch.float64))

    captured = Captured(draw)
    for _ in range(WARM_UP_CALLS + 3):
        captured()
        assert torch.equal(normal, eager.randn(5000))
        assert torch.equal(uniform, eager.rand(30, 20, dtype=torch.float64))


@needs_cuda
def test_a_captured_draw_goes_on_from_a_loaded_state() -> None:
    generators, drawn = Generators([0, 3], "policy", "cuda"), torch.zeros(2, 7, device="cuda")
    captured = Captured(lambda: (drawn.copy_(generators.randn(7)), None)[1])
    for _ in range(WARM_UP_CALLS + 1):
        captured()
    state = generators.state_dict()
    captured()
    expected = drawn.clone()
    captured()
    generators.load_state_dict(state)
    captured()
    assert torch.equal(drawn, expected)


@pytest.mark.parametrize("name", [n for n, balancer in available().items() if issubclass(balancer, Random)])
def test_no_two_users_of_a_training_draw_the_same(
    train: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """Every generator has a stream of its own, those of critic and actor too."""
    streams: list[tuple[int, str]] = []
    entropy = generators_module._entropy

    def recorded(seed: int, stream: str) -> int:
        streams.append((seed, stream))
        return entropy(seed, stream)

    monkeypatch.setattr(generators_module, "_entropy", recorded)
    train("run", balancer=name, seeds="0,1", total_steps=11)
    assert {seed for seed, _ in streams} == {0, 1}
    assert [stream for stream, count in Counter(streams).items() if count > 1] == []
    assert len({entropy(*stream) for stream in streams}) == len(streams)
