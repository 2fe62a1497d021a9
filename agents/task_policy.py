"""The trained policy of one seed, apart from what trained it."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from agents.actor_critic import ActorCritic


class TaskPolicy(nn.Module):
    """Maps observations and the indices of their tasks to the Gaussian that is squashed into an action.

    A network sees all tasks at once, side by side, so each observation goes through those of every task, and the output
    of its own task is taken.

    Args:
        agent: with one seed; it is not used any more.
    """

    def __init__(self, agent: ActorCritic) -> None:
        super().__init__()
        self.config = agent.config
        self.observation_size, self.action_size = agent.observation_size, agent.action_size
        self.num_tasks = agent.num_tasks
        self.actor, self.encoder = agent.actor, agent.critic.encoder
        for parameter in self.parameters():
            parameter.data = parameter.data.clone()  # it was a view of all of the agent's

    def forward(self, observation: Tensor, task: Tensor) -> tuple[Tensor, Tensor]:
        """observation [N, O] and task [N] (integers) to mean and log standard deviation [N, A] before squashing."""
        inputs = observation.expand(1, 1, self.num_tasks, *observation.shape)
        encoded = inputs if self.encoder is None else self.encoder(inputs)
        mean, log_std, _ = self.actor(encoded)
        index = task.view(1, -1, 1).expand(1, -1, self.action_size)
        mean, log_std = (x[0].gather(0, index).squeeze(0) for x in (mean, log_std))
        return mean, self.config.bounded_log_std(log_std)


class MeanAction(nn.Module):
    """The action in [-1, 1] that a policy acts with when it does not explore."""

    def __init__(self, policy: TaskPolicy) -> None:
        super().__init__()
        self.policy = policy

    def forward(self, observation: Tensor, task: Tensor) -> Tensor:
        """observation [N, O] and task [N] (integers) to actions [N, A]."""
        return torch.tanh(self.policy(observation, task)[0])
