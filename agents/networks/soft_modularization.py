"""Modules that a routing network weighs softly (soft modularization)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import torch
from torch import Tensor, nn

from agents.layers import MLP, RELU_GAIN, Axes, Linear, TaskEmbedding
from agents.networks.base import Architecture, Network
from mtrl.options import Depth, OptionalDepth, Parts, Width, depths


@dataclass(frozen=True)
class SoftModularization(Architecture):
    """Layers of modules whose connections are routed by observation and task (Yang et al. 2020, 2003.13661, Sec. 4).

    The shallow variant of the paper; `DeepSoftModularization` is the other. A base network f encodes the input, a
    routing network turns f(s) ⊙ h(z_t) into the softmax weights of all connections, and each module sees the weighted
    sum of the previous layer's modules. Where the paper is silent or differs from the authors' code, this follows the
    code: each layer of routing sees all earlier ones, a ReLU follows the weighted sum, and a last set of weights sums
    the modules of the last layer. The authors also weigh the losses by temperature: `--agent.task_weights temperature`.

    Args:
        num_layers: L, layers of modules.
        num_modules: n, modules in each layer.
        module_width: d, units of a module.
        embedding_width: D, size of f(s) and of the task's embedding.
        base_depth: number of hidden layers of f, as wide as the embedding.
        routing_width: units of each hidden layer of the routing network.
        routing_depth: number of layers of the routing network before those that make the weights.
    """

    num_layers: Annotated[int, depths(2)] = 2
    num_modules: Parts = 2
    module_width: Width = 256
    embedding_width: Width = 400
    base_depth: OptionalDepth = 1
    routing_width: Width = 256
    routing_depth: Depth = 2

    def build(self, axes: Axes, in_features: int, out_features: int) -> SoftModularizationNetwork:
        return SoftModularizationNetwork(self, axes, in_features, out_features)


@dataclass(frozen=True)
class DeepSoftModularization(SoftModularization):
    """The deep variant of soft modularization, with 4 layers of 4 modules (Yang et al. 2020, 2003.13661, Sec. 5)."""

    num_layers: Annotated[int, depths(2)] = 4
    num_modules: Parts = 4
    module_width: Width = 128


class SoftModularizationNetwork(Network):
    def __init__(
        self, architecture: SoftModularization, axes: Axes, in_features: int, out_features: int
    ) -> None:
        super().__init__()
        a = architecture
        self.modules_shape = (a.num_modules, a.module_width)
        self.base = MLP(axes, in_features, [a.embedding_width] * (a.base_depth + 1), gain=RELU_GAIN)
        self.embedding = TaskEmbedding(axes, a.embedding_width)
        self.routing = Routing(a, axes)
        # The modules of the first layer see the same input: one wide layer. Later on they lie on the critics' axis.
        self.first = Linear(axes, a.embedding_width, a.num_modules * a.module_width, gain=RELU_GAIN)
        module_axes = axes.with_critics(axes.num_critics * a.num_modules)
        self.layers = nn.ModuleList(
            Linear(module_axes, a.module_width, a.module_width, gain=RELU_GAIN)
            for _ in range(a.num_layers - 1)
        )
        self.output = Linear(axes, a.module_width, out_features)

    def features(self, x: Tensor) -> Tensor:
        base = self.base(x)
        *weights, last_weights = self.routing(torch.relu(self.embedding() * base))
        outputs = self.first(torch.relu(base)).unflatten(-1, self.modules_shape).movedim(-2, 2)
        for layer, weight in zip(self.layers, weights, strict=True):
            inputs = torch.relu(torch.einsum("setbij,sejtbf->seitbf", weight, outputs))
            outputs = layer(inputs.flatten(1, 2)).unflatten(1, inputs.shape[1:3])
        return torch.relu(torch.einsum("setbj,sejtbf->setbf", last_weights, outputs))

    def head(self, features: Tensor) -> Tensor:
        output: Tensor = self.output(features)
        return output


class Routing(nn.Module):
    """Weights of the connections into each later layer [S, E, T, B, n, n] (to, from), and of the last sum [..., n]."""

    def __init__(self, a: SoftModularization, axes: Axes) -> None:
        super().__init__()
        self.num_modules = a.num_modules
        self.trunk = MLP(axes, a.embedding_width, [a.routing_width] * a.routing_depth, gain=RELU_GAIN)
        connections = a.num_modules**2
        self.conditions = nn.ModuleList(
            Linear(axes, (i + 1) * connections, a.routing_width, gain=RELU_GAIN)
            for i in range(a.num_layers - 1)
        )
        self.logits = nn.ModuleList(
            Linear(axes, a.routing_width, connections) for _ in range(a.num_layers - 1)
        )
        self.last_logits = Linear(axes, a.routing_width, a.num_modules)

    def forward(self, x: Tensor) -> list[Tensor]:
        trunk = self.trunk(x)
        state = torch.relu(trunk)
        weights: list[Tensor] = []
        for logits, condition in zip(self.logits, self.conditions, strict=True):
            weights.append(torch.softmax(logits(state).unflatten(-1, (self.num_modules, -1)), dim=-1))
            earlier = torch.cat([w.flatten(-2) for w in weights], dim=-1)
            state = torch.relu(condition(earlier) * trunk)
        return [*weights, torch.softmax(self.last_logits(state), dim=-1)]
