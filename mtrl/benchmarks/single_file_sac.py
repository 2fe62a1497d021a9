"""Plain SAC as one would write it in a single file: the yardstick of `mtrl benchmark learner`.

One loss over all samples, one temperature per task; torch.nn and torch.optim only, with the fused Adam. Networks of the
same sizes, and what a value is (`agents.values`), are those of the agent beside it. It lacks what the toolkit's update
does besides: clipping, leaving out what is not finite, decoupled weight decay, and metrics.
"""

from __future__ import annotations

import math
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

from agents.config import SACConfig
from agents.networks import Architecture, Residual


def mlp(in_features: int, out_features: int, width: int, depth: int) -> nn.Sequential:
    sizes = [in_features] + [width] * depth
    layers: list[nn.Module] = []
    for before, after in pairwise(sizes):
        layers += [nn.Linear(before, after), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(width, out_features))


def normalised(in_features: int, out_features: int) -> list[nn.Module]:
    return [nn.Linear(in_features, out_features), nn.LayerNorm(out_features)]


class Block(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(*normalised(width, width), nn.ReLU(), *normalised(width, width))

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = x + self.layers(x)
        return y


class Heads(nn.Module):
    """An affine head for each of T tasks: [T·B, in] to [T·B, out]."""

    def __init__(self, num_tasks: int, in_features: int, out_features: int) -> None:
        super().__init__()
        bound = 1 / math.sqrt(in_features)
        self.weight = nn.Parameter(torch.empty(num_tasks, in_features, out_features).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.empty(num_tasks, 1, out_features).uniform_(-bound, bound))

    def forward(self, x: Tensor) -> Tensor:
        return torch.baddbmm(self.bias, x.view(len(self.weight), -1, x.shape[-1]), self.weight).flatten(0, 1)


def network(architecture: Architecture, in_features: int, out_features: int, num_tasks: int) -> nn.Sequential:
    """The residual network, or else an MLP of the architecture's width and depth."""
    if not isinstance(architecture, Residual):
        width, depth = getattr(architecture, "width", 400), getattr(architecture, "depth", 3)
        return mlp(in_features, out_features, width, depth)
    width = architecture.width
    owned = architecture.heads == "owned"
    return nn.Sequential(
        *normalised(in_features, width),
        nn.ReLU(),
        *(Block(width) for _ in range(architecture.depth)),
        Heads(num_tasks, width, out_features) if owned else nn.Linear(width, out_features),
    )


class SingleFileSAC:
    """SAC on batches of T·B samples; observations [T·B, 39], actions [T·B, 4], rewards [T·B]."""

    def __init__(
        self,
        architecture: Architecture,
        critic_architecture: Architecture,
        config: SACConfig,
        num_tasks: int,
        batch_size: int,
        device: torch.device,
        capacity: int,
    ) -> None:
        self.config, self.device, self.batch_size, self.num_tasks = config, device, batch_size, num_tasks
        self.value = config.make_value(device)
        outputs = self.value.num_outputs
        self.actor = network(architecture, 39, 8, num_tasks).to(device)
        self.critics, self.targets = (
            nn.ModuleList(network(critic_architecture, 43, outputs, num_tasks) for _ in range(2)).to(device)
            for _ in range(2)
        )
        self.targets.load_state_dict(self.critics.state_dict())
        self.log_alpha = torch.zeros(num_tasks, device=device, requires_grad=True)
        fused = {"lr": config.learning_rate, "fused": True, "capturable": device.type == "cuda"}
        self.actor_optimizer = torch.optim.Adam(self.actor.parameters(), **fused)  # type: ignore[arg-type]
        self.critic_optimizer = torch.optim.Adam(self.critics.parameters(), **fused)  # type: ignore[arg-type]
        self.alpha_optimizer = torch.optim.Adam([self.log_alpha], **fused)  # type: ignore[arg-type]
        generator = torch.Generator().manual_seed(0)
        rows = torch.randn(num_tasks, capacity, 39 + 4 + 1 + 39 + 1, generator=generator)
        rows[..., 39:43] = rows[..., 39:43].tanh()
        rows[..., -1] = 0.0
        self.storage = rows.to(device)
        self.return_scale = torch.ones(num_tasks, 1, device=device)

    def sample(self) -> Tensor:
        shape = (self.num_tasks, self.batch_size)
        index = torch.randint(self.storage.shape[1], shape, device=self.device)
        return self.storage[torch.arange(self.num_tasks, device=self.device)[:, None], index].flatten(0, 1)

    def policy(self, observation: Tensor) -> tuple[Tensor, Tensor]:
        mean, log_std = self.actor(observation).chunk(2, dim=-1)
        std = self.config.bounded_log_std(log_std).exp()
        normal = torch.distributions.Normal(mean, std, validate_args=False)
        u = normal.rsample()
        log_prob = normal.log_prob(u) - 2 * (0.6931472 - u - functional.softplus(-2 * u))
        return torch.tanh(u), log_prob.sum(-1)

    def outputs(self, critics: nn.ModuleList, inputs: Tensor) -> Tensor:
        """[1, 2, T, B, K]"""
        outputs = torch.stack([critic(inputs) for critic in critics])
        return outputs.view(1, 2, self.num_tasks, self.batch_size, -1)

    def update(self) -> None:
        config, shape = self.config, (1, self.num_tasks, self.batch_size)
        batch = self.sample()
        observation, action, reward, next_observation, terminated = batch.split([39, 4, 1, 39, 1], dim=-1)
        alpha = self.log_alpha.detach().exp().unsqueeze(-1)
        with torch.no_grad():
            next_action, next_log_prob = self.policy(next_observation)
            next_outputs = self.outputs(self.targets, torch.cat([next_observation, next_action], -1))
            reward = reward.view(shape)
            if config.normalize_returns:
                reward = reward / self.return_scale
            discount = config.gamma * (1 - terminated.view(shape))
            entropy_cost = alpha * next_log_prob.view(shape)
            target = self.value.target(reward, discount, next_outputs, entropy_cost)
        outputs = self.outputs(self.critics, torch.cat([observation, action], -1))
        critic_loss = self.value.loss(outputs, target).mean()
        self.critic_optimizer.zero_grad()
        critic_loss.backward()
        self.critic_optimizer.step()

        self.critics.requires_grad_(False)
        new_action, log_prob = self.policy(observation)
        new_outputs = self.outputs(self.critics, torch.cat([observation, new_action], -1))
        q = self.value.combined(self.value.mean(new_outputs))
        log_prob = log_prob.view(shape)
        actor_loss = (alpha * log_prob - q).mean()
        self.actor_optimizer.zero_grad()
        actor_loss.backward()
        self.actor_optimizer.step()
        self.critics.requires_grad_(True)

        entropy_gap = (log_prob.detach() - 4.0).mean((0, -1))
        alpha_loss = -(self.log_alpha.exp() * entropy_gap).sum()
        self.alpha_optimizer.zero_grad()
        alpha_loss.backward()
        self.alpha_optimizer.step()
        with torch.no_grad():
            pairs = zip(self.targets.parameters(), self.critics.parameters(), strict=True)
            for target_parameter, parameter in pairs:
                target_parameter.lerp_(parameter, config.tau)
