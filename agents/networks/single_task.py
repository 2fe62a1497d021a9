"""One agent per task, all trained in the same batch (STL SAC)."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from agents.layers import MLP, Axes, Linear
from agents.networks.base import Architecture, Network
from mtrl.options import Depth, Width


@dataclass(frozen=True)
class SingleTask(Architecture):
    """An MLP of each task's own, which shares nothing: the single-task reference (Haarnoja et al. 2018, 1812.05905).

    There is nothing to balance, so it is trained with `--balancer null`.

    Args:
        width: units of each hidden layer.
        depth: number of hidden layers.
    """

    width: Width = 400
    depth: Depth = 3

    def build(self, axes: Axes, in_features: int, out_features: int) -> SingleTaskNetwork:
        return SingleTaskNetwork(self, axes, in_features, out_features)


class SingleTaskNetwork(Network):
    def __init__(self, architecture: SingleTask, axes: Axes, in_features: int, out_features: int) -> None:
        super().__init__()
        widths = [architecture.width] * architecture.depth
        self.trunk = MLP(axes, in_features, widths, owned=True, activate_last=True)
        self.output = Linear(axes, architecture.width, out_features, owned=True)

    def features(self, x: Tensor) -> Tensor:
        features: Tensor = self.trunk(x)
        return features

    def head(self, features: Tensor) -> Tensor:
        output: Tensor = self.output(features)
        return output
