"""bfloat16 in the networks' passes: near float32, and float32 everywhere else."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest
import torch
from torch import Tensor

from agents.networks import Architecture, MultiHead, Shared
from agents.sac import SAC, Batch
from mtrl.balancers import LS, MGDAUB, AlignedMTL, Balancer

MakeAgent, MakeBatch = Callable[..., SAC], Callable[..., Batch]


def pair(agent: MakeAgent, *arguments: Any) -> tuple[SAC, SAC]:
    full, half = agent(*arguments), agent(*arguments)
    half.precision = "bfloat16"
    return full, half


def tensors(state: Mapping[str, Any]) -> Iterator[Tensor]:
    for value in state.values():
        if isinstance(value, Tensor):
            yield value
        elif isinstance(value, Mapping):
            yield from tensors(value)


def assert_near(actual: Tensor, expected: Tensor, tolerance: float) -> None:
    assert actual.dtype == expected.dtype
    assert not torch.equal(actual, expected)
    assert (actual - expected).norm() <= tolerance * expected.norm()


def assert_near_float32(full: SAC, half: SAC, batch: MakeBatch) -> None:
    """Losses, and gradients by the first moments after one step; bfloat16 has eight bits, 0.4 %, an operation.

    The actor's gradient comes through the smaller of two critics, which is the other one where they are close.
    """
    data = Batch(
        *(torch.cat(parts, dim=2) for parts in zip(*(batch(number=i) for i in range(20)), strict=True))
    )
    expected, actual = full.update(data), half.update(data)
    for name in ("critic/loss", "actor/loss", "critic/q_value"):
        assert actual[name].dtype == torch.float32
        assert (actual[name] - expected[name]).abs().max() <= 0.02 * (expected[name].abs().max() + 1)
    for name, tolerance in (("critic_optimizer", 0.05), ("actor_optimizer", 0.3)):
        one, other = getattr(full, name), getattr(half, name)
        for adam in ("adam_shared", "adam_owned"):
            wanted = getattr(one, adam).first_moment
            if wanted.numel():
                assert_near(getattr(other, adam).first_moment, wanted, tolerance)
    assert {t.dtype for t in tensors(half.state_dict())} == {t.dtype for t in tensors(full.state_dict())}


def test_every_network_is_near_float32(
    architecture: Architecture, agent: MakeAgent, batch: MakeBatch
) -> None:
    assert_near_float32(*pair(agent, architecture), batch)


def test_every_sharing_network_is_near_float32_with_task_gradients(
    sharing_architecture: Architecture, agent: MakeAgent, batch: MakeBatch
) -> None:
    assert_near_float32(*pair(agent, sharing_architecture, LS()), batch)


@pytest.mark.parametrize("balancer", [AlignedMTL(), MGDAUB()], ids=lambda b: type(b).__name__)
def test_the_gramian_of_half_precise_gradients_is_float64(
    agent: MakeAgent, batch: MakeBatch, balancer: Balancer
) -> None:
    full, half = pair(agent, MultiHead(width=12, head_width=8), balancer)
    expected, actual = full.update(batch()), half.update(batch())
    for name in ("critic/gramian", "actor/gramian"):
        assert actual[name].dtype == torch.float64
        assert_near(actual[name], expected[name], 0.1)
    for name in ("critic/weights", "actor/weights"):
        assert actual[name].dtype == torch.float32


def test_acting_is_float32(agent: MakeAgent, batch: MakeBatch) -> None:
    full, half = pair(agent, Shared(width=12))
    observation = batch().observation
    assert torch.equal(half.act(observation, deterministic=True), full.act(observation, deterministic=True))


def test_it_repeats_and_goes_on_bit_by_bit(agent: MakeAgent, batch: MakeBatch) -> None:
    _, one = pair(agent, MultiHead(width=12, head_width=8), AlignedMTL())
    _, other = pair(agent, MultiHead(width=12, head_width=8), AlignedMTL())
    for i in range(3):
        one.update(batch(number=i))
        other.update(batch(number=i))
    _, restored = pair(agent, MultiHead(width=12, head_width=8), AlignedMTL())
    restored.load_state_dict(one.state_dict())
    for i in range(3, 6):
        metrics, *others = (sac.update(batch(number=i)) for sac in (one, other, restored))
        for name, value in metrics.items():
            assert all(torch.equal(m[name], value) for m in others), name
