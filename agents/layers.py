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
from typing import Any, Self

import torch
from torch import Tensor, nn

from mtrl.generators import Generators

TASK_AXIS = 2
_WIDE = 64  # from so many features on it pays to look for samples without a gradient
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


def per_task(parameter: Tensor, ndim: int, num_tasks: int) -> Tensor:
    """A parameter with `ndim` trailing axes, with its task axis: [S, E, T, ...]; shared ones are expanded."""
    if parameter.dim() == TASK_AXIS + 1 + ndim:
        return parameter
    shape = (*parameter.shape[:TASK_AXIS], num_tasks, *parameter.shape[TASK_AXIS:])
    return parameter.unsqueeze(TASK_AXIS).expand(shape)


class _SharedLinear(torch.autograd.Function):
    """y = x W + b with one W for all tasks: one large product forward, one product per task for W's gradient.

    x [S, E, T, B, in], weight [S, E, T, in, out] and bias [S, E, T, out], both expanded over T; y [S·E, T·B, out].
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        ctx.save_for_backward(x, weight)
        return _flat_linear(x, weight.select(TASK_AXIS, 0), bias.select(TASK_AXIS, 0))

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        x, weight = ctx.saved_tensors
        grad_y = grad_outputs[0].view(*x.shape[:-1], -1)
        x, weight = x.to(grad_y.dtype), weight.select(TASK_AXIS, 0).to(grad_y.dtype)  # where autocast is on
        grad_x = grad_weight = grad_bias = None
        if ctx.needs_input_grad[0]:
            flat = product(grad_y.flatten(2, 3), weight.mT)
            grad_x = flat.unflatten(2, x.shape[2:4])
        if ctx.needs_input_grad[1]:
            grad_weight = product(x.mT, grad_y)
        if ctx.needs_input_grad[2]:
            grad_bias = grad_y.sum(-2)
        return grad_x, grad_weight, grad_bias


class _ConstantLinear(torch.autograd.Function):
    """y = x W + b on a CPU, where W and b get no gradient: x [N, B, in], W [N, in, out], b [N, 1, out], y [N, B, out].

    So the critics are to the policy, and the least of their values has a gradient in one critic only: the samples that
    have none in this one, half of all, are left out of the product.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        ctx.save_for_backward(weight)
        return _affine(x, weight, bias)

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor, None, None]:
        grad_y = grad_outputs[0]
        weight = ctx.saved_tensors[0].to(grad_y.dtype)  # where autocast is on
        grad_x = grad_y.new_zeros(*grad_y.shape[:-1], weight.shape[-2])
        # `aminmax` takes ten times as long as these two, and `any` six times.
        has_gradient = (grad_y.amin(-1) != 0) | (grad_y.amax(-1) != 0)
        for n, samples in enumerate(has_gradient):
            index = samples.nonzero().squeeze(-1)
            grad_x[n].index_copy_(0, index, grad_y[n].index_select(0, index) @ weight[n].mT)
        return grad_x, None, None


class _Columns(torch.autograd.Function):
    """a [N, n, k] @ b [N, k, 1], as the critics' last layer is: N products, which take a CPU a tenth of a batched one's
    time, without the gradients' being stacked."""

    @staticmethod
    def forward(ctx: Any, a: Tensor, b: Tensor) -> Tensor:
        ctx.save_for_backward(a, b)
        return torch.stack([x @ y for x, y in zip(a, b, strict=True)])

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, Tensor | None]:
        a, b = ctx.saved_tensors
        grad = grad_outputs[0]
        grad_a = grad * b.mT if ctx.needs_input_grad[0] else None
        return grad_a, product(a.mT, grad) if ctx.needs_input_grad[1] else None


def product(a: Tensor, b: Tensor) -> Tensor:
    """a [..., n, k] @ b [..., k, m]."""
    if _on_cpu(a):
        if a.shape[-1] == 1:
            return a * b
        if b.shape[-1] == 1:
            columns: Tensor = _Columns.apply(a.flatten(0, -3), b.flatten(0, -3))  # type: ignore[no-untyped-call]
            return columns.view(*a.shape[:-1], 1)
    return a @ b


def _flat_linear(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """x [S, E, T, B, in] through weight [S, E, in, out] as one batch of all tasks' samples: [S·E, T·B, out]."""
    x, weight, bias = x.flatten(2, 3).flatten(0, 1), weight.flatten(0, 1), bias.flatten(0, 1).unsqueeze(1)
    if _on_cpu(x) and x.requires_grad and not weight.requires_grad and min(weight.shape[1:]) >= _WIDE:
        return _ConstantLinear.apply(x, weight, bias)  # type: ignore[no-untyped-call, no-any-return]
    return _affine(x, weight, bias)


def _affine(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """x [N, B, in] through weight [N, in, out] and bias [N, 1, out]."""
    if _on_cpu(x):  # one pass over the output less
        return torch.baddbmm(bias, x, weight) if weight.shape[-1] > 1 else product(x, weight) + bias
    # Not in place: within an autograd.Function PyTorch 2.11 compiles that into gradients of zero.
    return torch.bmm(x, weight) + bias


def _on_cpu(tensor: Tensor) -> bool:
    return tensor.device.type == "cpu"


def linear(x: Tensor, weight: Tensor, bias: Tensor, *, activate: bool = False) -> Tensor:
    """Affine map of x [S, E or 1, T, B, in] to [S, E, T, B, out], and a ReLU if `activate`.

    weight is [S, E, in, out] (shared), [S, E, T, in, out] (owned by each task, or shared and expanded over T).
    """
    if x.shape[1] != weight.shape[1]:
        x = x.expand(-1, weight.shape[1], -1, -1, -1)
    if weight.dim() == 4:
        y = _flat_linear(x, weight, bias)
    elif weight.stride(TASK_AXIS) == 0 and weight.shape[TASK_AXIS] > 1:
        y = _SharedLinear.apply(x, weight, bias)  # type: ignore[no-untyped-call]
    else:
        y = product(x, weight) + bias.unsqueeze(-2)
    if activate:
        y = y.relu_()  # nothing else reads what it overwrites
    return y.view(*x.shape[:-1], -1)


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
        for i, layer in enumerate(self.layers):
            x = layer(x, activate=self.activate_last or i + 1 < len(self.layers))
        return x


class LayerNorm(nn.Module):
    """Normalises the features of each sample, then scales and shifts them (Ba et al. 2016, 1607.06450)."""

    def __init__(self, axes: Axes, num_features: int) -> None:
        super().__init__()
        self.weight = axes.constant(1.0, num_features)
        self.bias = axes.constant(0.0, num_features)

    def forward(self, x: Tensor) -> Tensor:
        num_tasks = x.shape[TASK_AXIS]
        weight = per_task(self.weight, 1, num_tasks).unsqueeze(-2)
        bias = per_task(self.bias, 1, num_tasks).unsqueeze(-2)
        return nn.functional.layer_norm(x, x.shape[-1:]) * weight + bias


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
