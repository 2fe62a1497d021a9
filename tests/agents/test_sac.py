import dataclasses
import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.distributions import Normal, TanhTransform, TransformedDistribution

from agents.config import SACConfig
from agents.losses import actor_loss, critic_loss, sample_action, temperature_loss, temperature_weights
from agents.networks import MultiHead, Shared
from agents.sac import SAC, Batch
from agents.values import ScalarValue
from mtrl.balancers import DWA, FAMO, LS, RLW, AlignedMTL, Balancer, PCGrad, available
from mtrl.balancers.random import Random

NETWORK = MultiHead(width=12, head_width=8)
MakeAgent, MakeBatch, Draw = Callable[..., SAC], Callable[..., Batch], Callable[..., Tensor]


class TestLosses:
    def test_log_probability_of_a_squashed_sample(self, normal: Draw) -> None:
        mean, log_std, noise = (normal(2, 3, 5, 4) for _ in range(3))
        action, log_prob = sample_action(mean, log_std, noise)
        distribution = TransformedDistribution(Normal(mean, log_std.exp()), [TanhTransform(cache_size=1)])
        torch.testing.assert_close(action, torch.tanh(mean + log_std.exp() * noise))
        u = mean + log_std.exp() * noise
        expected = (Normal(mean, log_std.exp()).log_prob(u) - torch.log1p(-torch.tanh(u).square())).sum(-1)
        moderate = u.abs().amax(-1) < 3
        torch.testing.assert_close(log_prob[moderate], expected[moderate], rtol=1e-9, atol=1e-9)
        inside = action.abs() < 1 - 1e-9
        by_torch = torch.where(inside, distribution.log_prob(action.clamp(-1 + 1e-12, 1 - 1e-12)), 0.0).sum(
            -1
        )
        torch.testing.assert_close(log_prob[inside.all(-1)], by_torch[inside.all(-1)], rtol=1e-5, atol=1e-5)

    def test_an_extreme_sample_has_finite_log_probability_and_gradient(self) -> None:
        mean = torch.tensor([[1e4, -1e4, 50.0]], requires_grad=True)
        _, log_prob = sample_action(mean, torch.zeros(1, 3), torch.ones(1, 3))
        (gradient,) = torch.autograd.grad(log_prob.sum(), [mean])
        assert log_prob.isfinite().all()
        torch.testing.assert_close(gradient, 2 * torch.tensor([[1.0, -1.0, 1.0]]))

    def test_soft_target(self) -> None:
        """By hand: r + γ (1 - d) (min(Q1, Q2) - α log π), S=1, T=2, B=2."""
        target = ScalarValue("min").target(
            reward=torch.tensor([[[1.0, 2.0], [3.0, 4.0]]]),
            discount=torch.tensor([[[0.9, 0.0], [0.9, 0.9]]]),
            next_outputs=torch.tensor([[[[10.0, 10.0], [5.0, 8.0]], [[6.0, 10.0], [7.0, 2.0]]]]).unsqueeze(
                -1
            ),
            entropy_cost=torch.tensor([[[-0.5, -0.5], [4.0, 0.0]]]),
        )
        expected = torch.tensor([[[1 + 0.9 * 6.5, 2.0], [3 + 0.9 * (5 - 4), 4 + 0.9 * 2]]])
        torch.testing.assert_close(target, expected)

    def test_losses_are_per_task(self, normal: Draw) -> None:
        q, target, log_prob = normal(2, 2, 3, 5), normal(2, 3, 5), normal(2, 3, 5)
        alpha = normal(2, 3).exp()
        for s in range(2):
            for t in range(3):
                bellman = sum(((q[s, e, t] - target[s, t]) ** 2).mean() for e in range(2))
                torch.testing.assert_close(critic_loss(q, target)[s, t], bellman)
                smallest = torch.minimum(q[s, 0, t], q[s, 1, t])
                policy = (alpha[s, t] * log_prob[s, t] - smallest).mean()
                torch.testing.assert_close(actor_loss(q.amin(1), log_prob, alpha)[s, t], policy)

    def test_temperature_loss_is_its_own_gradient(self, normal: Draw) -> None:
        """d/d(log α) of -α (log π + H̄) is the loss itself, which is how the agent takes it."""
        log_alpha, log_prob = normal(2, 3).requires_grad_(), normal(2, 3)
        loss = temperature_loss(log_alpha, log_prob, -4.0)
        torch.testing.assert_close(loss, -log_alpha.exp() * (log_prob - 4.0))
        (gradient,) = torch.autograd.grad(loss.sum(), [log_alpha])
        torch.testing.assert_close(gradient, loss.detach())

    def test_temperature_weights(self) -> None:
        alpha = torch.tensor([[1.0, 0.5, 0.25], [3.0, 3.0, 3.0]])
        expected = torch.tensor([[3 / 7, 6 / 7, 12 / 7], [1.0, 1.0, 1.0]])
        torch.testing.assert_close(temperature_weights(alpha.log()), expected)


def the_target(sac: SAC, data: Batch, noise: Tensor | None = None) -> Tensor:
    noise = torch.zeros_like(data.action) if noise is None else noise
    return sac._target(data, noise, sac.temperature.log_alpha.exp())[0]


def test_the_target_action_is_drawn_at_the_next_observation(agent: MakeAgent, batch: MakeBatch) -> None:
    sac, data = agent(NETWORK), batch()
    noise = torch.randn(data.action.shape, generator=torch.Generator().manual_seed(0))
    target = the_target(sac, data, noise)
    mean, log_std, _ = sac.actor(data.next_observation.unsqueeze(1))
    action, log_prob = sample_action(mean, log_std.clamp(-20, 2), noise)
    q, _ = sac.critic(data.next_observation, action)  # the targets start as copies of the critics
    value = q.squeeze(-1).amin(1) - sac.temperature.log_alpha.exp().unsqueeze(-1) * log_prob
    torch.testing.assert_close(target, data.reward + 0.99 * (1 - data.terminated) * value)
    elsewhere = data._replace(observation=data.observation + 1, action=-data.action)
    assert torch.equal(the_target(sac, elsewhere, noise), target)
    assert not torch.equal(the_target(sac, data._replace(next_observation=data.observation), noise), target)


def test_a_truncated_episode_bootstraps_and_a_terminated_one_does_not(
    agent: MakeAgent, batch: MakeBatch
) -> None:
    """A time limit leaves `terminated` at 0, and nothing else says that an episode ended there."""
    assert Batch._fields == ("observation", "action", "reward", "next_observation", "terminated")
    sac, data = agent(NETWORK), batch()
    running = the_target(sac, data._replace(terminated=torch.zeros_like(data.reward)))
    over = the_target(sac, data._replace(terminated=torch.ones_like(data.reward)))
    assert torch.equal(over, data.reward)
    assert (running != data.reward).all()


def test_the_target_critics_value_the_target_and_are_not_trained(agent: MakeAgent, batch: MakeBatch) -> None:
    sac, data = agent(NETWORK), batch()
    before = the_target(sac, data)
    assert not before.requires_grad
    with torch.no_grad():
        sac.critic_optimizer.parameters.shared.mul_(3.0)
    assert torch.equal(the_target(sac, data), before)
    sac.vectors["target"].shared.mul_(3.0)
    assert not torch.equal(the_target(sac, data), before)


def test_the_target_critics_follow_at_rate_tau(agent: MakeAgent, batch: MakeBatch) -> None:
    sac = agent(NETWORK, tau=0.25)
    before = sac.vectors["target"].shared.clone(), sac.vectors["target"].owned.clone()
    sac.update(batch())
    parameters = sac.critic_optimizer.parameters
    for target, was, now in (
        (sac.vectors["target"].shared, before[0], parameters.shared),
        (sac.vectors["target"].owned, before[1], parameters.owned),
    ):
        assert not torch.equal(now, was)
        torch.testing.assert_close(target, 0.75 * was + 0.25 * now)


def by_hand(sac: SAC, data: Batch) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of critics, actor and temperatures of the mean losses, by autograd on the modules themselves."""
    noise = type(sac.noise)(sac.seeds, "update").randn(2, *data.action.shape[1:])
    alpha = sac.temperature.log_alpha.exp()
    target = the_target(sac, data, noise[:, 0])
    critics, actors = list(sac.critic.parameters()), list(sac.actor.parameters())
    for parameter in critics + actors:
        parameter.requires_grad_()
    loss = critic_loss(sac.critic(data.observation, data.action)[0].squeeze(-1), target).mean(-1).sum()
    of_critics = torch.autograd.grad(loss, critics)
    mean, log_std, _ = sac.actor(sac.critic.encode(data.observation))
    action, log_prob = sample_action(mean, log_std.clamp(-20, 2), noise[:, 1])
    of_actor = torch.autograd.grad(
        actor_loss(sac.critic(data.observation, action)[0].squeeze(-1).amin(1), log_prob, alpha)
        .mean(-1)
        .sum(),
        actors,
    )
    of_temperature = -alpha * (log_prob.detach().mean(-1) - sac.action_size)
    for parameter in critics + actors:
        parameter.requires_grad_(False)
    flat = [torch.cat([g.reshape(len(sac.seeds), -1) for g in gs], dim=-1) for gs in (of_critics, of_actor)]
    return flat[0], flat[1], of_temperature


@pytest.mark.parametrize("balancer", [None, LS()], ids=["none", "LS"])
def test_an_update_descends_the_mean_losses(
    agent: MakeAgent, batch: MakeBatch, balancer: Balancer | None
) -> None:
    """The first moments after one step are 0.1 times the gradients; with a critic that does not move."""
    sac, data = agent(Shared(width=12), balancer), batch()
    sac.critic_optimizer.adam_shared.learning_rate = 0.0
    of_critics, of_actor, of_temperature = by_hand(sac, data)
    sac.update(data)
    for adam, expected in (
        (sac.critic_optimizer.adam_shared, of_critics),
        (sac.actor_optimizer.adam_shared, of_actor),
        (sac.temperature.adam, of_temperature),
    ):
        torch.testing.assert_close(adam.first_moment / 0.1, expected, rtol=1e-4, atol=1e-6)


def test_the_temperature_is_never_balanced(agent: MakeAgent, batch: MakeBatch) -> None:
    """Whatever the weights of the tasks are, the first step of the temperatures is the same."""
    data = batch()
    temperatures = []
    for options in ({}, {"balancer": AlignedMTL([1, 5, 0.1])}, {"task_weights": "temperature"}):
        sac = agent(NETWORK, **options)
        with torch.no_grad():
            sac.temperature.log_alpha.copy_(torch.tensor([0.0, -1.0, -2.0]))
        sac.update(data)
        temperatures.append(sac.temperature.log_alpha)
    assert torch.equal(temperatures[0], temperatures[1])
    assert torch.equal(temperatures[0], temperatures[2])


@pytest.mark.parametrize(("shift", "rises"), [(5.0, True), (-5.0, False)])
def test_the_temperature_rises_where_entropy_is_below_its_target(
    agent: MakeAgent, batch: MakeBatch, shift: float, rises: bool
) -> None:
    sac = agent(NETWORK)
    assert sac.temperature.target_entropy == -sac.action_size
    sac.temperature.target_entropy += shift
    before = sac.temperature.log_alpha.clone()
    log_prob = torch.full((2, 3, 5), 4.0)  # entropy -4
    sac._adapt_temperature(log_prob, torch.zeros(2, 2, 3, 5, 1), torch.zeros(2, 3, 5, 4), torch.zeros(2))
    assert ((sac.temperature.log_alpha > before) == rises).all()


def test_task_weights_multiply_the_losses_that_are_optimised(agent: MakeAgent, batch: MakeBatch) -> None:
    class Spy(LS):
        def forward(self, jacobian: Tensor, losses: Tensor, representation: Tensor | None = None) -> Any:
            self.seen = jacobian, losses
            return super().forward(jacobian, losses, representation)

    data, log_alpha = batch(), torch.tensor([[0.0, -1.0, -3.0], [0.0, 0.0, 0.0]])
    plain, weighed = agent(NETWORK, Spy()), agent(NETWORK, Spy(), task_weights="temperature")
    metrics = []
    for sac in (plain, weighed):
        sac.temperature.log_alpha.copy_(log_alpha)
        sac.critic_optimizer.adam_shared.learning_rate = sac.critic_optimizer.adam_owned.learning_rate = 0.0
        metrics.append(sac.update(data))
    factors = temperature_weights(log_alpha)
    assert torch.equal(factors[1], torch.ones(3))
    for name in ("critic_optimizer", "actor_optimizer"):
        (jacobian, losses), (weighed_jacobian, weighed_losses) = (
            getattr(sac, name).balancer.seen for sac in (plain, weighed)
        )
        torch.testing.assert_close(weighed_losses, losses * factors)
        torch.testing.assert_close(weighed_jacobian, jacobian * factors.unsqueeze(-1))
    for name in ("critic/loss", "actor/loss"):
        torch.testing.assert_close(metrics[0][name], metrics[1][name])  # reported as they are


@pytest.mark.parametrize(
    "balancer", [None, AlignedMTL(), PCGrad(), RLW()], ids=["none", "AlignedMTL", "PCGrad", "RLW"]
)
def test_a_restored_agent_goes_on_bit_by_bit(
    agent: MakeAgent, batch: MakeBatch, balancer: Balancer | None
) -> None:
    sac, restored = agent(NETWORK, balancer), agent(NETWORK, balancer)
    for i in range(3):
        sac.update(batch(number=i))
        sac.act(batch(number=i).observation, deterministic=False)
    restored.load_state_dict(clone(sac.state_dict()))
    for i in range(3, 6):
        data = batch(number=i)
        metrics, restored_metrics = sac.update(data), restored.update(data)
        for name, value in metrics.items():
            assert torch.equal(restored_metrics[name], value), name
        action = sac.act(data.observation, deterministic=False)
        assert torch.equal(restored.act(data.observation, deterministic=False), action)
    assert_equal(sac.state_dict(), restored.state_dict())


@pytest.mark.parametrize("balancer", [DWA(window=2), FAMO()], ids=["DWA", "FAMO"])
def test_a_restored_agent_with_a_balanced_critic(batch: MakeBatch, balancer: Balancer) -> None:
    def make() -> SAC:
        return SAC(
            NETWORK,
            SACConfig(),
            observation_size=9,
            action_size=4,
            num_tasks=3,
            seeds=[0, 1],
            critic_balancer=balancer,
        )

    sac, restored = make(), make()
    for i in range(5):
        sac.update(batch(number=i))
    restored.load_state_dict(clone(sac.state_dict()))
    for i in range(5, 8):
        sac.update(batch(number=i))
        restored.update(batch(number=i))
    assert_equal(sac.state_dict(), restored.state_dict())


def test_a_restored_policy_acts_the_same(agent: MakeAgent, batch: MakeBatch) -> None:
    sac, restored = agent(NETWORK), agent(NETWORK)
    sac.update(batch())
    restored.load_policy(clone(sac.state_dict()))
    observation = batch(number=1).observation
    assert torch.equal(
        restored.act(observation, deterministic=True), sac.act(observation, deterministic=True)
    )


def clone(state: Any) -> Any:
    if isinstance(state, dict):
        return {name: clone(value) for name, value in state.items()}
    return state.clone() if isinstance(state, Tensor) else state


def assert_equal(a: Any, b: Any) -> None:
    if isinstance(a, dict):
        assert a.keys() == b.keys()
        for name in a:
            assert_equal(a[name], b[name])
    elif isinstance(a, Tensor):
        assert torch.equal(torch.nan_to_num(a.double()), torch.nan_to_num(b.double()))
    else:
        assert a == b


@pytest.mark.parametrize("balancer", [None, AlignedMTL(), RLW()], ids=["none", "AlignedMTL", "RLW"])
def test_a_seed_does_not_depend_on_the_others(
    agent: MakeAgent, batch: MakeBatch, balancer: Balancer | None
) -> None:
    first, second = agent(NETWORK, balancer, seeds=(0, 1, 2)), agent(NETWORK, balancer, seeds=(0, 1, 3))
    for i in range(4):
        first.update(batch(seeds=(0, 1, 2), number=i))
        second.update(batch(seeds=(0, 1, 3), number=i))
        actions = [
            sac.act(batch(seeds=sac.seeds, number=i).observation, deterministic=False)
            for sac in (first, second)
        ]
        torch.testing.assert_close(actions[0][:2], actions[1][:2], rtol=1e-4, atol=1e-5)
        assert not torch.allclose(actions[0][2], actions[1][2])
    for name in ("critic_optimizer", "actor_optimizer"):
        for part in ("shared", "owned"):
            ours, theirs = (getattr(getattr(sac, name).parameters, part) for sac in (first, second))
            torch.testing.assert_close(ours[:2], theirs[:2], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("balancer", [None, AlignedMTL()], ids=["none", "AlignedMTL"])
def test_a_bad_reward_stops_its_seeds_critics_and_targets_only(
    agent: MakeAgent, batch: MakeBatch, balancer: Balancer | None
) -> None:
    sac, untroubled = agent(NETWORK, balancer), agent(NETWORK, balancer)
    for other in (sac, untroubled):
        other.update(batch())
    data = batch(number=1)
    reward = data.reward.clone()
    reward[1, 0, 0] = torch.nan
    before = clone(sac.state_dict())
    metrics = sac.update(data._replace(reward=reward))
    untroubled.update(data)
    after, expected = sac.state_dict(), untroubled.state_dict()
    assert metrics["critic/nonfinite"].tolist() == [0, 1]
    assert metrics["actor/nonfinite"].tolist() == [0, 0]
    for name in ("critic", "target"):
        for part in ("shared", "owned"):
            assert torch.equal(after[name][part][1], before[name][part][1])
            torch.testing.assert_close(after[name][part][0], expected[name][part][0])
    for adam in ("adam_owned", "adam_shared"):
        for name, value in after["critic_optimizer"][adam].items():
            assert torch.equal(value[1], before["critic_optimizer"][adam][name][1])
    assert all(v.isfinite().all() for part in ("critic", "actor", "target") for v in after[part].values())


@pytest.mark.parametrize("balancer", [None, AlignedMTL()], ids=["none", "AlignedMTL"])
def test_a_bad_observation_leaves_everything_of_its_seed_as_it_is(
    agent: MakeAgent, batch: MakeBatch, balancer: Balancer | None
) -> None:
    sac = agent(NETWORK, balancer)
    sac.update(batch())
    data = batch(number=1)
    data.observation[1, 2, 0, 0] = torch.inf
    before = clone(sac.state_dict())
    metrics = sac.update(data)
    after = sac.state_dict()
    assert metrics["critic/nonfinite"].tolist() == metrics["actor/nonfinite"].tolist() == [0, 1]
    for name in ("critic", "target", "actor", "temperature_adam"):
        for part, value in after[name].items():
            assert torch.equal(value[1], before[name][part][1])
            assert not torch.equal(value[0], before[name][part][0])
    assert torch.equal(after["log_alpha"][1], before["log_alpha"][1])
    assert not torch.equal(after["log_alpha"][0], before["log_alpha"][0])


def test_acting_draws_from_its_own_stream(agent: MakeAgent, batch: MakeBatch) -> None:
    sac, quiet = agent(NETWORK), agent(NETWORK)
    observation = batch().observation
    mean, _, _ = sac.actor(observation.unsqueeze(1))
    deterministic = sac.act(observation, deterministic=True)
    torch.testing.assert_close(deterministic, torch.tanh(mean))
    assert torch.equal(sac.act(observation, deterministic=True), deterministic)
    first, second = (sac.act(observation, deterministic=False) for _ in range(2))
    assert not torch.equal(first, second)
    assert torch.equal(quiet.act(observation, deterministic=False), first)
    sac.update(batch())
    agent(NETWORK).update(batch())
    quiet.update(batch())
    assert torch.equal(sac.actor_optimizer.parameters.shared, quiet.actor_optimizer.parameters.shared)


def test_log_std_is_bounded(agent: MakeAgent, batch: MakeBatch) -> None:
    sac = agent(NETWORK, log_std_min=-1.0, log_std_max=-1.0)
    observation = batch().observation
    mean, _, _ = sac.actor(observation.unsqueeze(1))
    u = torch.atanh(sac.act(observation, deterministic=False).double())
    noise = type(sac.exploration)(sac.seeds, "exploration").randn(*mean.shape[1:])
    torch.testing.assert_close(u.float(), mean + math.exp(-1) * noise, rtol=1e-3, atol=1e-3)


def test_a_balancer_is_copied_for_critic_and_actor(agent: MakeAgent, batch: MakeBatch) -> None:
    prototype = AlignedMTL()
    sac = agent(NETWORK, prototype)
    assert sac.critic_optimizer.balancer is not prototype
    assert sac.critic_optimizer.balancer is not sac.actor_optimizer.balancer
    sac.update(batch())
    assert not hasattr(prototype, "preference")


@pytest.mark.parametrize("name", [n for n, method in available().items() if issubclass(method, Random)])
def test_balancers_of_critic_and_actor_draw_numbers_of_their_own(agent: MakeAgent, name: str) -> None:
    sac = agent(NETWORK, available()[name]())
    critic, actor = sac.critic_optimizer.balancer, sac.actor_optimizer.balancer
    assert isinstance(critic, Random)
    assert isinstance(actor, Random)
    drawn = torch.cat([critic.generators.rand(50), actor.generators.rand(50)])  # [network and seed, 50]
    correlation = torch.corrcoef(drawn).fill_diagonal_(0.0)
    assert correlation.abs().max() < 0.6


def test_a_balancer_of_loss_ratios_is_refused_for_the_actor(agent: MakeAgent) -> None:
    with pytest.raises(
        ValueError, match=r"FAMO needs positive losses.*balance the critic only \(`--balance cr"
    ):
        agent(NETWORK, FAMO())


def test_defaults_are_the_common_settings() -> None:
    config = SACConfig()
    assert (config.learning_rate, config.temperature_learning_rate) == (3e-4, 3e-4)
    assert (config.gamma, config.tau, config.initial_temperature) == (0.99, 0.005, 1.0)
    assert (config.log_std_min, config.log_std_max) == (-20.0, 2.0)
    assert config.task_weights == "uniform"
    assert dataclasses.is_dataclass(config)
