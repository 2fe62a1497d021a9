"""All parameters of a network as two flat tensors per seed: one update, one norm, one copy for the target."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from agents.affine import TASK_AXIS
from agents.layers import OwnedParameter, SharedParameter
from mtrl.gradients import expand_over_tasks


class ParameterVector:
    """Moves a module's parameters into `shared` [S, P] and `owned` [S, Q]; the module's own become views of them.

    Raises:
        TypeError: a parameter says neither that it is shared nor that it is owned.
    """

    def __init__(self, module: nn.Module) -> None:
        self._shapes: dict[str, torch.Size] = {}
        shared, owned = [], []
        for name, parameter in module.named_parameters():
            if isinstance(parameter, SharedParameter):
                shared.append((name, parameter))
            elif isinstance(parameter, OwnedParameter):
                owned.append((name, parameter))
            else:
                raise TypeError(
                    f"Parameter {name} of {type(module).__name__} is a {type(parameter).__name__}; it must be a "
                    "SharedParameter or an OwnedParameter (agents.layers) with its seed and critic axes."
                )
            self._shapes[name] = parameter.shape
        like = (shared + owned)[0][1]
        self.shared_names = [name for name, _ in shared]
        self.owned_names = [name for name, _ in owned]
        self.shared = _flatten([p for _, p in shared], like)
        self.owned = _flatten([p for _, p in owned], like)
        views = self.views(self.shared, self.owned)
        for name, parameter in shared + owned:
            parameter.data = views[name]
            parameter.requires_grad_(False)

    def views(self, shared: Tensor, owned: Tensor) -> dict[str, Tensor]:
        """Named views of flat tensors [S, P] and [S, Q] that are laid out as this vector is."""
        return dict(self._split(shared, self.shared_names)) | dict(self._split(owned, self.owned_names))

    def leaves(self, num_tasks: int | None) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Shared and owned parameters to differentiate; the shared ones expanded over T unless that is None."""
        shared = dict(self._split(self.shared, self.shared_names))
        owned = dict(self._split(self.owned, self.owned_names))
        for name, view in shared.items():
            shared[name] = (
                view.requires_grad_() if num_tasks is None else expand_over_tasks(view, num_tasks, TASK_AXIS)
            )
        return shared, {name: view.requires_grad_() for name, view in owned.items()}

    def _split(self, flat: Tensor, names: list[str]) -> Iterator[tuple[str, Tensor]]:
        sizes = [math.prod(self._shapes[name][1:]) for name in names]
        for name, part in zip(names, flat.split(sizes, dim=-1) if sizes else (), strict=True):
            yield name, part.view(self._shapes[name])


def _flatten(parameters: list[nn.Parameter], like: Tensor) -> Tensor:
    """[S, total] with the seeds, device and dtype of `like`, also where there is no parameter."""
    num_seeds = like.shape[0]
    flat = [p.detach().reshape(num_seeds, -1) for p in parameters]
    return torch.cat([like.detach().new_empty(num_seeds, 0), *flat], dim=-1)
