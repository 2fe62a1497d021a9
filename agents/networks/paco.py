"""Networks that are mixtures of parameter sets (PaCo)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from agents.affine import TASK_AXIS, linear
from agents.layers import Axes
from agents.networks.base import Architecture, Network
from mtrl.options import Depth, Parts, Width


@dataclass(frozen=True)
class Paco(Architecture):
    """Parameter-compositional network: task t's parameters are θ_t = Φ w_t (Sun et al. 2022, 2210.07765, Eq. 4).

    Φ is K parameter sets that all tasks share, w_t a vector of K numbers that each task owns; all layers of a network
    are composed with the same w_t. The sets start independent and w with E‖w‖² = 1, so that the composed weights start
    with the usual variance. The authors' resetting of w after a loss explosion is not part of it.

    Args:
        width: units of each hidden layer.
        depth: number of hidden layers.
        num_parameter_sets: K.
    """

    width: Width = 400
    depth: Depth = 3
    num_parameter_sets: Parts = 5

    def build(self, axes: Axes, in_features: int, out_features: int) -> PacoNetwork:
        return PacoNetwork(self, axes, in_features, out_features)


class PacoNetwork(Network):
    def __init__(self, architecture: Paco, axes: Axes, in_features: int, out_features: int) -> None:
        super().__init__()
        a = architecture
        num_sets = a.num_parameter_sets
        self.mixing = axes.uniform(math.sqrt(3 / num_sets), num_sets, owned=True)
        sizes = [in_features] + [a.width] * a.depth
        self.layers = nn.ModuleList(
            ComposedLinear(axes, num_sets, before, after) for before, after in pairwise(sizes)
        )
        self.output = ComposedLinear(axes, num_sets, a.width, out_features)

    def features(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = torch.relu(layer(x, self.mixing))
        return x

    def head(self, features: Tensor) -> Tensor:
        output: Tensor = self.output(features, self.mixing)
        return output


class ComposedLinear(nn.Module):
    """An affine layer whose weight and bias are mixtures of K shared ones."""

    def __init__(self, axes: Axes, num_sets: int, in_features: int, out_features: int) -> None:
        super().__init__()
        bound = 1.0 / math.sqrt(in_features)
        self.weight = axes.uniform(bound, num_sets, in_features, out_features, owned=False)
        self.bias = axes.uniform(bound, num_sets, out_features, owned=False)

    def forward(self, x: Tensor, mixing: Tensor) -> Tensor:
        weight = compose(mixing, self.weight.flatten(-2)).unflatten(-1, self.weight.shape[-2:])
        return linear(x, weight, compose(mixing, self.bias))


def compose(mixing: Tensor, sets: Tensor) -> Tensor:
    """Σ_k w_tk Φ_k, [S, E, T, N], from w [S, E, T, K] and Φ [S, E, K, N], or the same expanded over T."""
    if sets.dim() == mixing.dim():
        return mixing @ sets
    composed: Tensor = _Compose.apply(mixing, sets)  # type: ignore[no-untyped-call]
    return composed


class _Compose(torch.autograd.Function):
    """The mixture of sets [S, E, T, K, N] expanded over T, without a copy of them for each task."""

    @staticmethod
    def forward(ctx: Any, mixing: Tensor, sets: Tensor) -> Tensor:
        ctx.save_for_backward(mixing, sets)
        return mixing @ sets.select(TASK_AXIS, 0)

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, Tensor | None]:
        mixing, sets = ctx.saved_tensors
        grad = grad_outputs[0].to(mixing.dtype)  # where autocast is on
        grad_mixing = grad_sets = None
        if ctx.needs_input_grad[0]:
            grad_mixing = grad @ sets.select(TASK_AXIS, 0).mT
        if ctx.needs_input_grad[1]:
            grad_sets = mixing.unsqueeze(-1) * grad.unsqueeze(-2)
        return grad_mixing, grad_sets
