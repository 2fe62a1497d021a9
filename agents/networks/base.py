"""What an architecture is: hyper-parameters that build networks."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn

from agents.layers import Axes
from mtrl.options import check


class Network(nn.Module, ABC):
    """Maps inputs [S, E or 1, T, B, in] to outputs [S, E, T, B, out]: a head on a representation.

    The representation is what the UB variants of the balancers take gradients of.
    """

    @abstractmethod
    def features(self, x: Tensor) -> Tensor:
        """The representation [S, E, T, B, F] of the inputs."""

    @abstractmethod
    def head(self, features: Tensor) -> Tensor:
        """The outputs [S, E, T, B, out] from the representation."""

    def forward(self, x: Tensor) -> Tensor:
        output: Tensor = self.head(self.features(x))
        return output


class Architecture(ABC):
    """The hyper-parameters of a network. A user's own architecture subclasses it in one file.

    Actor and critics are two networks of one architecture: observations to 2A outputs, and observations with actions
    to one output per critic.

    Raises:
        ValueError: a value is outside the range that its type names (`mtrl.options`).
    """

    def __post_init__(self) -> None:
        check(type(self).__name__, type(self), vars(self))

    @abstractmethod
    def build(self, axes: Axes, in_features: int, out_features: int) -> Network:
        """A network with fresh parameters."""

    def build_encoder(self, axes: Axes, in_features: int) -> Encoder | None:
        """An encoder of the observation, used by actor and critics and trained by the critic loss only, or None."""
        return None


class Encoder(nn.Module, ABC):
    """Maps observations [S, 1, T, B, in] to [S, 1, T, B, out_features]."""

    out_features: int

    @abstractmethod
    def forward(self, observation: Tensor) -> Tensor: ...


def task_id(x: Tensor) -> Tensor:
    """One-hot task identity beside the features: [S, E, T, B, F] to [S, E, T, B, F + T]."""
    one_hot = torch.eye(x.shape[2], dtype=x.dtype, device=x.device)
    return beside(x, one_hot.unsqueeze(-2))


def beside(x: Tensor, task_features: Tensor) -> Tensor:
    """Features of each task beside those of its samples: [S, E, T, B, F] and [..., T, 1, G] to [S, E, T, B, F + G]."""
    return torch.cat([x, task_features.expand(*x.shape[:-1], -1)], dim=-1)
