"""What the rewards of each task are divided by, so that values fill the atoms."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor, nn


class ReturnScale(nn.Module):
    """No return is larger than `value_max` then, with a margin for the entropy's part of it (2505.23150, Sec. 3), and
    the returns' variance is at most 1 (2502.15280, Sec. 4.2).

    Args:
        like: has the shape [S, T] and device.
        target_entropy: H̄.
        gamma: discount factor.
    """

    #: The largest |return| and the variance of the returns of each task's running episodes, [2, S, T].
    statistics: Tensor

    def __init__(self, like: Tensor, value_max: float, target_entropy: float, gamma: float) -> None:
        super().__init__()
        self.value_max, self.target_entropy, self.gamma = value_max, target_entropy, gamma
        self.register_buffer("statistics", torch.zeros(2, *like.shape, device=like.device))

    def forward(self, alpha: Tensor) -> Tensor:
        """The scale [S, T] at the temperatures [S, T]."""
        largest, variance = self.statistics
        entropy = alpha * abs(self.target_entropy) / (2 * (1 - self.gamma))
        return torch.maximum((variance + 1e-8).sqrt(), (largest + entropy) / self.value_max)

    def set(self, largest: ArrayLike, variance: ArrayLike) -> None:
        """Statistics [S, T] of the returns for the updates that are queued from now on."""
        statistics = torch.from_numpy(np.stack([largest, variance]).astype(np.float32))
        if self.statistics.device.type == "cuda":
            statistics = statistics.pin_memory()  # a copy from elsewhere waits for all that is queued
        self.statistics.copy_(statistics, non_blocking=True)
