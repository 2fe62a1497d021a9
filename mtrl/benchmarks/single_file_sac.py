"""Plain SAC as one would write it in a single file: the yardstick of `mtrl benchmark learner`.

One network for all tasks, one loss over all samples, one temperature per task; torch.nn and torch.optim only, with the
fused Adam. It lacks what the toolkit's update does besides: clipping, leaving out what is not finite, and metrics.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional


def mlp(in_features: int, out_features: int, width: int, depth: int) -> nn.Sequential:
    sizes = [in_features] + [width] * depth
    layers: list[nn.Module] = []
    for before, after in pairwise(sizes):
        layers += [nn.Linear(before, after), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(width, out_features))


class SingleFileSAC:
    """SAC on batches of T·B samples; observations [T·B, 39], actions [T·B, 4], rewards [T·B]."""

    def __init__(
        self, num_tasks: int, batch_size: int, width: int, depth: int, device: torch.device, capacity: int
    ) -> None:
        self.device, self.batch_size, self.num_tasks = device, batch_size, num_tasks
        self.actor = mlp(39, 8, width, depth).to(device)
        self.critics = nn.ModuleList(mlp(43, 1, width, depth) for _ in range(2)).to(device)
        self.targets = nn.ModuleList(mlp(43, 1, width, depth) for _ in range(2)).to(device)
        self.targets.load_state_dict(self.critics.state_dict())
        self.log_alpha = torch.zeros(num_tasks, device=device, requires_grad=True)
        fused = {"lr": 3e-4, "fused": True, "capturable": device.type == "cuda"}
        self.actor_optimizer = torch.optim.Adam(self.actor.parameters(), **fused)  # type: ignore[arg-type]
        self.critic_optimizer = torch.optim.Adam(self.critics.parameters(), **fused)  # type: ignore[arg-type]
        self.alpha_optimizer = torch.optim.Adam([self.log_alpha], **fused)  # type: ignore[arg-type]
        generator = torch.Generator().manual_seed(0)
        rows = torch.randn(num_tasks, capacity, 39 + 4 + 1 + 39 + 1, generator=generator)
        rows[..., 39:43] = rows[..., 39:43].tanh()
        rows[..., -1] = 0.0
        self.storage = rows.to(device)

    def sample(self) -> Tensor:
        shape = (self.num_tasks, self.batch_size)
        index = torch.randint(self.storage.shape[1], shape, device=self.device)
        return self.storage[torch.arange(self.num_tasks, device=self.device)[:, None], index].flatten(0, 1)

    def policy(self, observation: Tensor) -> tuple[Tensor, Tensor]:
        mean, log_std = self.actor(observation).chunk(2, dim=-1)
        normal = torch.distributions.Normal(mean, log_std.clamp(-20, 2).exp(), validate_args=False)
        u = normal.rsample()
        log_prob = normal.log_prob(u) - 2 * (0.6931472 - u - functional.softplus(-2 * u))
        return torch.tanh(u), log_prob.sum(-1)

    def update(self) -> None:
        batch = self.sample()
        observation, action, reward, next_observation, terminated = batch.split([39, 4, 1, 39, 1], dim=-1)
        alpha = self.log_alpha.detach().exp().repeat_interleave(self.batch_size)
        with torch.no_grad():
            next_action, next_log_prob = self.policy(next_observation)
            next_input = torch.cat([next_observation, next_action], -1)
            next_q = torch.minimum(*(t(next_input).squeeze(-1) for t in self.targets))
            target = reward.squeeze(-1) + 0.99 * (1 - terminated.squeeze(-1)) * (
                next_q - alpha * next_log_prob
            )
        inputs = torch.cat([observation, action], -1)
        critic_loss = sum(functional.mse_loss(c(inputs).squeeze(-1), target) for c in self.critics)
        self.critic_optimizer.zero_grad()
        critic_loss.backward()  # type: ignore[union-attr]
        self.critic_optimizer.step()

        self.critics.requires_grad_(False)
        new_action, log_prob = self.policy(observation)
        new_input = torch.cat([observation, new_action], -1)
        q = torch.minimum(*(c(new_input).squeeze(-1) for c in self.critics))
        actor_loss = (alpha * log_prob - q).mean()
        self.actor_optimizer.zero_grad()
        actor_loss.backward()
        self.actor_optimizer.step()
        self.critics.requires_grad_(True)

        entropy_gap = (log_prob.detach() - 4.0).view(self.num_tasks, self.batch_size).mean(-1)
        alpha_loss = -(self.log_alpha.exp() * entropy_gap).sum()
        self.alpha_optimizer.zero_grad()
        alpha_loss.backward()
        self.alpha_optimizer.step()
        with torch.no_grad():
            pairs = zip(self.targets.parameters(), self.critics.parameters(), strict=True)
            for target_parameter, parameter in pairs:
                target_parameter.lerp_(parameter, 0.005)
