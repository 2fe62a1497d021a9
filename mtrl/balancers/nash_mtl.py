"""Multi-task learning as a bargaining game."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from mtrl.balancers import solvers
from mtrl.balancers.base import Balancer
from mtrl.options import PositiveFloat, PositiveInt


class NashMTL(Balancer):
    """The Nash bargaining solution: G w = 1/w, w > 0, so every task gets the same share w_i g_i·d of the step.
    O(T³) per Newton step, 4 to 10 of them.

    Navon et al., "Multi-Task Learning as a Bargaining Game", ICML 2022, arXiv 2202.01017, Claim 3.1, Alg. 1. The paper
    approaches w by a sequence of convex programs; w is the minimiser of the convex ½wᵀGw - Σ log w_i, found here to
    convergence. ‖d‖ = √T whatever the gradients' lengths. It has no preference; here p weighs the bargaining
    power, G w = T p / w.

    A task whose gradient is zero drops out. At a Pareto-stationary point there is no solution: counted in `failures`,
    and the last weights stay in force (at first, w = p), as in the authors' code.

    Args:
        preference: the task weights p, see `Balancer`.
        update_every: the weights are computed at the first of every so many calls and kept for the others.
        max_norm: longest ‖d‖; a longer direction is shortened to it. Default: no limit. The authors use 1.
    """

    held: Tensor  # [S, T], the weights in force
    calls: Tensor  # [S], int64

    def __init__(
        self,
        preference: Sequence[float] | None = None,
        update_every: PositiveInt = 1,
        max_norm: PositiveFloat | None = None,
    ) -> None:
        super().__init__(preference)
        self.update_every = update_every
        self.max_norm = max_norm

    def allocate(self, zeros: Tensor, seeds: Sequence[int]) -> None:
        self.register_buffer("held", zeros.double() + self.preference.double())
        self.register_buffer("calls", torch.zeros(len(seeds), dtype=torch.int64, device=zeros.device))

    def weights(self, gramian: Tensor, losses: Tensor) -> Tensor:
        due = self.calls % self.update_every == 0
        self.calls += 1
        if gramian.device.type != "cpu" or due.any():  # a captured graph cannot skip the call
            share = (
                losses.shape[-1] * self.preference * due.unsqueeze(-1)
            )  # without a share nothing is to be solved
            solution, failed = solvers.fair(gramian, 1.0, share)
            failed = failed | ~solvers.fits(solution)
            self.failures += failed & due
            self.held.copy_(torch.where((due & ~failed).unsqueeze(-1), solution, self.held))
        if self.max_norm is None:
            return self.held.clone()
        length = solvers.quadratic(gramian.double(), self.held).sqrt().nan_to_num(0.0, 0.0).unsqueeze(-1)
        return self.held * (self.max_norm / length.clamp(min=self.max_norm))
