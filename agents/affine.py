"""Affine maps that are batched over seeds, critics and tasks, forward and backward.

Shapes are those of `agents.layers`: x [S, E, T, B, in], weights [S, E, in, out] that the tasks share or [S, E, T, in,
out], which each task owns or which is a shared one given with a task axis, expanded.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor

from mtrl.gradients import FactoredWeight

TASK_AXIS = 2


def linear(x: Tensor, weight: Tensor | FactoredWeight, bias: Tensor, *, activate: bool = False) -> Tensor:
    """Affine map of x [S, E or 1, T, B, in] to [S, E, T, B, out], and a ReLU if `activate`.

    weight is [S, E, in, out] (shared), [S, E, T, in, out] (owned by each task, or shared and expanded over T).
    """
    factors: tuple[Tensor, ...] = ()
    if isinstance(weight, FactoredWeight):
        factors, weight = (weight.inputs, weight.gradients), weight.weight
    if x.shape[1] != weight.shape[1]:
        x = x.expand(-1, weight.shape[1], -1, -1, -1)
    if weight.dim() > 4 and weight.stride(TASK_AXIS) == 0 and weight.shape[TASK_AXIS] > 1:
        y: Tensor = _SharedLinear.apply(x, weight, bias, *factors)  # type: ignore[no-untyped-call]
    else:
        weight, bias = _matrices(weight, bias)
        y = _affine(_batched(x, len(weight)), weight, bias)
    if activate:
        y = y.relu_()  # nothing else reads what it overwrites
    return y.view(*x.shape[:-1], -1)


def mlp(x: Tensor, layers: Sequence[tuple[Tensor, Tensor]], *, activate_last: bool) -> Tensor:
    """Affine maps (weight, bias) one after the other, with a ReLU after each but the last, and there if asked for."""
    for i, (weight, bias) in enumerate(layers):
        x = linear(x, weight, bias, activate=activate_last or i + 1 < len(layers))
    return x


class _SharedLinear(torch.autograd.Function):
    """y = x W + b with one W for all tasks: one large product forward, one product per task for W's gradient.

    x [S, E, T, B, in], weight [S, E, T, in, out] and bias [S, E, T, out], both expanded over T; y [S·E, T·B, out]. With
    the leaves of a `FactoredWeight`, no product for W's gradient is made: x and y's gradient become the leaves'.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, *factors: Tensor) -> Tensor:
        ctx.save_for_backward(x, weight)
        weight, bias = _matrices(weight.select(TASK_AXIS, 0), bias.select(TASK_AXIS, 0))
        return _affine(_batched(x, len(weight)), weight, bias)

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        grad_y = grad_outputs[0].view(*x.shape[:-1], -1)
        x = x.to(grad_y.dtype)  # where autocast is on
        grad_x = grad_weight = grad_bias = None
        if ctx.needs_input_grad[0]:
            # Batched before it is transposed: where that takes a copy, it is the one of the forward pass.
            matrices = weight.select(TASK_AXIS, 0).flatten(0, 1).to(grad_y.dtype)
            grad_x = product(_batched(grad_y, len(matrices)), matrices.mT).view(x.shape)
        if ctx.needs_input_grad[1]:
            grad_weight = product(x.flatten(0, 2).mT, grad_y.flatten(0, 2)).view(weight.shape)
        if ctx.needs_input_grad[2]:
            grad_bias = grad_y.sum(-2)
        factors = (x.detach(), grad_y) if len(ctx.needs_input_grad) > 3 else ()
        return grad_x, grad_weight, grad_bias, *factors


def samples_by_weight(outputs: Iterable[Tensor]) -> dict[Tensor, int]:
    """How many samples of each task a weight that the tasks share sees: of those that one `linear` uses, and nothing
    else, in the graph of some outputs."""
    uses: dict[Tensor, list[int]] = {}
    pending: list[Any] = [output.grad_fn for output in outputs]
    seen = set(pending)
    while pending:
        node = pending.pop()
        for place, (before, _) in enumerate(node.next_functions):
            leaf = getattr(before, "variable", None)
            if leaf is not None:
                is_weight = node.name() == f"{_SharedLinear.__name__}Backward" and place == 1
                uses.setdefault(leaf, []).append(node.saved_tensors[0].shape[-2] if is_weight else 0)
            elif before is not None and before not in seen:
                seen.add(before)
                pending.append(before)
    return {leaf: samples[0] for leaf, samples in uses.items() if len(samples) == 1 and samples[0]}


def product(a: Tensor, b: Tensor) -> Tensor:
    """a [N, n, k] @ b [N, k, m]."""
    if a.shape[-1] == 1:
        return a * b
    if b.shape[-1] == 1 and (_on_cpu(a) or torch.compiler.is_compiling()):
        return (a * b.mT).sum(-1, keepdim=True)  # fuses; a CPU's `bmm` takes twice as long and more
    return torch.bmm(a, b)


def _batched(x: Tensor, num_matrices: int) -> Tensor:
    """[S, E, T, B, F] to [N, -1, F]: what each of N = S·E matrices, or N = S·E·T, is multiplied by."""
    return x.reshape(num_matrices, -1, x.shape[-1])


def _matrices(weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
    """Weight [..., in, out] and bias [..., out] of all seeds, critics and owners, N: [N, in, out] and [N, 1, out]."""
    weight = weight.flatten(0, -3)
    return weight, bias.reshape(len(weight), 1, -1)


def _affine(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """x [N, B, in] through weight [N, in, out] and bias [N, 1, out]."""
    if _on_cpu(x) and weight.shape[-1] > 1:  # one pass over the output less
        return torch.baddbmm(bias, x, weight)
    # Not in place: within an autograd.Function PyTorch 2.11 compiles that into gradients of zero.
    return product(x, weight) + bias


def _on_cpu(tensor: Tensor) -> bool:
    return tensor.device.type == "cpu"
