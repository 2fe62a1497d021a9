"""Dynamic weight average."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from mtrl.balancers.base import Balancer
from mtrl.options import PositiveFloat, PositiveInt


class DWA(Balancer):
    """A task whose loss falls slowly gets more weight: w = T p ⊙ softmax(r / τ), with r_i the mean loss of
    the last full window over that of the window before it; r = 1 until two windows are full. O(T).

    Liu et al., "End-to-End Multi-Task Learning with Attention", CVPR 2019, arXiv 1803.10704, Eq. 7.
    Choices: the paper's window is an epoch, which RL does not have; ours is a number of updates. Its weights
    sum to T, ours to 1 for a uniform preference. It has no preference; here p multiplies the losses.

    Args:
        temperature: τ, large values make the weights equal.
        window: updates whose losses are averaged.
        preference: the task weights p.
    """

    reads_gramian = False

    requires_positive_losses = True

    total: Tensor  # [S, T], sum of the losses in the open window
    count: Tensor  # [], updates in the open window
    ratio: Tensor  # [S, T]
    previous: Tensor  # [S, T], mean of the last full window; NaN before there is one

    def __init__(
        self,
        temperature: PositiveFloat = 2.0,
        window: PositiveInt = 500,
        preference: Sequence[float] | None = None,
    ) -> None:
        super().__init__(preference)
        self.temperature = temperature
        self.window = window

    def allocate(self, zeros: Tensor, seeds: Sequence[int]) -> None:
        self.register_buffer("total", zeros.clone())
        self.register_buffer("count", torch.zeros((), device=zeros.device, dtype=torch.int64))
        self.register_buffer("ratio", torch.ones_like(zeros))
        self.register_buffer("previous", torch.full_like(zeros, torch.nan))

    def weights(self, gramian: Tensor, losses: Tensor) -> Tensor:
        weights = losses.shape[-1] * self.preference * (self.ratio / self.temperature).softmax(dim=-1)
        self.total.add_(torch.nan_to_num(losses))
        self.count.add_(1)
        full = self.count == self.window
        mean = self.total / self.window
        # No window before this one, or 0 / 0: no rate to speak of.
        ratio = torch.nan_to_num(mean / self.previous, nan=1.0)
        self.ratio.copy_(torch.where(full, ratio, self.ratio))
        self.previous.copy_(torch.where(full, mean, self.previous))
        self.total.mul_(~full)
        self.count.mul_(~full)
        return self.settle(weights, ~losses.isfinite().all(dim=-1))
