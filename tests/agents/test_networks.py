"""What holds for every architecture."""

import dataclasses
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from agents.layers import Axes, OwnedParameter
from agents.losses import critic_loss
from agents.networks import (
    Architecture,
    Care,
    DeepSoftModularization,
    MultiHead,
    Shared,
    SoftModularization,
)
from agents.parameters import with_parameters
from agents.sac import SAC, Batch
from mtrl.balancers import LS, Balanced, available
from mtrl.config.lookup import networks
from mtrl.gradients import task_gradients
from tests.agents.conftest import SMALL

MakeAgent, MakeBatch, Normal = Callable[..., SAC], Callable[..., Batch], Callable[..., Tensor]

OWNED = {
    "Care": [],
    "DeepSoftModularization": ["embedding.weight"],
    "Film": ["context.embedding.weight"],
    "Moore": ["heads", "mixing"],
    "MultiHead": ["heads"],
    "Paco": ["mixing"],
    "Residual": ["heads"],
    "Shared": [],
    "SingleTask": ["output", "trunk"],
    "SoftModularization": ["embedding.weight"],
    "TaskEncoder": [],
}
"""The prefixes of the parameters of a network that each task owns."""


def test_every_network_is_tested_here() -> None:
    names = sorted(cls.__name__ for cls in networks().values())
    assert sorted(OWNED) == names, "say above what each task owns of it"
    assert sorted({type(small).__name__ for small in SMALL.values()}) == names, "SMALL is in conftest.py"


def test_shapes(architecture: Architecture, axes: Callable[..., Axes], normal: Normal) -> None:
    """The contract of Network: inputs [S, E or 1, T, B, in] to [S, E, T, B, out], by way of features."""
    network = architecture.build(axes(num_critics=2), 7, 5).double()
    x = normal(2, 1, 3, 4, 7)
    y = network(x)
    assert y.shape == (2, 2, 3, 4, 5)
    features = network.features(x)
    assert features.shape[:4] == (2, 2, 3, 4)
    torch.testing.assert_close(network.head(features), y)
    torch.testing.assert_close(network(x.expand(-1, 2, -1, -1, -1)), y)
    different = torch.cat([x, x + 1], dim=1)
    torch.testing.assert_close(network(different)[:, 0], y[:, 0])
    torch.testing.assert_close(network(different)[:, 1], network(x + 1)[:, 1])


def test_what_is_owned(architecture: Architecture, axes: Callable[..., Axes]) -> None:
    network = architecture.build(axes(), 7, 5)
    prefixes = tuple(OWNED[type(architecture).__name__])
    if getattr(architecture, "heads", "owned") == "shared":
        prefixes = ()
    for name, parameter in network.named_parameters():
        assert isinstance(parameter, OwnedParameter) == name.startswith(prefixes or "nothing"), name


def test_a_task_uses_only_its_own_part_of_what_is_owned(
    architecture: Architecture, axes: Callable[..., Axes], normal: Normal
) -> None:
    network = architecture.build(axes(num_critics=2), 7, 5)
    owned = [p for p in network.parameters() if isinstance(p, OwnedParameter)]
    x = normal(2, 1, 3, 4, 7)
    for t in range(3):
        others = [u for u in range(3) if u != t]
        for gradient in torch.autograd.grad(network(x)[:, :, t].sum(), owned) if owned else ():
            assert gradient[:, :, t].any()
            assert not gradient[:, :, others].any()


@pytest.mark.usefixtures("double")
class TestPerTaskGradients:
    """One backward pass over expanded parameters gives what T calls of autograd.grad give."""

    def test_of_the_critics(
        self, architecture: Architecture, agent: MakeAgent, batch: MakeBatch, normal: Normal
    ) -> None:
        sac, data = agent(architecture), batch(dtype=torch.float64)
        target = normal(*data.reward.shape)

        def losses(parameters: dict[str, Tensor]) -> Tensor:
            return critic_loss(
                sac._values(with_parameters(sac.critic, parameters), data.observation, data.action)[
                    0
                ].squeeze(-1),
                target,
            )

        self.compare(sac.critic_optimizer.parameters, losses)

    def test_of_the_actor(
        self, architecture: Architecture, agent: MakeAgent, batch: MakeBatch, normal: Normal
    ) -> None:
        sac, data = agent(architecture), batch(dtype=torch.float64)
        noise, alpha = normal(*data.action.shape), normal(2, 3).exp()

        def losses(parameters: dict[str, Tensor]) -> Tensor:
            action, log_prob, *_ = sac._policy(
                with_parameters(sac.actor, parameters), data.observation, noise
            )
            return sac._actor_loss(sac._values(sac.critic, data.observation, action)[0], log_prob, alpha)

        self.compare(sac.actor_optimizer.parameters, losses)

    def compare(self, parameters: Any, losses: Callable[[dict[str, Tensor]], Tensor]) -> None:
        shared, owned = parameters.leaves(3)
        one_pass = task_gradients(losses(shared | owned), [*shared.values()], [*owned.values()], task_axis=2)
        shared, owned = parameters.leaves(None)
        values = losses(shared | owned)
        owned_sum = {name: torch.zeros_like(leaf) for name, leaf in owned.items()}
        for t in range(3):
            gradients = torch.autograd.grad(
                values[:, t].sum(), [*shared.values(), *owned.values()], retain_graph=True
            )
            scale = max(g.abs().max().item() for g in gradients)
            row = parameters.flat_shared(dict(zip(shared, gradients, strict=False)))
            torch.testing.assert_close(one_pass.jacobian[:, t], row, rtol=1e-10, atol=1e-10 * scale)
            for total, gradient in zip(owned_sum.values(), gradients[len(shared) :], strict=True):
                total += gradient
        for found, total in zip(one_pass.owned, owned_sum.values(), strict=True):
            torch.testing.assert_close(found, total, rtol=1e-10, atol=1e-10 * scale)


class Recorder(LS):
    """Keeps the Jacobians that it was given."""

    seen: list[Tensor]

    def allocate(self, zeros: Tensor, seeds: Any) -> None:
        super().allocate(zeros, seeds)
        self.seen = []

    def balance(self, jacobian: Tensor, losses: Tensor, gramian: Tensor) -> Balanced:
        self.seen.append(jacobian.clone())
        return super().balance(jacobian, losses, gramian)


def test_all_that_is_shared_reaches_the_balancer_and_nothing_owned_does(
    sharing_architecture: Architecture, agent: MakeAgent, batch: MakeBatch
) -> None:
    sac = agent(sharing_architecture, Recorder())
    for i in range(3):
        sac.update(batch(number=i))
    for module, optimizer in ((sac.critic, sac.critic_optimizer), (sac.actor, sac.actor_optimizer)):
        shared = {
            n: p.numel() // 2 for n, p in module.named_parameters() if not isinstance(p, OwnedParameter)
        }
        seen = torch.stack(optimizer.balancer.seen)
        assert seen.shape == (3, 2, 3, sum(shared.values()))
        for name, gradients in zip(shared, seen.split([*shared.values()], dim=-1), strict=True):
            assert gradients.any(-1).any(0).all(), name  # of every seed and task


@pytest.mark.parametrize("name", ["LS", "AlignedMTL", "PCGrad", "CAGrad", "NashMTL", "AlignedMTLUB"])
def test_trains_with_a_balancer(
    sharing_architecture: Architecture, name: str, agent: MakeAgent, batch: MakeBatch
) -> None:
    sac = agent(sharing_architecture, available()[name](), max_grad_norm=1.0)
    assert_trains(sac, batch)


def test_trains_without_a_balancer(architecture: Architecture, agent: MakeAgent, batch: MakeBatch) -> None:
    assert_trains(agent(architecture), batch)


def assert_trains(sac: SAC, batch: MakeBatch) -> None:
    """A few updates change every parameter of every seed, and everything stays finite."""
    parameters = [*sac.critic.named_parameters(), *sac.actor.named_parameters()]
    before = [p.clone() for _, p in parameters]
    for i in range(3):
        metrics = sac.update(batch(number=i))
        for key, value in metrics.items():
            assert value.isfinite().all(), key
        assert not metrics["critic/nonfinite"].any()
        assert not metrics["actor/nonfinite"].any()
    for (name, new), old in zip(parameters, before, strict=True):
        assert new.isfinite().all(), name
        assert (new != old).flatten(1).any(1).all(), name
    action = sac.act(batch().observation, deterministic=False)
    assert action.abs().max() <= 1


def test_learns_a_small_problem(architecture: Architecture, agent: MakeAgent, batch: MakeBatch) -> None:
    """Critics that bootstrap from nothing regress the rewards of one batch, which differ between the tasks."""
    data = batch()
    data = data._replace(terminated=torch.ones_like(data.terminated))
    balancer = None if OWNED[type(architecture).__name__] == ["output", "trunk"] else LS()
    sac = agent(architecture, balancer, learning_rate=1e-2)
    first = sac.update(data)["critic/loss"]
    for _ in range(60):
        last = sac.update(data)["critic/loss"]
    assert (last < 0.5 * first).all()


def test_seeds_do_not_influence_each_other(
    architecture: Architecture, agent: MakeAgent, batch: MakeBatch
) -> None:
    balancer = None if OWNED[type(architecture).__name__] == ["output", "trunk"] else LS()
    together = agent(architecture, balancer, seeds=(0, 1, 2))
    other = agent(architecture, balancer, seeds=(0, 1, 7))
    alone = agent(architecture, balancer, seeds=(1,))
    for i in range(3):
        metrics = together.update(batch(seeds=(0, 1, 2), number=i))
        other_metrics = other.update(batch(seeds=(0, 1, 7), number=i))
        alone_metrics = alone.update(batch(seeds=(1,), number=i))
        for key, value in metrics.items():
            torch.testing.assert_close(other_metrics[key][:2], value[:2], rtol=1e-4, atol=1e-5)
            torch.testing.assert_close(alone_metrics[key][0], value[1], rtol=1e-4, atol=1e-5)
        assert not torch.allclose(other_metrics["critic/loss"][2], metrics["critic/loss"][2])
    shared = together.actor_optimizer.parameters.shared
    torch.testing.assert_close(other.actor_optimizer.parameters.shared[:2], shared[:2], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("count", [1, 5])
def test_any_number_of_tasks(
    architecture: Architecture, agent: MakeAgent, batch: MakeBatch, count: int
) -> None:
    tasks = ["reach-v3", "push-v3", "hammer-v3", "soccer-v3", "sweep-v3"][:count]
    balancer = None if OWNED[type(architecture).__name__] == ["output", "trunk"] else LS()
    sac = agent(architecture, balancer, tasks=tasks)
    assert sac.update(batch(num_tasks=count))["critic/loss"].isfinite().all()


def test_a_network_that_shares_nothing_cannot_be_balanced(agent: MakeAgent) -> None:
    single_task = networks()["single_task"](width=8)
    with pytest.raises(ValueError, match="LS has nothing to balance; train it with `--balancer null`"):
        agent(single_task, LS())


def test_an_encoder_is_trained_by_the_critics_alone(agent: MakeAgent, batch: MakeBatch) -> None:
    sac = agent(Care(width=8, expert_width=4, context_width=4), LS())
    assert any(name.startswith("encoder.experts") for name, _ in sac.critic.named_parameters())
    assert not any("encoder" in name for name, _ in sac.actor.named_parameters())
    sac.critic_optimizer.adam_shared.learning_rate = 0.0
    critic, actor = (o.parameters.shared for o in (sac.critic_optimizer, sac.actor_optimizer))
    before = critic.detach().clone(), actor.detach().clone()
    sac.update(batch())
    assert torch.equal(critic, before[0])
    assert not torch.equal(actor, before[1])
    observation = batch().observation
    action = sac.act(observation, deterministic=True)
    with torch.no_grad():
        next(p for n, p in sac.critic.named_parameters() if n.startswith("encoder.experts")).mul_(2.0)
    assert not torch.equal(sac.act(observation, deterministic=True), action)


def test_the_target_critics_have_an_encoder_of_their_own(agent: MakeAgent, batch: MakeBatch) -> None:
    sac, data = agent(Care(width=8, expert_width=4, context_width=4)), batch()
    noise, alpha = torch.zeros_like(data.action), torch.zeros(2, 3)
    target = sac._target(data, noise, alpha)[0]
    size = sum(p[0].numel() for n, p in sac.critic.named_parameters() if n.startswith("encoder"))
    with torch.no_grad():
        sac.vectors["target"].shared[:, :size] *= 1.5
    moved = sac._target(data, noise, alpha)[0]
    assert not torch.allclose(moved, target)


def test_the_settings_of_the_papers_are_the_defaults() -> None:
    shallow = SoftModularization()
    assert (shallow.num_layers, shallow.num_modules, shallow.module_width) == (2, 2, 256)
    assert (shallow.embedding_width, shallow.routing_width, shallow.routing_depth) == (400, 256, 2)
    deep = DeepSoftModularization()
    assert (deep.num_layers, deep.num_modules, deep.module_width) == (4, 4, 128)
    assert networks()["paco"]().num_parameter_sets == 5
    assert networks()["moore"]().num_experts == 4
    assert (Care().num_experts, Care().expert_width, Care().context_width) == (6, 50, 50)
    assert (Shared().width, Shared().depth, MultiHead().head_width, MultiHead().head_depth) == (
        400,
        3,
        400,
        1,
    )


def test_one_layer_of_modules_has_nothing_to_route() -> None:
    for num_layers in (1, 2001):
        with pytest.raises(
            ValueError,
            match=rf"needs num_layers to be a whole number in \[2, 2000\] \(the deepest .*\), got {num_layers}\.",
        ):
            SoftModularization(num_layers=num_layers)
    with pytest.raises(
        ValueError,
        match=r"needs routing_depth to be a whole number in \[1, 2000\] .*, got 0\.",
    ):
        SoftModularization(routing_depth=0)


def test_the_smallest_networks_work(architecture: Architecture, agent: MakeAgent, batch: MakeBatch) -> None:
    smallest = {
        field.name: {"num_layers": 2, "routing_depth": 1}.get(
            field.name, 0 if field.name.endswith("_depth") else 1
        )
        for field in dataclasses.fields(architecture)
        if isinstance(field.default, int) and not isinstance(field.default, bool)
    }
    sac = agent(dataclasses.replace(architecture, **smallest))
    assert sac.update(batch())["critic/loss"].isfinite().all()
