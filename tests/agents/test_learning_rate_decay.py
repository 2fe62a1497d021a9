"""All learning rates of the agent fall together; what a balancer learns, and an agent without the option, does not."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from agents.config import SACConfig
from agents.networks import MultiHead
from agents.sac import SAC, Batch
from mtrl.balancers import AdaTask, AlignedMTL, Balancer, Uncertainty
from tests.agents.test_sac import assert_equal, clone

MakeAgent, MakeBatch = Callable[..., SAC], Callable[..., Batch]
NETWORK = MultiHead(width=12, head_width=8)
BALANCERS = pytest.mark.parametrize(
    "balancer", [None, AlignedMTL(), AdaTask()], ids=["none", "AlignedMTL", "AdaTask"]
)


def decaying(agent: MakeAgent, balancer: Balancer | None = None, **options: Any) -> SAC:
    return agent(NETWORK, balancer, learning_rate_decay="linear", **options)


def learned(sac: SAC) -> dict[str, Tensor]:
    """What gradients move."""
    vectors = {
        f"{n}.{kind}": getattr(sac.vectors[n], kind)
        for n in ("critic", "actor")
        for kind in ("shared", "owned")
    }
    return {
        "log_alpha": sac.temperature.log_alpha.clone(),
        **{name: v.detach().clone() for name, v in vectors.items()},
    }


def test_the_schedule() -> None:
    linear, none = SACConfig(learning_rate_decay="linear"), SACConfig()
    shares = (0.0, 0.25, 0.5, 0.625, 0.75, 1.0, 1.01)
    assert [linear.learning_rate_factor(p) for p in shares] == [1.0, 1.0, 1.0, 0.75, 0.5, 0.0, 0.0]
    assert {none.learning_rate_factor(p) for p in shares} == {1.0}


@BALANCERS
def test_at_the_end_nothing_moves(agent: MakeAgent, batch: MakeBatch, balancer: Balancer | None) -> None:
    sac = decaying(agent, balancer, weight_decay=0.1)
    sac.update(batch())
    before = learned(sac)
    sac.set_progress(1.0)
    metrics = sac.update(batch(number=1))
    assert_equal(learned(sac), before)
    assert torch.equal(metrics["learning_rate_factor"], torch.zeros(2))


@BALANCERS
def test_a_step_is_as_long_as_the_factor_says(
    agent: MakeAgent, batch: MakeBatch, balancer: Balancer | None
) -> None:
    moves = []
    for progress in (0.5, 0.75):
        sac = decaying(agent, balancer)
        critic = sac.critic_optimizer
        critic.learning_rate_factor = 0.0  # the actor's gradient would be of critics after other steps
        for adam in (critic.adam_shared, critic.adam_owned):
            if adam is not None:
                adam.learning_rate = 0.0
        before = learned(sac)
        sac.set_progress(progress)
        sac.update(batch())
        moves.append({name: value - before[name] for name, value in learned(sac).items()})
    for name in ("log_alpha", "actor.shared", "actor.owned"):
        assert moves[0][name].abs().max() > 1e-5
        torch.testing.assert_close(moves[1][name], 0.5 * moves[0][name], rtol=1e-4, atol=1e-7)


def test_what_a_balancer_learns_does_not_slow_down(agent: MakeAgent, batch: MakeBatch) -> None:
    sac = agent(NETWORK, Uncertainty(), learning_rate_decay="linear", balance_actor=False)
    sac.set_progress(1.0)
    before = clone(sac.critic_optimizer.balancer.state_dict())
    sac.update(batch())
    after = sac.critic_optimizer.balancer.state_dict()
    assert not torch.equal(after["log_variance"], before["log_variance"])


@BALANCERS
def test_until_half_of_training_it_is_the_agent_without(
    agent: MakeAgent, batch: MakeBatch, balancer: Balancer | None
) -> None:
    without, sac = agent(NETWORK, balancer, weight_decay=0.1), decaying(agent, balancer, weight_decay=0.1)
    for number in range(3):
        for either in (without, sac):
            either.set_progress(0.25 * number)
        metrics, ours = without.update(batch(number=number)), sac.update(batch(number=number))
        assert ours.keys() - metrics.keys() == {"learning_rate_factor"}
    assert_equal(without.state_dict(), sac.state_dict())
