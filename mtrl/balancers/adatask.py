"""Task-wise adaptive learning rates."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from mtrl.adam import Adam
from mtrl.balancers.base import Balanced, Balancer
from mtrl.balancers.blocks import Blocks
from mtrl.balancers.solvers import packed
from mtrl.options import Decay, PositiveFloat


class AdaTask(Balancer):
    """Adam with moments of its own for each task, so that a task with large gradients does not set the step
    size of the others: d = Σ_i p_i m̂_i / (√v̂_i + ε), element by element. An optimiser rather than a
    weighting: step along d with plain gradient descent. O(T P) time, and 2 T P numbers of state.

    Yang et al., "AdaTask", AAAI 2023, arXiv 2211.15055, the variant for Adam.
    Choices: the paper sums over the tasks, which is T times ours at a uniform p and asks for another learning
    rate. It has no preference, and scaling a loss does not change the method; here p weighs the normalised
    steps.

    Args:
        betas: decay of the first and of the second moment.
        eps: added to the root of the second moment.
        preference: the task weights p.
    """

    replaces_optimizer = True

    def __init__(
        self,
        betas: tuple[Decay, Decay] = (0.9, 0.999),
        eps: PositiveFloat = 1e-8,
        preference: Sequence[float] | None = None,
    ) -> None:
        super().__init__(preference)
        self.betas = betas
        self.eps = eps

    def allocate(self, zeros: Tensor, seeds: Sequence[int]) -> None:
        # The number of parameters is known at the first gradient, or from a state that is loaded.
        self.moments = Adam(zeros.new_zeros(*zeros.shape, 0), betas=self.betas, epsilon=self.eps)

    def balance(self, jacobian: Tensor | Blocks, losses: Tensor, gramian: Tensor) -> Balanced:
        jacobian = packed(jacobian)
        if self.moments.first_moment.numel() == 0:
            self.moments = Adam(torch.zeros_like(jacobian), betas=self.betas, epsilon=self.eps)
        if self.moments.first_moment.shape != jacobian.shape:
            raise ValueError(
                f"AdaTask has moments of {self.moments.first_moment.shape[-1]} parameters, got gradients of "
                f"{jacobian.shape[-1]}: freeze or add none while it trains."
            )
        direction = (self.preference.unsqueeze(-1) * self.moments.direction(jacobian)).sum(dim=-2)
        self.failures += ~gramian.isfinite().flatten(1).all(dim=-1)
        return Balanced(direction, torch.full_like(losses, torch.nan), gramian)

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        super()._load_from_state_dict(state_dict, prefix, *args)
        first = state_dict.get(f"{prefix}moments.first_moment")  # which is loaded next
        if first is not None and first.shape != self.moments.first_moment.shape:
            self.moments = Adam(
                self.moments.first_moment.new_zeros(first.shape), betas=self.betas, epsilon=self.eps
            )
