"""Task gradients as a backward pass leaves them: one tensor per parameter, never copied together."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Blocks:
    """A Jacobian [S, T, P] in blocks.

    To copy ten tasks' gradients of a network's parameters side by side takes as long as to compute them, so the kernels
    read them where they are.

    blocks: [S, E, T, n] each, contiguous, with E·n of the P columns, the columns of E = 0 first.
    """

    blocks: tuple[Tensor, ...]

    @property
    def shape(self) -> torch.Size:
        """(S, T, P)"""
        num_seeds, _, num_tasks, _ = self.blocks[0].shape
        return torch.Size((num_seeds, num_tasks, sum(b.shape[1] * b.shape[3] for b in self.blocks)))

    @property
    def dtype(self) -> torch.dtype:
        return self.blocks[0].dtype

    @property
    def device(self) -> torch.device:
        return self.blocks[0].device

    def packed(self) -> Tensor:
        """The same as one tensor [S, T, P], copied once."""
        return torch.cat([part for block in self.blocks for part in block.unbind(1)], dim=-1)
