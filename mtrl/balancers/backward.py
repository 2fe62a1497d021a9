"""Gradient balancing for any PyTorch model."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import reduce

import torch
import torch.distributed as dist
from torch import Tensor, nn

from mtrl.balancers.base import Balanced, Balancer

#: A module, one tensor, or several, with or without names.
Parameters = nn.Module | Tensor | Iterable[Tensor | tuple[str, Tensor]]


def backward(
    losses: Mapping[str, Tensor] | Sequence[Tensor] | Tensor,
    shared_parameters: Parameters,
    balancer: Balancer,
    task_parameters: Mapping[str, Parameters] | Sequence[Parameters] | None = None,
    representation: Tensor | None = None,
    *,
    retain_graph: bool = False,
    scaler: torch.amp.GradScaler | None = None,
    group: dist.ProcessGroup | None = None,
) -> Balanced:
    """Differentiates T losses and adds to `.grad`, as `Tensor.backward` does: the balanced gradient for the
    shared parameters, and for the parameters of one task the gradient of its own loss.

    A balancer that was not set up is set up here, for one seed. T backward passes: any model will do. Parameters
    may differ in dtype and device; what is balanced is float32 at least. Those that are frozen are left out.

    Args:
        losses: one scalar per task, [T], or by the task's name.
        shared_parameters: the parameters that every task uses; one that is given twice counts once.
        balancer: the method. If it `observes_update`, call `balancer.observe(losses_after)` with the losses
            [1, T] of the same batch after the optimiser's step; if it `replaces_optimizer`, step with plain
            `SGD`.
        task_parameters: for each task the parameters that only this task uses; by name, if the losses are.
        representation: the shared features that the losses were computed from; the "UB" methods read their
            gradients.
        retain_graph: keep the graph for another backward pass.
        scaler: scales the gradients of float16 models; give the losses as they are, and call its `step` as usual.
        group: the processes that each have a part of the batch (`DistributedDataParallel`): all of them balance the
            mean of their gradients.

    Returns:
        What the balancer returned, with S = 1.

    Raises:
        ValueError: the losses are not T scalars, the arguments do not agree on T, something else than a leaf of the
            graph is to get a gradient, nothing depends on what is to be balanced, or with several processes no group.
    """
    losses, owned_by_task = _by_task(losses, task_parameters)
    shared = _trainable("shared_parameters", shared_parameters)
    owned = [_trainable("task_parameters", parameters) for parameters in owned_by_task]
    num_ranks = _num_ranks(group)
    _check_disjoint(shared, owned)
    if not any(loss.requires_grad for loss in losses):
        raise ValueError("backward needs losses that depend on parameters, got losses without a graph.")
    features = [representation] if balancer.system == "representation" and representation is not None else []
    if features and not features[0].requires_grad:
        raise ValueError(
            "backward needs a representation that depends on parameters, got one without a graph."
        )
    device = shared[0].device
    dtype = reduce(torch.promote_types, (p.dtype for p in shared), torch.float32)
    if not hasattr(balancer, "preference"):
        balancer.setup(len(losses), device=device, dtype=dtype)
    if balancer.failures.shape[0] != 1:
        raise ValueError(f"backward balances one seed, got a balancer of {balancer.failures.shape[0]} seeds.")
    if balancer.failures.device != device:
        raise ValueError(
            f"backward needs the balancer where the first shared parameter is, on {device}, got one on "
            f"{balancer.failures.device}: set it up with `setup(..., device=...)`, and load its state after that."
        )

    scale = 1.0 if scaler is None else float(scaler.scale(torch.ones((), device=device)))
    rows, feature_rows, owned_rows = [], [], []
    last = max(task for task, loss in enumerate(losses) if loss.requires_grad)
    for task, loss in enumerate(losses):
        leaves = [*shared, *features, *owned[task]]
        gradients: Sequence[Tensor | None] = [None] * len(leaves)
        if loss.requires_grad:
            # Tasks may share a graph, so it is kept until the last of them has been differentiated.
            keep = retain_graph or task != last
            with torch.autocast(loss.device.type, enabled=False):
                gradients = torch.autograd.grad(loss * scale, leaves, retain_graph=keep, allow_unused=True)
        rows.append(gradients[: len(shared)])
        feature_rows.append(gradients[len(shared) : len(shared) + len(features)])
        owned_rows.append(gradients[len(shared) + len(features) :])
    _check_used("shared_parameters", rows)
    _check_used("the representation", feature_rows)

    with torch.no_grad(), torch.autocast(device.type, enabled=False):
        jacobian = _stack(rows, shared, device, dtype) / scale
        values = torch.stack([loss.detach().to(device, dtype) for loss in losses])
        system = _stack(feature_rows, features, device, dtype) / scale if features else None
        if num_ranks > 1:
            for tensor in (jacobian, values):
                dist.all_reduce(tensor.div_(num_ranks), group=group)
            system = None if system is None else _gathered(system / num_ranks, num_ranks, group)
        balanced: Balanced = balancer(
            jacobian.unsqueeze(0), values.unsqueeze(0), None if system is None else system.unsqueeze(0)
        )
        direction = balanced.direction[0] * scale
        if scaler is not None:  # which skips the step where it sees an overflow
            direction = torch.where(jacobian.isfinite().all(), direction, torch.nan)
        pieces = torch.split(direction, [p.numel() for p in shared])
        for i, (parameter, piece) in enumerate(zip(shared, pieces, strict=True)):
            gradient = piece.view(parameter.shape).to(parameter.device, parameter.dtype)
            sparse = any(found is not None and found.is_sparse for found in (row[i] for row in rows))
            _accumulate(parameter, gradient.to_sparse(1) if sparse else gradient)
        for parameters, row in zip(owned, owned_rows, strict=True):
            for parameter, found in zip(parameters, row, strict=True):
                gradient = torch.zeros_like(parameter) if found is None else found
                if num_ranks > 1:
                    gradient = gradient.to_dense() / num_ranks
                    dist.all_reduce(gradient, group=group)
                _accumulate(parameter, gradient)
    return balanced


def _by_task(
    losses: Mapping[str, Tensor] | Sequence[Tensor] | Tensor,
    task_parameters: Mapping[str, Parameters] | Sequence[Parameters] | None,
) -> tuple[list[Tensor], list[Parameters]]:
    """The losses and each task's own parameters, in the order of the losses."""
    by_name = isinstance(losses, Mapping)
    if task_parameters is not None and by_name != isinstance(task_parameters, Mapping):
        raise ValueError("backward needs losses and task_parameters both by name, or both in order.")
    names = list(losses) if isinstance(losses, Mapping) else []
    values = list(losses.values()) if isinstance(losses, Mapping) else list(losses)
    if not values or any(not isinstance(loss, Tensor) or loss.ndim for loss in values):
        found = [tuple(v.shape) if isinstance(v, Tensor) else type(v).__name__ for v in values]
        raise ValueError(f"backward needs one scalar loss per task, got losses of shapes {found}.")
    if task_parameters is None:
        return values, [()] * len(values)
    if isinstance(task_parameters, Mapping):
        if unknown := [name for name in task_parameters if name not in names]:
            raise ValueError(
                f"backward needs task_parameters of the tasks {names}, got those of {unknown} too."
            )
        return values, [task_parameters.get(name, ()) for name in names]
    if len(task_parameters) != len(values):
        raise ValueError(
            f"backward needs task_parameters for {len(values)} tasks, got {len(task_parameters)}."
        )
    return values, list(task_parameters)


def _trainable(what: str, parameters: Parameters) -> list[Tensor]:
    """The parameters that are not frozen, each once.

    Raises:
        ValueError: something is no parameter that an optimiser could step.
    """
    if isinstance(parameters, nn.Module):
        parameters = parameters.parameters()
    given = [parameters] if isinstance(parameters, Tensor) else list(parameters)
    found: dict[int, Tensor] = {}
    for item in given:
        tensor = item[1] if isinstance(item, tuple) and len(item) == 2 else item
        if not isinstance(tensor, Tensor):
            raise ValueError(f"backward needs tensors as {what}, got {type(item).__name__}.")
        if nn.parameter.is_lazy(tensor):
            raise ValueError(
                f"backward needs {what} with a shape: run a batch through the lazy modules first."
            )
        if type(tensor).__name__ in ("DTensor", "FlatParameter"):
            raise ValueError(
                f"backward needs whole tensors as {what}, got one that is sharded over processes."
            )
        if not tensor.is_leaf:
            raise ValueError(
                f"backward needs leaves of the graph as {what}, got a tensor of shape {tuple(tensor.shape)} that was "
                "computed from others: an optimiser would not see its gradient."
            )
        if tensor.is_complex():
            raise ValueError(f"backward needs real numbers as {what}, got {tensor.dtype}.")
        if getattr(tensor, "_post_accumulate_grad_hooks", None):
            raise ValueError(
                f"backward needs {what} without hooks that wait for `.grad` to be accumulated: it does not run them."
            )
        if tensor.requires_grad:
            found[id(tensor)] = tensor
    return list(found.values())


def _check_disjoint(shared: Sequence[Tensor], owned: Sequence[Sequence[Tensor]]) -> None:
    if not shared:
        raise ValueError("backward needs at least one shared parameter that is not frozen, got none.")
    owners = dict.fromkeys(map(id, shared), "shared")
    for task, parameters in enumerate(owned):
        for parameter in parameters:
            other = owners.setdefault(id(parameter), f"of task {task}")
            if other != f"of task {task}":
                raise ValueError(
                    f"backward needs parameters that are shared or of one task, got one of shape "
                    f"{tuple(parameter.shape)} that is {other} and of task {task}."
                )


def _check_used(what: str, rows: Sequence[Sequence[Tensor | None]]) -> None:
    if rows[0] and all(gradient is None for row in rows for gradient in row):
        raise ValueError(f"backward needs losses that depend on {what}, and none of them does.")


def _num_ranks(group: dist.ProcessGroup | None) -> int:
    if not (dist.is_available() and dist.is_initialized()):
        return 1
    if group is None and dist.get_world_size() > 1:
        raise ValueError(
            f"backward runs in one of {dist.get_world_size()} processes and needs to know which of them share a batch: "
            "pass group=torch.distributed.group.WORLD for all, or a group of this process alone."
        )
    return dist.get_world_size(group)


def _stack(
    rows: Sequence[Sequence[Tensor | None]],
    leaves: Sequence[Tensor],
    device: torch.device,
    dtype: torch.dtype,
) -> Tensor:
    """Gradients of each task, zero where there is none, as one matrix [T, P]."""
    matrix = torch.zeros(len(rows), sum(leaf.numel() for leaf in leaves), device=device, dtype=dtype)
    for target, row in zip(matrix, rows, strict=True):
        pieces = target.split([leaf.numel() for leaf in leaves])
        for piece, gradient in zip(pieces, row, strict=True):
            if gradient is not None:
                piece.copy_(gradient.to_dense().flatten())
    return matrix


def _gathered(rows: Tensor, num_ranks: int, group: dist.ProcessGroup | None) -> Tensor:
    """Rows [T, T N] whose Gramian is the sum of those of all N processes' rows [T, R], R different in each."""
    num_tasks = len(rows)
    triangle = torch.linalg.qr(rows.double().mT, mode="r").R.mT
    own = nn.functional.pad(triangle, (0, num_tasks - triangle.shape[-1])).contiguous()
    parts = [torch.empty_like(own) for _ in range(num_ranks)]
    dist.all_gather(parts, own, group=group)
    return torch.cat(parts, dim=-1).to(rows.dtype)


def _accumulate(parameter: Tensor, gradient: Tensor) -> None:
    if parameter.grad is None:
        parameter.grad = gradient.clone()
    elif parameter.grad.is_sparse and not gradient.is_sparse:
        parameter.grad = gradient + parameter.grad
    else:
        parameter.grad += gradient
