"""A policy apart from its agent acts as the agent does."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from agents.config import SACConfig
from agents.networks import Architecture
from agents.sac import SAC
from agents.task_policy import MeanAction, TaskPolicy
from mtrl.config.lookup import networks

NAMES = ["reach-v3", "push-v3", "door-open-v3"]
Normal = Callable[..., Tensor]


def make_agent(architecture: Architecture, config: SACConfig | None = None) -> SAC:
    return SAC(
        architecture,
        config or SACConfig(),
        observation_size=39,
        action_size=4,
        num_tasks=3,
        task_names=NAMES,
        seeds=[5],
    )


@pytest.mark.parametrize("name", networks())
def test_every_network_acts_as_in_the_agent(name: str, normal: Normal) -> None:
    agent = make_agent(networks()[name]())
    observation, task = normal(7, 39).float(), torch.tensor([0, 1, 2, 2, 1, 0, 1])
    of_every_task = agent.act(observation.expand(1, 3, 7, 39), deterministic=True)[0]
    policy = MeanAction(TaskPolicy(agent))
    torch.testing.assert_close(policy(observation, task), of_every_task[task, torch.arange(7)])
    torch.testing.assert_close(policy(observation[:1], task[:1]), of_every_task[0, :1])


@pytest.mark.parametrize("log_std", ["clamp", "tanh"])
def test_log_std_is_bounded_as_the_agents(log_std: str, normal: Normal) -> None:
    config = SACConfig(log_std=log_std, log_std_min=-0.1, log_std_max=0.05)
    policy = TaskPolicy(make_agent(networks()["shared"](width=8, depth=1), config))
    _, found = policy(100 * normal(7, 39).float(), torch.zeros(7, dtype=torch.int64))
    assert found.min() >= -0.1 - 1e-7
    assert found.max() <= 0.05 + 1e-7


def test_it_does_not_change_with_the_agent(normal: Normal) -> None:
    """And holds nothing but its own parameters."""
    agent = make_agent(networks()["care"](width=8, depth=1, expert_width=8, context_width=8))
    observation, task = normal(4, 39).float(), torch.tensor([0, 1, 2, 2])
    policy = TaskPolicy(agent)
    before = policy(observation, task)[0]
    agent.critic_optimizer.parameters.shared.zero_()
    agent.actor_optimizer.parameters.shared.zero_()
    torch.testing.assert_close(policy(observation, task)[0], before, rtol=0, atol=0)
    assert all(p.untyped_storage().nbytes() == p.nbytes for p in policy.parameters())
