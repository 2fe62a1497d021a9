"""Layers that are batched over seeds, critics and tasks.

Shapes: activations are [S, E, T, B, F] for S seeds, E critics (1 for an actor), T tasks, B samples and F features.
A parameter shared by the tasks is [S, E, ...]; one owned by each task is [S, E, T, ...].

A shared parameter may also be *given* to a layer with a task axis, expanded (stride 0): every layer then computes the
same function, and the gradient with respect to the expanded tensor is the gradient of each task's loss. This is how
`mtrl.gradients` gets all per-task gradients from one backward pass.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Self, cast

import torch
from torch import Tensor, nn

from agents.affine import TASK_AXIS, linear, mlp
from mtrl.device.generators import Generators

RELU_GAIN = math.sqrt(
    6
)  # keeps the scale of features through affine layers with ReLUs (He et al. 2015, 1502.01852)


@dataclass(frozen=True)
class Axes:
    """The leading axes of a network's parameters, and where their initial values are drawn from.

    task_names: what the tasks are called, in the order of the task axis, for networks that know something of them.
    """

    num_seeds: int
    num_tasks: int
    num_critics: int
    generators: Generators
    dtype: torch.dtype = torch.float32
    task_names: tuple[str, ...] | None = None

    def with_critics(self, num_critics: int) -> Self:
        return replace(self, num_critics=num_critics)

    def uniform(self, bound: float, *shape: int, owned: bool) -> nn.Parameter:
        """A parameter drawn from U(-bound, bound): shared [S, E, *shape], or owned by each task [S, E, T, *shape]."""
        leading = (self.num_critics, self.num_tasks) if owned else (self.num_critics,)
        data = (2 * self.generators.rand(*leading, *shape) - 1) * bound
        return (OwnedParameter if owned else SharedParameter)(data.to(self.dtype))

    def constant(self, value: float, *shape: int) -> nn.Parameter:
        """A shared parameter [S, E, *shape] that starts as one value everywhere."""
        return SharedParameter(
            torch.full((self.num_seeds, self.num_critics, *shape), value, dtype=self.dtype)
        )


class SharedParameter(nn.Parameter):
    """A parameter used by all tasks, [S, E, ...]: its per-task gradients go to a balancer."""


class OwnedParameter(nn.Parameter):
    """A parameter with a part of its own for each task, [S, E, T, ...]: it never reaches a balancer."""


class Linear(nn.Module):
    """An affine layer, shared by the tasks or owned by each.

    Initialised from U(±1/√in) as `torch.nn.Linear` is; the weight's bound is `gain` times that.
    """

    def __init__(
        self, axes: Axes, in_features: int, out_features: int, *, owned: bool = False, gain: float = 1.0
    ) -> None:
        super().__init__()
        bound = 1.0 / math.sqrt(in_features)
        self.weight = axes.uniform(gain * bound, in_features, out_features, owned=owned)
        self.bias = axes.uniform(bound, out_features, owned=owned)

    def forward(self, x: Tensor, *, activate: bool = False) -> Tensor:
        return linear(x, self.weight, self.bias, activate=activate)


class MLP(nn.Module):
    """Affine layers of the given widths, a ReLU after each hidden one (and after the last if `activate_last`)."""

    def __init__(
        self,
        axes: Axes,
        in_features: int,
        widths: Sequence[int],
        *,
        owned: bool = False,
        activate_last: bool = False,
        gain: float = 1.0,
    ) -> None:
        super().__init__()
        sizes = [in_features, *widths]
        self.layers = nn.ModuleList(
            Linear(axes, before, after, owned=owned, gain=gain) for before, after in pairwise(sizes)
        )
        self.activate_last = activate_last

    def forward(self, x: Tensor) -> Tensor:
        layers = cast("Sequence[Linear]", self.layers)
        return mlp(x, [(layer.weight, layer.bias) for layer in layers], activate_last=self.activate_last)


class LayerNorm(nn.Module):
    """Normalises the features of each sample, then scales and shifts them (Ba et al. 2016, 1607.06450)."""

    def __init__(self, axes: Axes, num_features: int) -> None:
        super().__init__()
        self.weight = axes.constant(1.0, num_features)
        self.bias = axes.constant(0.0, num_features)

    def forward(self, x: Tensor) -> Tensor:
        size = x.shape[-1:]
        # A CPU's kernel takes half the time where it also scales and shifts.
        neutral = (x.new_ones(size), x.new_zeros(size)) if x.device.type == "cpu" else ()
        normalised = nn.functional.layer_norm(x, size, *neutral)
        shape = (*self.weight.shape[:TASK_AXIS], -1, 1, *size)  # with a task axis or without
        return (normalised * self.weight.view(shape)).add_(self.bias.view(shape))


class TaskEmbedding(nn.Module):
    """A vector [S, E, T, 1, F] that each task owns: zero mean and unit variance at first."""

    def __init__(self, axes: Axes, num_features: int) -> None:
        super().__init__()
        self.weight = axes.uniform(math.sqrt(3), num_features, owned=True)

    def forward(self) -> Tensor:
        return self.weight.unsqueeze(-2)


class Experts(nn.Module):
    """K MLPs side by side on the same input, all shared by the tasks: x [S, E or 1, T, B, in] to [S, E, K, T, B, out].

    The experts lie on the critics' axis of the parameters, [S, E·K, ...]: every layer is one batched product.
    """

    def __init__(self, axes: Axes, num_experts: int, in_features: int, widths: Sequence[int]) -> None:
        super().__init__()
        self.shape = (axes.num_critics, num_experts)
        self.mlp = MLP(axes.with_critics(math.prod(self.shape)), in_features, widths, gain=RELU_GAIN)

    def forward(self, x: Tensor) -> Tensor:
        if x.shape[1] > 1:
            x = x.repeat_interleave(self.shape[1], dim=1)
        y: Tensor = self.mlp(x).unflatten(1, self.shape)
        return y
