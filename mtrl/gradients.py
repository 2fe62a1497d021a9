"""Per-task gradients of a whole batch in one backward pass, and their Gramian.

Every sample belongs to one task, so a network that sees its shared parameters expanded over a task axis (stride 0: no
copy) gives, as the gradient with respect to the expanded tensor, the gradient of each task's loss: the same FLOPs as
the ordinary summed gradient, with T times the output.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from mtrl.balancers import kernels
from mtrl.balancers.blocks import Blocks


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


def task_gradients(
    losses: Tensor,
    expanded: Sequence[Tensor],
    owned: Sequence[Tensor],
    representation: Tensor | None = None,
    *,
    task_axis: int,
) -> TaskGradients:
    """Differentiates the losses [S, T] once.

    Args:
        expanded: leaves from `expand_over_tasks`, [S, ..., T, ...], T at `task_axis`.
        owned: leaves of which each task owns a part, [S, ...]; a zero gradient where the losses do not use one.
        representation: [S, E, T, B, R] within the losses' graph, or None.
    """
    wanted = [*expanded, *owned] + ([] if representation is None else [representation])
    gradients = torch.autograd.grad(
        losses, wanted, torch.ones_like(losses), allow_unused=True, materialize_grads=True
    )

    jacobian: Tensor | Blocks = losses.new_empty(*losses.shape, 0)
    if expanded:
        blocks = Blocks(tuple(_block(gradient, task_axis) for gradient in gradients[: len(expanded)]))
        jacobian = blocks if kernels.usable(losses) else blocks.packed()
    return TaskGradients(
        jacobian=jacobian,
        owned=gradients[len(expanded) : len(expanded) + len(owned)],
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
