"""The agent's networks: policy, critics with an encoder that both may share, and the critics' targets."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping, Sequence
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from agents.config import Precision, SACConfig
from agents.layers import Axes
from agents.losses import sample_action
from agents.networks.base import Architecture
from agents.parameters import ParameterVector
from mtrl.device.generators import Generators

NUM_CRITICS = 2


class Actor(nn.Module):
    """The policy's mean and log standard deviation before squashing, and its representation."""

    def __init__(self, axes: Axes, architecture: Architecture, in_features: int, action_size: int) -> None:
        super().__init__()
        self.network = architecture.build(axes.with_critics(1), _padded(in_features), 2 * action_size)

    def forward(self, encoded: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """encoded [S, 1, T, B, F] to mean and log_std [S, T, B, A] and features [S, 1, T, B, F']."""
        features = self.network.features(_pad(encoded))
        mean, log_std = self.network.head(features).squeeze(1).chunk(2, dim=-1)
        return mean, log_std, features


class Critic(nn.Module):
    """E critics of K outputs each, and the observation encoder that actor and critics may share."""

    def __init__(
        self,
        axes: Axes,
        architecture: Architecture,
        observation_size: int,
        action_size: int,
        num_outputs: int = 1,
    ) -> None:
        super().__init__()
        self.encoder = architecture.build_encoder(axes.with_critics(1), observation_size)
        self.encoded_size = observation_size if self.encoder is None else self.encoder.out_features
        in_features = _padded(self.encoded_size + action_size)
        self.network = architecture.build(axes.with_critics(NUM_CRITICS), in_features, num_outputs)

    def encode(self, observation: Tensor) -> Tensor:
        """observation [S, T, B, O] to the networks' input [S, 1, T, B, F]."""
        observation = observation.unsqueeze(1)
        return observation if self.encoder is None else self.encoder(observation)

    def forward(self, observation: Tensor, action: Tensor) -> tuple[Tensor, Tensor]:
        """observation [S, T, B, O] and action [S, T, B, A] to outputs [S, E, T, B, K] and features [S, E, T, B, F']."""
        inputs = torch.cat([self.encode(observation), action.unsqueeze(1)], dim=-1)
        features = self.network.features(_pad(inputs))
        return self.network.head(features), features


class ActorCritic(nn.Module):
    """Actor, critics and the targets that follow the critics, and how the actor acts: all that a trained agent needs.

    Args:
        architecture: of actor and critics.
        config: settings.
        observation_size: O.
        action_size: A.
        num_tasks: T.
        seeds: S of them; everything of seed s depends on `seeds[s]` alone.
        critic_architecture: of the critics, where it is another one.
        device: where parameters live; initial values are drawn on the CPU, so they do not depend on it.
        task_names: of the T tasks, for architectures that know something of them.
        precision: of the networks' passes in an update. With bfloat16 (autocast) parameters, losses, optimisers,
            targets and what the balancer computes stay float32, and so does acting.

    Attributes:
        value: what the critics' outputs say.
        vectors: all parameters of each network, by the names that a checkpoint has: "actor", "critic" and "target".
    """

    def __init__(
        self,
        architecture: Architecture,
        config: SACConfig,
        *,
        observation_size: int,
        action_size: int,
        num_tasks: int,
        seeds: Sequence[int],
        critic_architecture: Architecture | None = None,
        device: torch.device | str = "cpu",
        task_names: Sequence[str] | None = None,
        precision: Precision = "float32",
    ) -> None:
        if task_names is not None and len(task_names) != num_tasks:
            raise ValueError(f"SAC needs a name for each of its {num_tasks} tasks, got {len(task_names)}.")
        super().__init__()
        self.config = config
        self.seeds, self.num_tasks = tuple(seeds), num_tasks
        self.observation_size, self.action_size = observation_size, action_size
        self.device = torch.device(device)
        self.precision = precision
        names = None if task_names is None else tuple(task_names)
        axes = Axes(len(seeds), num_tasks, NUM_CRITICS, Generators(seeds, "parameters"), task_names=names)
        self.value = config.make_value(self.device, axes.dtype)
        self.critic = Critic(
            axes,
            architecture if critic_architecture is None else critic_architecture,
            observation_size,
            action_size,
            self.value.num_outputs,
        ).to(self.device)
        if self.critic.encoder is None and architecture.build_encoder(axes, observation_size) is not None:
            raise ValueError(
                f"The network {type(architecture).__name__} reads an encoder that the critics train, and the critic "
                "network has none: choose one of the same kind as --critic_network."
            )
        self.actor = Actor(axes, architecture, self.critic.encoded_size, action_size).to(self.device)
        self.target_critic = copy.deepcopy(self.critic)
        networks = {"actor": self.actor, "critic": self.critic, "target": self.target_critic}
        self.vectors = {name: ParameterVector(network) for name, network in networks.items()}
        self.exploration = Generators(self.seeds, "exploration", self.device)

    @torch.no_grad()
    def act(self, observation: Tensor, *, deterministic: bool) -> Tensor:
        """Actions [S, T, W, A] in [-1, 1] for observations [S, T, W, O]; the mean action, or one with fresh noise."""
        mean, log_std, _ = self.actor(self.critic.encode(observation))
        if deterministic:
            return torch.tanh(mean)
        action, _ = sample_action(
            mean, self.config.bounded_log_std(log_std), self.exploration.randn(*mean.shape[1:])
        )
        return action

    def _run(self, module: nn.Module, *inputs: Tensor) -> tuple[Tensor, ...]:
        """A network's outputs and features in an update; the outputs are float32 whatever the precision."""
        half = self.precision == "bfloat16"
        # Autocast's cache would keep tensors of a CUDA graph beyond it.
        with torch.autocast(self.device.type, torch.bfloat16, cache_enabled=False) if half else nullcontext():
            *outputs, features = module(*inputs)
        return *(output.float() for output in outputs), features

    @property
    def acting_networks(self) -> tuple[str, ...]:
        """The keys of `policy_state`: the actor, and a critic that holds an encoder."""
        return ("actor",) if self.critic.encoder is None else ("actor", "critic")

    def policy_state(self) -> dict[str, dict[str, Tensor]]:
        """A copy of what acting needs."""
        state = self.network_state()
        return {
            network: {name: value.clone() for name, value in state[network].items()}
            for network in self.acting_networks
        }

    def load_policy(self, state: Mapping[str, Any]) -> None:
        """Only what `policy_state` gives, of that or of all that `state_dict` gives."""
        self.load_networks(state, self.acting_networks)

    def network_state(self) -> dict[str, dict[str, Tensor]]:
        """The parameters of every network, themselves and not copied."""
        return {
            network: {"shared": vector.shared.detach(), "owned": vector.owned.detach()}
            for network, vector in self.vectors.items()
        }

    @torch.no_grad()
    def load_networks(self, state: Mapping[str, Any], networks: Iterable[str]) -> None:
        parameters = self.network_state()
        for network in networks:
            for name, value in parameters[network].items():
                value.copy_(state[network][name])


def _padded(size: int) -> int:
    """The next multiple of 4: matrix products on tensor cores need rows of 16 bytes, and fall back without them."""
    return -(-size // 4) * 4


def _pad(inputs: Tensor) -> Tensor:
    missing = _padded(inputs.shape[-1]) - inputs.shape[-1]
    return nn.functional.pad(inputs, (0, missing)) if missing else inputs
