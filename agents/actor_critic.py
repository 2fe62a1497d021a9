"""The two networks of the agent, each of one architecture: policy, and critics with an encoder that both may share."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from agents.layers import Axes
from agents.networks.base import Architecture

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


def _padded(size: int) -> int:
    """The next multiple of 4: matrix products on tensor cores need rows of 16 bytes, and fall back without them."""
    return -(-size // 4) * 4


def _pad(inputs: Tensor) -> Tensor:
    missing = _padded(inputs.shape[-1]) - inputs.shape[-1]
    return nn.functional.pad(inputs, (0, missing)) if missing else inputs
