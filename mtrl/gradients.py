"""Per-task gradients of a whole batch in one backward pass, and their Gramian.

Every sample belongs to one task, so a network that sees its shared parameters expanded over a task axis (stride 0: no
copy) gives, as the gradient with respect to the expanded tensor, the gradient of each task's loss: the same FLOPs as
the ordinary summed gradient, with T times the output.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

Pack = Callable[[Sequence[Tensor], Sequence[Tensor], Tensor, int], tuple[Tensor, Tensor]]


class TaskGradients(NamedTuple):
    """jacobian: per-task gradients of the shared parameters, [S, T, P].

    owned: gradients of the parameters that each task owns, [S, Q]; each part comes from its own task's loss.
    representation: per-task gradients of the shared representation, [S, T, R], if one was given.
    """

    jacobian: Tensor
    owned: Tensor
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
    pack: Pack | None = None,
) -> TaskGradients:
    """Differentiates the losses [S, T] once.

    Args:
        expanded: leaves from `expand_over_tasks`, [S, ..., T, ...], T at `task_axis`.
        owned: leaves of which each task owns a part, [S, ...]; a zero gradient where the losses do not use one.
        representation: [S, E, T, B, R] within the losses' graph, or None.
        pack: what lays the gradients out, `pack_compiled` where kernels count; the result is the same.
    """
    wanted = [*expanded, *owned] + ([] if representation is None else [representation])
    gradients = torch.autograd.grad(losses.sum(), wanted, allow_unused=True, materialize_grads=True)

    jacobian, owned_gradient = (pack or _pack)(
        gradients[: len(expanded)], gradients[len(expanded) : len(expanded) + len(owned)], losses, task_axis
    )
    return TaskGradients(
        jacobian=jacobian,
        owned=owned_gradient,
        representation=None if representation is None else _disjoint_rows(gradients[-1].to(losses.dtype)),
    )


def _pack(
    shared: Sequence[Tensor], owned: Sequence[Tensor], losses: Tensor, task_axis: int
) -> tuple[Tensor, Tensor]:
    """Gradients [S, ..., T, ...] of shared and [S, ...] of owned parameters as [S, T, P] and [S, Q], copied once."""
    num_seeds, num_tasks = losses.shape
    sizes = [gradient.numel() // (num_seeds * num_tasks) for gradient in shared]
    jacobian = losses.new_empty(num_seeds, num_tasks, sum(sizes))
    for block, gradient in zip(jacobian.split(sizes, dim=-1), shared, strict=True):
        by_task = gradient.movedim(task_axis, 1)
        block.view(by_task.shape).copy_(by_task)
    flat = [gradient.reshape(num_seeds, -1) for gradient in owned]
    return jacobian, torch.cat([losses.new_empty(num_seeds, 0), *flat], dim=-1)


def _pack_compiled(
    shared: Sequence[Tensor], owned: Sequence[Tensor], losses: Tensor, task_axis: int
) -> tuple[Tensor, Tensor]:
    """`_pack` in the form that compiles into one kernel."""
    num_seeds = losses.shape[0]
    by_task = [gradient.movedim(task_axis, 1).flatten(2) for gradient in shared]
    flat = [gradient.reshape(num_seeds, -1) for gradient in owned]
    return torch.cat(by_task, dim=-1), torch.cat([losses.new_empty(num_seeds, 0), *flat], dim=-1)


pack_compiled = torch.compile(_pack_compiled, dynamic=False)


def summed_gradients(losses: Tensor, weights: Tensor, leaves: Mapping[str, Tensor]) -> Tensor:
    """The plain gradient [S, P] of the weighted sum of losses [S, T]: no per-task gradients, nothing to balance."""
    gradients = torch.autograd.grad(
        (losses * weights).sum(), list(leaves.values()), allow_unused=True, materialize_grads=True
    )
    num_seeds = losses.shape[0]
    if not gradients:
        return losses.new_empty(num_seeds, 0)
    return torch.cat([g.reshape(num_seeds, -1) for g in gradients], dim=-1)


def _disjoint_rows(gradient: Tensor) -> Tensor:
    """Gradient of the representation [S, E, T, B, R] as a system whose Gramian is [S, T, T].

    The batches of different tasks are disjoint, so task t's gradient is zero on the others' samples and the Gramian is
    diagonal. Its square root, the diagonal matrix of the tasks' gradient norms, has the same Gramian in T columns.
    """
    norms = gradient.movedim(2, 1).flatten(2).norm(dim=-1)
    return torch.diag_embed(norms)
