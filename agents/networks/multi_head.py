"""A trunk that all tasks share, and a head of each task's own (MH SAC)."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from agents.layers import MLP, Axes
from agents.networks.base import Architecture, Network
from mtrl.options import Depth, OptionalDepth, Width


@dataclass(frozen=True)
class MultiHead(Architecture):
    """A shared MLP followed by one MLP per task (Yu et al. 2019, 1910.10897, multi-task multi-head SAC).

    Args:
        width: units of each hidden layer of the trunk.
        depth: number of hidden layers of the trunk.
        head_width: units of each hidden layer of a head.
        head_depth: number of hidden layers of a head before its output layer; 0 makes the head one affine layer.
    """

    width: Width = 400
    depth: Depth = 3
    head_width: Width = 400
    head_depth: OptionalDepth = 1

    def build(self, axes: Axes, in_features: int, out_features: int) -> MultiHeadNetwork:
        return MultiHeadNetwork(self, axes, in_features, out_features)


class MultiHeadNetwork(Network):
    def __init__(self, architecture: MultiHead, axes: Axes, in_features: int, out_features: int) -> None:
        super().__init__()
        a = architecture
        self.trunk = MLP(axes, in_features, [a.width] * a.depth, activate_last=True)
        self.heads = MLP(axes, a.width, [a.head_width] * a.head_depth + [out_features], owned=True)

    def features(self, x: Tensor) -> Tensor:
        features: Tensor = self.trunk(x)
        return features

    def head(self, features: Tensor) -> Tensor:
        output: Tensor = self.heads(features)
        return output
