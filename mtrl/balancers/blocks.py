"""Task gradients as a backward pass leaves them: one block per parameter, never copied together."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Factors:
    """A block [S, E, T, in·out] of a Jacobian as factors: task t's gradient of an affine layer's weight is X_tᵀ D_t.

    Where the weight is large and the samples are few, Gramian and combination cost less without the product. An entry
    of the Gramian is as exact as the factors, relative to the gradients of its two tasks, however long the others are.

    inputs: X, of the layer, [S, E, T, B, in].
    gradients: D, of the tasks' losses with respect to the layer's outputs, [S, E, T, B, out].
    """

    inputs: Tensor
    gradients: Tensor

    @property
    def shape(self) -> torch.Size:
        """(S, E, T, in·out)"""
        return torch.Size((*self.inputs.shape[:3], self.inputs.shape[-1] * self.gradients.shape[-1]))

    @property
    def dtype(self) -> torch.dtype:
        return self.inputs.dtype

    @property
    def device(self) -> torch.device:
        return self.inputs.device

    def product(self) -> Tensor:
        """The block itself."""
        return (self.inputs.mT @ self.gradients).flatten(-2)

    def gramian(self) -> Tensor:
        """The block's part of the Gramian, [S, T, T], in float64: sums of (x·x') (d·d') over the pairs of samples.

        In float32 the products would lose what tells nearly parallel gradients apart: a GPU's matrix units round what
        they multiply to TF32, and what they add up towards zero. Those of a data center's GPU multiply in float64.
        """
        x, d = self.inputs.flatten(2, 3).double(), self.gradients.flatten(2, 3).double()
        pairs = (x @ x.mT).mul_(d @ d.mT)
        num_seeds, num_networks, num_tasks, num_samples, _ = self.inputs.shape
        by_task = pairs.view(num_seeds, num_networks, num_tasks, num_samples, num_tasks, num_samples)
        gramian = by_task.sum((1, 3, 5))
        return (gramian + gramian.mT) / 2  # symmetric to the last bit, as solvers expect

    def combined(self, weights: Tensor) -> Tensor:
        """The sum of the tasks' gradients by their weights [S, T], as one product: [S, E·in·out]."""
        weighted = weights[:, None, :, None, None] * self.gradients
        return (self.inputs.flatten(2, 3).mT @ weighted.flatten(2, 3)).flatten(1)


@dataclass(frozen=True)
class Blocks:
    """A Jacobian [S, T, P] in blocks.

    To copy ten tasks' gradients of a network's parameters side by side takes as long as to compute them, so the kernels
    read them where they are.

    blocks: [S, E, T, n] each, contiguous or as factors, with E·n of the P columns, the columns of E = 0 first.
    """

    blocks: tuple[Tensor | Factors, ...]

    @property
    def rows(self) -> tuple[Tensor, ...]:
        """The blocks that are there."""
        return tuple(b for b in self.blocks if isinstance(b, Tensor))

    @property
    def factors(self) -> tuple[Factors, ...]:
        """The blocks that are not."""
        return tuple(b for b in self.blocks if isinstance(b, Factors))

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
        blocks = (b.product() if isinstance(b, Factors) else b for b in self.blocks)
        return torch.cat([part for block in blocks for part in block.unbind(1)], dim=-1)
