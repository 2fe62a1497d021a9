"""The modern agent: every ingredient alone and all at once."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from agents.networks import Care, Residual, Shared
from agents.parameters import with_parameters
from agents.sac import SAC, Batch
from agents.values import CategoricalValue
from mtrl.balancers import DWA, AlignedMTL, Balancer, PCGrad
from mtrl.gradients import task_gradients
from tests.agents.conftest import MODERN
from tests.agents.test_sac import assert_equal, clone, the_target

MakeAgent, MakeBatch, Draw = Callable[..., SAC], Callable[..., Batch], Callable[..., Tensor]
ACTOR = Residual(width=12, depth=1, embedding_width=5)
STATISTICS = ([[90.0, 5.0, 0.1], [1.0, 2.0, 3.0]], [[400.0, 1.0, 1e-3], [900.0, 1.0, 1.0]])


def modern(agent: MakeAgent, balancer: Balancer | None = None, **options: Any) -> SAC:
    sac = agent(ACTOR, balancer, **{**MODERN, **options})
    sac.return_scale.set(*(np.array(x)[: len(sac.seeds)] for x in STATISTICS))
    return sac


# ------------------------------------------------------------------------------------------------ all at once


@pytest.mark.usefixtures("double")
@pytest.mark.parametrize("critic", ["squared", "categorical", "hl_gauss"])
@pytest.mark.parametrize("network", ["critic", "actor"])
def test_one_pass_gives_the_gradients_of_each_tasks_loss(
    agent: MakeAgent, batch: MakeBatch, normal: Draw, critic: str, network: str
) -> None:
    sac, data = modern(agent, critic=critic), batch(dtype=torch.float64)
    alpha = sac.temperature.log_alpha.exp().double()
    noise = normal(2, *data.action.shape)
    target = the_target(sac, data, noise[0])

    def losses(parameters: dict[str, Tensor]) -> Tensor:
        if network == "critic":
            return sac.value.loss(
                sac._values(with_parameters(sac.critic, parameters), data.observation, data.action)[0], target
            )
        action, log_prob, *_ = sac._policy(with_parameters(sac.actor, parameters), data.observation, noise[1])
        return sac._actor_loss(sac._values(sac.critic, data.observation, action)[0], log_prob, alpha)

    vector = getattr(sac, f"{network}_optimizer").parameters
    shared, owned = vector.leaves(3)
    one_pass = task_gradients(losses(shared | owned), [*shared.values()], [*owned.values()], task_axis=2)
    shared, owned = vector.leaves(None)
    values = losses(shared | owned)
    for s in range(2):
        for t in range(3):
            gradients = torch.autograd.grad(
                values[s, t], [*shared.values()], retain_graph=True, allow_unused=True, materialize_grads=True
            )
            row = torch.cat([g[s].flatten() for g in gradients])
            torch.testing.assert_close(one_pass.jacobian[s, t], row, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("critic", ["squared", "categorical", "hl_gauss"])
@pytest.mark.parametrize("balancer", [None, AlignedMTL(), PCGrad()], ids=["none", "AlignedMTL", "PCGrad"])
def test_seeds_together_are_each_alone(
    agent: MakeAgent, batch: MakeBatch, balancer: Balancer | None, critic: str
) -> None:
    together = modern(agent, balancer, critic=critic)
    for s, seed in enumerate(together.seeds):
        alone = agent(ACTOR, balancer, (seed,), **{**MODERN, "critic": critic})
        alone.return_scale.set(*(np.array(x)[s : s + 1] for x in STATISTICS))
        both = modern(agent, balancer, critic=critic)
        for number in range(3):
            for sac in (both, alone):
                sac.set_progress(0.3 * (1 + number))
            both.update(batch(number=number))
            alone.update(batch((seed,), number=number))
        for network in ("critic", "actor"):
            for name, parameter in getattr(alone, network).named_parameters():
                found = getattr(both, network).get_parameter(name)[s]
                torch.testing.assert_close(found, parameter[0], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("balancer", [None, AlignedMTL()], ids=["none", "AlignedMTL"])
def test_a_restored_agent_goes_on_bit_by_bit(
    agent: MakeAgent, batch: MakeBatch, balancer: Balancer | None
) -> None:
    sac, restored = modern(agent, balancer), agent(ACTOR, balancer, **MODERN)
    for number in range(3):
        sac.update(batch(number=number))
    restored.load_state_dict(clone(sac.state_dict()))
    for number in range(3, 6):
        for either in (sac, restored):
            either.set_progress(0.15 * number)
        sac.update(batch(number=number))
        restored.update(batch(number=number))
    assert_equal(sac.state_dict(), restored.state_dict())


# ------------------------------------------------------------------------------------------------ normalised returns


def test_rewards_are_divided_by_the_scale_of_returns(agent: MakeAgent, batch: MakeBatch) -> None:
    """d = max(σ, (M + α |H̄| / (2 (1 - γ))) / V), by hand; what is over has the normalised reward as its value."""
    sac = modern(agent, critic="squared", gamma=0.9, value_max=10.0)
    alpha, (largest, variance) = 0.1, STATISTICS
    scale = torch.tensor(
        [
            [
                max((v + 1e-8) ** 0.5, (m + alpha * 2.0 / (2 * 0.1)) / 10.0)
                for m, v in zip(ms, vs, strict=True)
            ]
            for ms, vs in zip(largest, variance, strict=True)
        ]
    )
    data = batch()
    over = the_target(sac, data._replace(terminated=torch.ones_like(data.reward)))
    torch.testing.assert_close(over, data.reward / scale.unsqueeze(-1))
    torch.testing.assert_close(sac.update(data)["return_scale"], scale)


def test_larger_rewards_and_returns_give_the_same_agent(agent: MakeAgent, batch: MakeBatch) -> None:
    """Where the largest return decides, the scale of a task's rewards is no more than rounding."""
    agents = []
    for factor in (1.0, 1024.0):
        sac = agent(ACTOR, **{**MODERN, "initial_temperature": 1e-9})
        sac.return_scale.set(factor * np.full((2, 3), 40.0), factor**2 * np.full((2, 3), 0.5))
        for number in range(3):
            data = batch(number=number)
            sac.update(data._replace(reward=factor * data.reward))
        agents.append(sac)
    for ours, theirs in zip(agents[0].critic.parameters(), agents[1].critic.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


# ------------------------------------------------------------------------------------------------ networks


def test_critics_of_their_own_architecture(agent: MakeAgent) -> None:
    sac = modern(agent)
    assert sac.critic.get_parameter("network.input.linear.weight").shape[-1] == 10
    assert sac.actor.get_parameter("network.input.linear.weight").shape[-1] == 12
    assert sac.critic.get_parameter("network.heads.weight").shape[-1] == 21
    with pytest.raises(
        ValueError, match="Care reads an encoder that the critics train, and the critic network"
    ):
        agent(Care(width=12, num_experts=3, expert_width=6), critic_architecture=Shared(width=12))


def test_a_tasks_embedding_has_unit_norm_and_only_the_critics_train_it(
    agent: MakeAgent, batch: MakeBatch
) -> None:
    sac, data = modern(agent), batch()
    encoded = sac.critic.encode(data.observation)
    assert torch.equal(encoded[:, 0, ..., :9], data.observation)
    embedding = encoded[:, 0, ..., 9:]
    torch.testing.assert_close(embedding.norm(dim=-1), torch.ones(2, 3, 6))
    assert torch.equal(
        embedding, embedding[:, :, :1].expand_as(embedding)
    )  # the same for every sample of a task
    assert (embedding[:, 0] != embedding[:, 1]).all()
    assert not any(name.startswith("encoder") for name, _ in sac.actor.named_parameters())
    before = sac.critic.get_parameter("encoder.embedding.weight").clone()
    sac.update(data)
    assert not torch.equal(sac.critic.get_parameter("encoder.embedding.weight"), before)


def test_heads_that_the_tasks_share(agent: MakeAgent) -> None:
    told = agent(Residual(width=12, embedding_width=5, heads="shared"))
    assert told.actor_optimizer.parameters.owned_names == []
    assert told.critic_optimizer.parameters.owned_names == ["encoder.embedding.weight"]


# ------------------------------------------------------------------------------------------------ policy


def test_a_bounded_log_std_has_a_gradient_everywhere(agent: MakeAgent) -> None:
    sac = modern(agent)
    u = torch.tensor([-6.0, 0.0, 6.0], requires_grad=True)
    log_std = sac.config.bounded_log_std(u)
    torch.testing.assert_close(log_std, -10 + 6 * (1 + torch.tanh(u)))
    assert log_std[0] > -10
    assert log_std[2] < 2
    (gradient,) = torch.autograd.grad(log_std.sum(), [u])
    assert (gradient > 0).all()


def test_the_entropy_has_a_target_of_its_own(agent: MakeAgent, batch: MakeBatch) -> None:
    """Between the two targets one temperature falls and the other rises."""
    data = batch()
    entropies, moves = [], []
    for target in (-100.0, 100.0):
        sac = modern(agent, target_entropy=target)
        before = sac.temperature.log_alpha.clone()
        entropies.append(sac.update(data)["actor/entropy"])
        moves.append(sac.temperature.log_alpha - before)
    assert (moves[0] < 0).all()
    assert (moves[1] > 0).all()
    torch.testing.assert_close(*entropies)


# ------------------------------------------------------------------------------------------------ losses


def test_a_balancer_that_reads_losses_gets_divergences(agent: MakeAgent, batch: MakeBatch) -> None:
    """KL, which is zero at the best, and not the cross-entropy, which is the target's entropy there."""

    class Spy(DWA):
        def forward(self, jacobian: Any, losses: Tensor, representation: Tensor | None = None) -> Any:
            self.seen = losses
            return super().forward(jacobian, losses, representation)

    sac, data = modern(agent, Spy(), balance_actor=False), batch()
    outputs, _ = sac.critic(data.observation, data.action)
    noise = type(sac.noise)(sac.seeds, "update").randn(2, *data.action.shape[1:])
    target = the_target(sac, data, noise[:, 0])
    expected = sum(
        torch.nn.functional.kl_div(torch.log_softmax(outputs[:, e], -1), target, reduction="none").sum(-1)
        for e in range(2)
    ).mean(-1)
    metrics = sac.update(data)
    torch.testing.assert_close(sac.critic_optimizer.balancer.seen, expected, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(metrics["critic/loss"], expected, rtol=1e-4, atol=1e-5)
    assert isinstance(sac.value, CategoricalValue)
    entropy = -torch.xlogy(target, target).sum(-1).mean(-1)
    assert (entropy > 0.1).all()


def test_weight_decay_shrinks_what_has_no_gradient(agent: MakeAgent, batch: MakeBatch) -> None:
    """A hidden unit that never fires moves by the decay alone: p (1 - lr λ) a step."""
    sac = modern(agent, learning_rate=1e-2, weight_decay=0.5, critic="squared")
    head = sac.critic.get_parameter("network.heads.weight")
    block = sac.critic.get_parameter("network.blocks.0.second.linear.weight")
    head.zero_()
    before = block.clone()
    sac.update(batch())
    torch.testing.assert_close(block, before * (1 - 1e-2 * 0.5))
