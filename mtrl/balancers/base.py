"""The seam between per-task gradients and a method that balances them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, ClassVar, Literal, NamedTuple, Self

import torch
from torch import Tensor, nn

from mtrl.balancers import solvers
from mtrl.balancers.blocks import Blocks
from mtrl.device.compile import compile_methods
from mtrl.options import NonNegativeFloat, allows, checked


class Balanced(NamedTuple):
    """What a balancer returns.

    direction: the combined gradient, [S, P].
    weights: the weight of each task, [S, T]; NaN where a method has none (it works per coordinate).
    gramian: the Gramian of the system that was balanced, [S, T, T], in float64; NaN where it was not computed.
    """

    direction: Tensor
    weights: Tensor
    gramian: Tensor


def per_task(values: float | Sequence[float], zeros: Tensor, what: str) -> Tensor:
    """One number for all tasks, or one per task, as [T] with the device and dtype of `zeros` [S, T]."""
    num_tasks = zeros.shape[-1]
    given = [float(v) for v in values] if isinstance(values, Iterable) else [float(values)] * num_tasks
    if len(given) != num_tasks:
        raise ValueError(f"{what} needs one number, or {num_tasks} (one per task), got {len(given)}.")
    return zeros.new_tensor(given)


class Balancer(nn.Module):
    """Combines the gradients of T tasks into one, for S independent seeds at once.

    Hyper-parameters are given to `__init__`; state lives in buffers shaped by `setup` and changed in place, so that a
    call can be captured in a CUDA graph and a `state_dict` holds all of it. Most methods implement `weights` only.

    Convention: linear scalarisation is the preference-weighted mean, w = p with Σp = 1, and every method's weights are
    on that scale.

    Options whose types in `__init__` name a range (`mtrl.options`) are checked when one is made, those of a user's own
    class too.

    Args:
        preference: the task weights p, non-negative, normalised to sum to 1. Default: uniform.
    """

    #: Which gradients the Gramian is of: those of the shared parameters, or of the shared representation.
    system: ClassVar[Literal["parameters", "representation"]] = "parameters"
    #: The weights depend on the Gramian; where they do not, it is computed for `diagnose` only.
    reads_gramian: ClassVar[bool] = True
    #: The method is undefined for negative losses (loss ratios, logarithms of losses): not for the actor of SAC.
    requires_positive_losses: ClassVar[bool] = False
    #: The direction is already normalised per parameter (Adam's division): step along it without a second Adam.
    replaces_optimizer: ClassVar[bool] = False
    #: `observe` wants the losses of the same batch after the update.
    observes_update: ClassVar[bool] = False

    preference: Tensor  # [T]; also [S, T], one preference per seed
    #: [S], int64: solves that did not converge, systems not finite, or not of full rank where it matters
    failures: Tensor

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "__init__" in vars(cls):
            cls.__init__ = checked(cls.__init__)  # type: ignore[method-assign]

    def __init__(self, preference: Sequence[float] | None = None) -> None:
        super().__init__()
        #: Also return the Gramian, for diagnostics, where the method does without it.
        self.diagnose = True
        if preference is not None and not (
            allows(Sequence[NonNegativeFloat], preference) and sum(preference) > 0.0
        ):
            raise ValueError(
                f"{type(self).__name__} needs non-negative preferences with a positive sum, got {preference!r}."
            )
        self._given_preference = None if preference is None else [float(p) for p in preference]

    def setup(
        self,
        num_tasks: int,
        *,
        seeds: Sequence[int] = (0,),
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
        stream: str = "",
    ) -> Self:
        """Shapes the state for S = len(seeds) and T = num_tasks; call it once, before the first gradient.

        Args:
            stream: what is balanced, such as "critic". With the same seed two balancers that draw random numbers draw
                the same ones in the same stream, and independent ones in streams of different names.
        """
        self.stream = stream
        given = self._given_preference
        name = type(self).__name__
        if num_tasks < 1:
            raise ValueError(f"{name} needs at least one task, got {num_tasks}.")
        if given is None:
            given = [1.0] * num_tasks
        if len(given) != num_tasks:
            raise ValueError(
                f"{name} needs a preference of {num_tasks} numbers (one per task), got {len(given)}."
            )
        preference = torch.tensor(given, dtype=torch.float64) / sum(given)
        self.register_buffer("preference", preference.to(device=device, dtype=dtype))
        self.register_buffer("failures", torch.zeros(len(seeds), dtype=torch.int64, device=device))
        self.allocate(torch.zeros(len(seeds), num_tasks, device=device, dtype=dtype), seeds)
        return self

    def allocate(self, zeros: Tensor, seeds: Sequence[int]) -> None:
        """Registers the method's own state, as `setup` ends; `zeros` [S, T] has the device and dtype to use."""

    def forward(
        self, jacobian: Tensor | Blocks, losses: Tensor, representation: Tensor | None = None
    ) -> Balanced:
        """Balances one step.

        Args:
            jacobian: per-task gradients of the shared parameters, [S, T, P], as one tensor or in blocks.
            losses: per-task losses, [S, T].
            representation: per-task gradients of the shared representation, [S, T, R]; read by the methods whose
                `system` is "representation".

        Raises:
            ValueError: a shape is not that of what `setup` was given.
        """
        if jacobian.shape[-2] != self.preference.shape[-1]:
            raise ValueError(
                f"{type(self).__name__} was set up for {self.preference.shape[-1]} tasks, got {jacobian.shape[-2]}."
            )
        sizes = (self.failures.shape[0], self.preference.shape[-1])  # S and T
        if jacobian.shape[:-1] != sizes or losses.shape != sizes:
            expected = ", ".join(map(str, sizes))
            raise ValueError(
                f"{type(self).__name__} was set up for gradients [{expected}, P] and losses [{expected}], got "
                f"{list(jacobian.shape)} and losses {list(losses.shape)}."
            )
        system = jacobian
        if self.system == "representation":
            if representation is None:
                raise ValueError(f"{type(self).__name__} needs the gradients of the shared representation.")
            system = representation
        if self.reads_gramian or self.diagnose:
            return self.balance(jacobian, losses, solvers.gramian(system))
        num_seeds, num_tasks = losses.shape
        unknown = losses.new_full((num_seeds, num_tasks, num_tasks), torch.nan, dtype=torch.float64)
        return self.balance(jacobian, losses, unknown)

    def balance(self, jacobian: Tensor | Blocks, losses: Tensor, gramian: Tensor) -> Balanced:
        """What `forward` does once its arguments are checked; a method without task weights overrides it.

        The Jacobian may come in blocks; `solvers.packed` makes it one tensor.
        """
        weights = self.weights(gramian, losses).to(jacobian.dtype)
        return Balanced(solvers.combine(weights, jacobian), weights, gramian)

    @property
    def reads_rows(self) -> bool:
        """Whether the method needs the task gradients themselves, and not only weights for them."""
        return type(self).balance is not Balancer.balance

    def weights(self, gramian: Tensor, losses: Tensor) -> Tensor:
        """Task weights [S, T] from the Gramian [S, T, T] and the losses [S, T].

        `forward` gives a float64 Gramian whatever the gradients are, and takes weights of any dtype.
        """
        raise NotImplementedError(f"{type(self).__name__} does not reduce to task weights.")

    def compile_weights(self, backend: str = "inductor") -> None:
        """Fuses what `weights` does around its solvers, each of which is one operation to the compiler of a GPU."""
        if self.reads_gramian:
            compile_methods(self, "weights", backend=backend)

    def settle(self, weights: Tensor, failed: Tensor) -> Tensor:
        """Counts the seeds that `failed`, bool [S], or whose weights float32 cannot hold, and gives those the
        preference as weights, [S, T]."""
        failed = failed | ~solvers.fits(weights)
        self.failures.add_(failed)
        return torch.where(failed.unsqueeze(-1), self.preference.to(weights.dtype), weights)

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        """Sets a balancer up that was not, for as many tasks and seeds as the state has."""
        _rename_moments(state_dict, f"{prefix}moments.")
        if not hasattr(self, "preference") and f"{prefix}preference" in state_dict:
            preference, failures = state_dict[f"{prefix}preference"], state_dict[f"{prefix}failures"]
            self.setup(
                preference.shape[-1],
                seeds=range(len(failures)),
                device=preference.device,
                dtype=preference.dtype,
            )
        for name, own in self.named_buffers():
            theirs = state_dict.get(prefix + name, own)
            if theirs.dtype != own.dtype:  # PyTorch would round it
                raise ValueError(f"{type(self).__name__} keeps {name} as {own.dtype}, got {theirs.dtype}.")
        super()._load_from_state_dict(state_dict, prefix, *args)

    def observe(self, losses: Tensor) -> None:
        """Receives the losses [S, T] of the same batch after the update, if `observes_update`."""


def _rename_moments(state_dict: dict[str, Any], prefix: str) -> None:
    """Of checkpoints before agents and balancers had one Adam: shorter names, and one count of steps for all seeds."""
    if f"{prefix}first" in state_dict:
        first = state_dict[f"{prefix}first_moment"] = state_dict.pop(f"{prefix}first")
        state_dict[f"{prefix}second_moment"] = state_dict.pop(f"{prefix}second")
        state_dict[f"{prefix}steps"] = state_dict[f"{prefix}steps"].expand(
            len(first), *[1] * (first.dim() - 1)
        )
