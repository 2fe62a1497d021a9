"""A shared network whose layers are scaled and shifted by the task (FiLM)."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn

from agents.layers import Axes, Linear
from agents.networks.base import Architecture, Network
from agents.networks.task_encoder import LearnedContext
from mtrl.options import Depth, OptionalDepth, Width


@dataclass(frozen=True)
class Film(Architecture):
    """Feature-wise linear modulation of every hidden layer by the task (Perez et al. 2018, 1709.07871, Eq. 1, 2).

    h_l = ReLU(γ_l ⊙ (W_l h_{l-1} + b_l) + β_l), where (γ_l - 1, β_l) is an affine function of a learned context of
    the task (after a ReLU), which every network has for itself.

    Args:
        width: units of each hidden layer.
        depth: number of hidden layers.
        context_width: size of a task's embedding, of its context and of the layers between.
        context_depth: number of hidden layers from embedding to context.
    """

    width: Width = 400
    depth: Depth = 3
    context_width: Width = 50
    context_depth: OptionalDepth = 2

    def build(self, axes: Axes, in_features: int, out_features: int) -> FilmNetwork:
        return FilmNetwork(self, axes, in_features, out_features)


class FilmNetwork(Network):
    def __init__(self, architecture: Film, axes: Axes, in_features: int, out_features: int) -> None:
        super().__init__()
        a = architecture
        self.context = LearnedContext(axes, a.context_width, a.context_depth)
        self.generator = Linear(axes, a.context_width, 2 * a.depth * a.width)
        sizes = [in_features] + [a.width] * a.depth
        self.layers = nn.ModuleList(Linear(axes, before, after) for before, after in pairwise(sizes))
        self.output = Linear(axes, a.width, out_features)

    def features(self, x: Tensor) -> Tensor:
        modulation = self.generator(torch.relu(self.context())).chunk(2 * len(self.layers), dim=-1)
        for layer, scale, shift in zip(self.layers, modulation[::2], modulation[1::2], strict=True):
            x = torch.relu((1 + scale) * layer(x) + shift)
        return x

    def head(self, features: Tensor) -> Tensor:
        output: Tensor = self.output(features)
        return output
