"""Per-task gradients of a whole batch in one backward pass, and their Gramian.

Every sample belongs to one task, so a network that sees its shared parameters expanded over a task axis (stride 0: no
copy) gives, as the gradient with respect to the expanded tensor, the gradient of each task's loss: the same FLOPs as
the ordinary summed gradient, with T times the output.

Of a wide affine layer that output is most of the update's memory traffic. Where it is cheaper, such a layer keeps the
factors of its weight's gradients instead, its inputs and the gradients of its outputs (`FactoredWeight`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from mtrl.balancers import kernels
from mtrl.balancers.blocks import Blocks, Factors

#: What a GPU computes in float64 while its memory moves a byte: an H200's matrix units 67 TFLOP/s at the most, of which
#: products make some 50, at 4.1 TB/s.
_FLOPS_PER_BYTE = 12
#: Bytes that its memory moves while the kernels that factors take more than gradients are started: 10 µs.
_BYTES_OF_LAUNCHES = 4e7


class TaskGradients(NamedTuple):
    """jacobian: per-task gradients of the shared parameters, [S, T, P]; in blocks where kernels read them so.

    owned: gradients of the parameters that each task owns, [S, ...] each; every part comes from its own task's loss.
    representation: per-task gradients of the shared representation, [S, T, R], if one was given.
    """

    jacobian: Tensor | Blocks
    owned: tuple[Tensor, ...]
    representation: Tensor | None


def expand_over_tasks(shared: Tensor, num_tasks: int, task_axis: int) -> Tensor:
    """A leaf that shows a shared parameter to each task: [..., T, ...] with the new axis of stride 0."""
    shape = (*shared.shape[:task_axis], num_tasks, *shared.shape[task_axis:])
    return shared.detach().unsqueeze(task_axis).expand(shape).requires_grad_()


class FactoredWeight(NamedTuple):
    """A shared weight of an affine layer that gives the factors of its task gradients.

    weight: expanded over the tasks, [S, E, T, in, out], a constant.
    inputs: a leaf [S, E, T, B, in] without values of its own, whose gradient is to be the layer's input.
    gradients: a leaf [S, E, T, B, out] without values, whose gradient is to be that of the layer's output.
    """

    weight: Tensor
    inputs: Tensor
    gradients: Tensor


def factored(expanded: Tensor, num_samples: int) -> FactoredWeight:
    """For an expanded weight [S, E, T, in, out] of a layer that sees B samples of every task."""

    def leaf(size: int) -> Tensor:
        return expanded.new_zeros(()).expand(*expanded.shape[:3], num_samples, size).requires_grad_()

    return FactoredWeight(expanded.detach(), leaf(expanded.shape[-2]), leaf(expanded.shape[-1]))


def factors_pay(shape: torch.Size, num_samples: int, device: torch.device) -> bool:
    """Whether factors of the task gradients [S, E, T, in, out] of B samples cost less than the gradients.

    By the bytes that a GPU moves, or could move in the same time. Gradients are written once and read twice. With
    factors, X Xᵀ and D Dᵀ of all T·B samples are computed, written and read in float64 (`Factors.gramian`). A CPU
    computes less while it moves a byte: there factors do not pay.
    """
    num_seeds, num_networks, num_tasks, in_features, out_features = shape
    gradients = 3 * 4 * num_tasks * in_features * out_features
    flops = 2 * (in_features + out_features)
    factors = (num_tasks * num_samples) ** 2 * (6 * 8 + flops / _FLOPS_PER_BYTE)
    saved = num_seeds * num_networks * (gradients - factors)
    return device.type == "cuda" and saved > _BYTES_OF_LAUNCHES


def task_gradients(
    losses: Tensor,
    shared: Sequence[Tensor | FactoredWeight],
    owned: Sequence[Tensor],
    representation: Tensor | None = None,
    *,
    task_axis: int,
) -> TaskGradients:
    """Differentiates the losses [S, T] once.

    Args:
        shared: leaves from `expand_over_tasks`, [S, ..., T, ...], T at `task_axis`, or from `factored`.
        owned: leaves of which each task owns a part, [S, ...]; a zero gradient where the losses do not use one.
        representation: [S, E, T, B, R] within the losses' graph, or None.
    """
    leaves: list[Tensor] = []
    for leaf in shared:
        leaves += [leaf.inputs, leaf.gradients] if isinstance(leaf, FactoredWeight) else [leaf]
    wanted = [*leaves, *owned] + ([] if representation is None else [representation])
    gradients = torch.autograd.grad(
        losses, wanted, torch.ones_like(losses), allow_unused=True, materialize_grads=True
    )

    jacobian: Tensor | Blocks = losses.new_empty(*losses.shape, 0)
    if shared:
        found = iter(gradients)
        blocks = Blocks(
            tuple(
                Factors(next(found), next(found))
                if isinstance(leaf, FactoredWeight)
                else _block(next(found), task_axis)
                for leaf in shared
            )
        )
        jacobian = blocks if blocks.factors or kernels.usable(losses) else blocks.packed()
    return TaskGradients(
        jacobian=jacobian,
        owned=gradients[len(leaves) : len(leaves) + len(owned)],
        representation=None if representation is None else _disjoint_rows(gradients[-1].to(losses.dtype)),
    )


def _block(gradient: Tensor, task_axis: int) -> Tensor:
    """A gradient [S, ..., T, ...] as [S, E, T, n], a view where it is contiguous."""
    num_seeds, num_tasks = gradient.shape[0], gradient.shape[task_axis]
    parts = math.prod(gradient.shape[1:task_axis])
    return gradient.reshape(num_seeds, parts, num_tasks, -1).contiguous()


def summed_gradients(losses: Tensor, weights: Tensor, leaves: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The plain gradients of the weighted sum of losses [S, T], by leaf: no per-task ones, nothing to balance."""
    gradients = torch.autograd.grad(
        losses, list(leaves.values()), weights, allow_unused=True, materialize_grads=True
    )
    return dict(zip(leaves, gradients, strict=True))


def _disjoint_rows(gradient: Tensor) -> Tensor:
    """Gradient of the representation [S, E, T, B, R] as a system whose Gramian is [S, T, T].

    The batches of different tasks are disjoint, so task t's gradient is zero on the others' samples and the Gramian is
    diagonal. Its square root, the diagonal matrix of the tasks' gradient norms, has the same Gramian in T columns.
    """
    norms = gradient.movedim(2, 1).flatten(2).norm(dim=-1)
    return torch.diag_embed(norms)
