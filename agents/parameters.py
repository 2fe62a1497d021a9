"""All parameters of a network as two flat tensors per seed: one update, one norm, one copy for the target."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Mapping

import torch
from torch import Tensor, nn

from agents.affine import TASK_AXIS
from agents.layers import OwnedParameter, SharedParameter
from mtrl.gradients import FactoredWeight, expand_over_tasks

_ALIGNMENT = 4  # numbers: matrix products read 16 bytes at a time


class ParameterVector:
    """Moves a module's parameters into `shared` [S, P] and `owned` [S, Q]; the module's own become views of them.

    What one task owns in one network lies together: so the matrices of all seeds, networks and tasks, being equally far
    apart, go into one batched product without a copy.

    Raises:
        TypeError: a parameter says neither that it is shared nor that it is owned.
    """

    def __init__(self, module: nn.Module) -> None:
        shared: dict[str, nn.Parameter] = {}
        owned: dict[str, nn.Parameter] = {}
        for name, parameter in module.named_parameters():
            if isinstance(parameter, SharedParameter):
                shared[name] = parameter
            elif isinstance(parameter, OwnedParameter):
                owned[name] = parameter
            else:
                raise TypeError(
                    f"Parameter {name} of {type(module).__name__} is a {type(parameter).__name__}; it must be a "
                    "SharedParameter or an OwnedParameter (agents.layers) with its seed and critic axes."
                )
        like = next(iter({**shared, **owned}.values())).detach()
        nothing = like.new_empty(len(like), 0)
        self._shared = _Layout(shared, nothing, row_axes=0)
        self._owned = _Layout(owned, nothing, row_axes=2)
        self.shared_names, self.owned_names = list(shared), list(owned)
        self.shared, self.owned = self.flat_shared(shared), self.flat_owned(owned)
        views = self.views(self.shared, self.owned)
        for name, parameter in {**shared, **owned}.items():
            parameter.data = views[name]
            parameter.requires_grad_(False)

    def views(self, shared: Tensor, owned: Tensor) -> dict[str, Tensor]:
        """Named views of flat tensors [S, P] and [S, Q] that are laid out as this vector is."""
        return dict(self._shared.views(shared)) | dict(self._owned.views(owned))

    def leaves(self, num_tasks: int | None) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Shared and owned parameters to differentiate; the shared ones expanded over T unless that is None."""
        shared, owned = dict(self._shared.views(self.shared)), dict(self._owned.views(self.owned))
        for name, view in shared.items():
            shared[name] = (
                view.requires_grad_() if num_tasks is None else expand_over_tasks(view, num_tasks, TASK_AXIS)
            )
        return shared, {name: view.requires_grad_() for name, view in owned.items()}

    def flat_shared(self, tensors: Mapping[str, Tensor]) -> Tensor:
        """Tensors of the shapes of all shared parameters, such as gradients, as `shared` is laid out: [S, P]."""
        return self._shared.flat(tensors)

    def flat_owned(self, tensors: Mapping[str, Tensor]) -> Tensor:
        """Tensors of the shapes of all owned parameters as `owned` is laid out: [S, Q]."""
        return self._owned.flat(tensors)


def with_parameters(module: nn.Module, parameters: Mapping[str, Tensor | FactoredWeight]) -> nn.Module:
    """A copy of a module that has the named tensors, themselves and not copied, as its parameters."""
    copied = copy.deepcopy(module)
    for name, tensor in parameters.items():
        owner, _, attribute = name.rpartition(".")
        holder = copied.get_submodule(owner)
        delattr(holder, attribute)
        setattr(holder, attribute, tensor)
    return copied


class _Layout:
    """Where parameters lie in a flat tensor [S, N].

    Those with the same `row_axes` axes after the seeds', [S, *rows, ...], are a part [S, *rows, width] of it: side by
    side in every row, and aligned, with zeros between them, if there are such axes. Without parameters the flat tensor
    is `nothing`, [S, 0].
    """

    def __init__(self, parameters: Mapping[str, Tensor], nothing: Tensor, row_axes: int) -> None:
        self._nothing = nothing
        self._shapes = {name: p.shape for name, p in parameters.items()}
        self._leading = 1 + row_axes
        sizes = {name: math.prod(shape[self._leading :]) for name, shape in self._shapes.items()}
        self._padding = {name: -size % _ALIGNMENT if row_axes else 0 for name, size in sizes.items()}
        self._widths = {name: size + self._padding[name] for name, size in sizes.items()}
        self._parts: dict[torch.Size, list[str]] = {}
        for name, shape in self._shapes.items():
            self._parts.setdefault(shape[: self._leading], []).append(name)

    def views(self, flat: Tensor) -> Iterator[tuple[str, Tensor]]:
        """Each parameter's place in a flat tensor."""
        widths = {leading: [self._widths[name] for name in names] for leading, names in self._parts.items()}
        sizes = [math.prod(leading[1:]) * sum(width) for leading, width in widths.items()]
        parts = zip(self._parts.items(), flat.split(sizes, dim=-1) if sizes else (), strict=True)
        for (leading, names), part in parts:
            columns = part.view(*leading, -1).split(widths[leading], dim=-1)
            for name, column in zip(names, columns, strict=True):
                yield name, column[..., : column.shape[-1] - self._padding[name]].view(self._shapes[name])

    @torch.no_grad()
    def flat(self, tensors: Mapping[str, Tensor]) -> Tensor:
        """Tensors in one, with zeros between them."""
        parts = []
        for leading, names in self._parts.items():
            columns = []
            for name in names:
                column = tensors[name].reshape(*leading, -1)
                if self._padding[name]:
                    column = nn.functional.pad(column, (0, self._padding[name]))
                columns.append(column)
            parts.append(torch.cat(columns, dim=-1).flatten(1))
        if not parts:
            return self._nothing
        return torch.cat(parts, dim=-1) if len(parts) > 1 else parts[0]
