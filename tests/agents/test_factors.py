"""Task gradients by factors: the updates are those with the gradients themselves."""

from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from agents.layers import Linear
from agents.networks import Architecture, MultiHead, Residual, Shared
from agents.networks.shared import SharedNetwork
from agents.sac import SAC, Batch
from mtrl.balancers import LS, AlignedMTL, Balancer, PCGrad, available
from mtrl.gradients import FactoredWeight, factors_pay
from tests.agents.conftest import BATCH_SIZE, MODERN

MakeAgent, MakeBatch = Callable[..., SAC], Callable[..., Batch]


def factored_names(sac: SAC) -> tuple[set[str], set[str]]:
    """Of critics and actor."""
    critic, actor = (
        {name for name, leaf in optimizer.shared_leaves.items() if isinstance(leaf, FactoredWeight)}
        for optimizer in (sac.critic_optimizer, sac.actor_optimizer)
    )
    return critic, actor


def pair(agent: MakeAgent, *arguments: Any, **options: Any) -> tuple[SAC, SAC]:
    """With gradients and with factors."""
    return agent(*arguments, **options), agent(*arguments, batch_size=BATCH_SIZE, **options)


def assert_same_updates(
    agents: Sequence[SAC], batch: MakeBatch, tolerance: float, dtype: torch.dtype = torch.float32
) -> None:
    """Relative to what is largest in each metric and vector of each seed."""

    def assert_near(found: Tensor, expected: Tensor, what: str) -> None:
        error, size = (x.reshape(len(x), -1).abs().amax(-1) for x in (found - expected, expected))
        assert torch.where(size.isnan(), found.isnan().any(), error <= tolerance * size).all(), what

    for number in range(3):
        expected, found = (sac.update(batch(number=number, dtype=dtype)) for sac in agents)
        for name in expected:
            assert_near(found[name], expected[name], name)
    for name, vector in agents[0].vectors.items():
        assert_near(agents[1].vectors[name].shared, vector.shared, name)


@pytest.mark.usefixtures("double", "factors_pay")
def test_every_network(sharing_architecture: Architecture, agent: MakeAgent, batch: MakeBatch) -> None:
    """In float64: two seeds, two critics, heads and embeddings that tasks own, encoders."""
    gradients, factors = pair(agent, sharing_architecture, PCGrad(), max_grad_norm=1.0)
    assert factored_names(gradients) == (set(), set())
    for names, optimizer in zip(
        factored_names(factors), (factors.critic_optimizer, factors.actor_optimizer), strict=True
    ):
        weights = {n for n in optimizer.parameters.shared_names if n.endswith("weight") and "norm" not in n}
        composed = type(sharing_architecture).__name__ == "Paco"  # no weight is a parameter
        assert names == (set() if composed else weights)
    assert_same_updates((gradients, factors), batch, 1e-5, torch.float64)


@pytest.mark.usefixtures("factors_pay")
@pytest.mark.parametrize("balancer", [LS(), AlignedMTL(), PCGrad()], ids=lambda b: type(b).__name__)
@pytest.mark.parametrize("critic", ["squared", "categorical"])
def test_the_modern_agent(agent: MakeAgent, batch: MakeBatch, balancer: Balancer, critic: str) -> None:
    architecture = Residual(width=12, depth=1, embedding_width=5)
    both = pair(agent, architecture, balancer, **{**MODERN, "critic": critic})
    assert all(factored_names(both[1]))
    assert_same_updates(both, batch, 1e-4)


@pytest.mark.usefixtures("factors_pay")
@pytest.mark.parametrize("name", sorted(available()))
def test_every_balancer(name: str, agent: MakeAgent, batch: MakeBatch) -> None:
    balancer = available()[name]()
    balance_actor = not balancer.requires_positive_losses
    both = pair(agent, MultiHead(width=12, head_width=8), balancer, balance_actor=balance_actor)
    assert any(factored_names(both[1])) == (name not in ("GradDrop", "AdaTask"))
    assert_same_updates(both, batch, 1e-3)


@pytest.mark.usefixtures("factors_pay")
def test_half_precision_keeps_the_sums_of_samples_in_float32(agent: MakeAgent, batch: MakeBatch) -> None:
    """Only what the passes compute is bfloat16, of which task gradients are sums: factors come closer to float32."""
    both = pair(agent, MultiHead(width=12, head_width=8), AlignedMTL())
    for sac in both:
        sac.precision = "bfloat16"
    expected, found = (sac.update(batch()) for sac in both)
    for network in ("critic", "actor"):
        gramian = expected[f"{network}/gramian"]
        assert found[f"{network}/gramian"].dtype == torch.float64
        assert found[f"{network}/weights"].dtype == torch.float32
        assert (found[f"{network}/gramian"] - gramian).norm() < 0.02 * gramian.norm()
    assert both[1].vectors["critic"].shared.dtype == torch.float32


class TwiceNetwork(SharedNetwork):
    def __init__(self, architecture: Shared, *arguments: Any) -> None:
        super().__init__(architecture, *arguments)
        self.again = Linear(arguments[0], architecture.width, architecture.width)

    def features(self, x: Tensor) -> Tensor:
        x = super().features(x)
        for _ in range(2):
            x = nn.functional.relu(self.again(x))
        return x


class Twice(Shared):
    """A user's own architecture with a layer that is used twice."""

    def build(self, *arguments: Any) -> TwiceNetwork:
        return TwiceNetwork(self, *arguments)


@pytest.mark.usefixtures("double", "factors_pay")
def test_a_weight_that_is_used_twice_has_no_factors(agent: MakeAgent, batch: MakeBatch) -> None:
    """Autograd would sum the inputs of both uses."""
    both = pair(agent, Twice(width=8, depth=1), PCGrad())
    expected = {"trunk.layers.0.weight", "output.weight"}
    assert factored_names(both[1]) == ({f"network.{name}" for name in expected},) * 2
    assert_same_updates(both, batch, 1e-5, torch.float64)


@pytest.mark.usefixtures("factors_pay")
def test_a_restored_agent_goes_on_bit_by_bit(agent: MakeAgent, batch: MakeBatch) -> None:
    options: dict[str, Any] = {"balancer": AlignedMTL(), "batch_size": BATCH_SIZE, **MODERN}
    sac, restored = (agent(Residual(width=12, embedding_width=5), **options) for _ in range(2))
    sac.update(batch())
    restored.load_state_dict(sac.state_dict())
    for number in (1, 2):
        expected, found = (either.update(batch(number=number)) for either in (sac, restored))
        assert all(torch.equal(found[name], value) for name, value in expected.items())


def test_on_a_cpu_nothing_changes(agent: MakeAgent) -> None:
    assert factored_names(agent(Residual(width=64), AlignedMTL(), batch_size=BATCH_SIZE)) == (set(), set())


@pytest.mark.parametrize(
    ("tasks", "samples", "width", "networks", "pay"),
    [
        (10, 128, 400, 2, False),  # configs/mt10.yaml
        (10, 128, 400, 10, False),  # with five seeds
        (10, 128, 1024, 2, False),  # configs/mt10_fast.yaml
        (10, 128, 2048, 2, False),
        (10, 64, 2048, 2, True),
        (50, 32, 2048, 2, True),  # configs/mt50_fast.yaml, the critics
        (50, 32, 512, 1, False),  # the actor
        (50, 128, 2048, 2, False),  # sixteen times as many pairs of samples
        (50, 4, 128, 2, False),  # launches take longer
    ],
)
def test_when_factors_pay(tasks: int, samples: int, width: int, networks: int, pay: bool) -> None:
    shape = torch.Size((1, networks, tasks, width, width))
    assert factors_pay(shape, samples, torch.device("cuda")) == pay
    assert not factors_pay(shape, samples, torch.device("cpu"))
