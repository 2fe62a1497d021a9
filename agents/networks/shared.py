"""One network for all tasks (MTL SAC)."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from agents.layers import MLP, Axes, Linear
from agents.networks.base import Architecture, Network, task_id
from mtrl.options import Depth, Width


@dataclass(frozen=True)
class Shared(Architecture):
    """An MLP that all tasks share.

    Args:
        width: units of each hidden layer.
        depth: number of hidden layers.
        task_id: give the network the one-hot task identity; the original baseline had none.
    """

    width: Width = 400
    depth: Depth = 3
    task_id: bool = False

    def build(self, axes: Axes, in_features: int, out_features: int) -> SharedNetwork:
        return SharedNetwork(self, axes, in_features, out_features)


class SharedNetwork(Network):
    def __init__(self, architecture: Shared, axes: Axes, in_features: int, out_features: int) -> None:
        super().__init__()
        self.task_id = architecture.task_id
        if self.task_id:
            in_features += axes.num_tasks
        self.trunk = MLP(axes, in_features, [architecture.width] * architecture.depth, activate_last=True)
        self.output = Linear(axes, architecture.width, out_features)

    def features(self, x: Tensor) -> Tensor:
        features: Tensor = self.trunk(task_id(x) if self.task_id else x)
        return features

    def head(self, features: Tensor) -> Tensor:
        output: Tensor = self.output(features)
        return output
