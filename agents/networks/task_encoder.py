"""A learned description of the task beside the observation (MTL SAC + TE)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from agents.layers import MLP, RELU_GAIN, Axes, TaskEmbedding
from agents.networks.base import Architecture, Encoder, beside
from agents.networks.shared import Shared, SharedNetwork
from mtrl.options import Depth, OptionalDepth, Width


@dataclass(frozen=True)
class TaskEncoder(Architecture):
    """An MLP that all tasks share, which sees a learned context of its task beside the observation.

    The "SAC + task encoder" of Sodhani et al. 2021 (2102.06177) and Nash-MTL (2202.01017, Sec. 5.3). Actor and critics
    see the same context, which only the critics' loss trains.

    Args:
        width: units of each hidden layer.
        depth: number of hidden layers.
        context_width: size of a task's embedding, of the context and of the layers between.
        context_depth: number of hidden layers from embedding to context.
    """

    width: Width = 400
    depth: Depth = 3
    context_width: Width = 50
    context_depth: OptionalDepth = 2

    def build(self, axes: Axes, in_features: int, out_features: int) -> SharedNetwork:
        return SharedNetwork(Shared(self.width, self.depth), axes, in_features, out_features)

    def build_encoder(self, axes: Axes, in_features: int) -> ContextBeside:
        return ContextBeside(LearnedContext(axes, self.context_width, self.context_depth), in_features)


class LearnedContext(nn.Module):
    """A context vector [S, E, T, 1, F]: an embedding that each task owns, through an MLP that all share."""

    def __init__(self, axes: Axes, width: int, depth: int) -> None:
        super().__init__()
        self.out_features = width
        self.embedding = TaskEmbedding(axes, width)
        self.mlp = MLP(axes, width, [width] * (depth + 1), gain=RELU_GAIN)

    def forward(self) -> Tensor:
        context: Tensor = self.mlp(torch.relu(self.embedding()))
        return context


class ContextBeside(Encoder):
    def __init__(self, context: LearnedContext, in_features: int) -> None:
        super().__init__()
        self.context = context
        self.out_features = in_features + context.out_features

    def forward(self, observation: Tensor) -> Tensor:
        return beside(observation, self.context())
