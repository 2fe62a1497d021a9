"""Impartial multi-task learning, the gradient part."""

from __future__ import annotations

import torch
from torch import Tensor

from mtrl.balancers import solvers
from mtrl.balancers.base import Balancer


class IMTLG(Balancer):
    """The direction with equal projections on all gradients: G w = s d, d_i = ‖g_i‖, Σw = 1. O(T³).

    Liu et al., "Towards Impartial Multi-task Learning", ICLR 2021, Eq. 6. With C the matrix of cosines, w_i ∝ u_i / d_i
    with C u = 1. The method has no preference. Weights may be negative, and where the sum of u_i / d_i is, Σw = 1 turns
    the direction against every task; the paper does not treat that case, and neither does this.

    Where the gradients are dependent, u is the least-squares solution of smallest norm. If the projections are then
    unequal, or the sum vanishes, the system counts as failed, w = p. A task without gradient drops out.
    """

    def weights(self, gramian: Tensor, losses: Tensor) -> Tensor:
        gramian = gramian.double()
        squares = gramian.diagonal(dim1=-2, dim2=-1).clamp(min=0.0)
        plays = squares > 0.0
        lengths = torch.where(plays, squares.sqrt(), 1.0)
        cosines = gramian / (lengths.unsqueeze(-1) * lengths.unsqueeze(-2))
        # Ones to the last bit: for nearly parallel gradients the difference to their cosine decides.
        itself = torch.eye(gramian.shape[-1], dtype=torch.bool, device=gramian.device)
        cosines = torch.where(itself & plays.unsqueeze(-1) & cosines.isfinite(), 1.0, cosines)
        values, vectors, failed = solvers.symmetric_eigen(cosines)
        kept = values > 1e-12 * values[:, -1:]
        ones = plays.to(values.dtype)
        components = torch.where(kept, solvers.matvec(vectors.mT, ones) / values, 0.0)
        solution = solvers.matvec(vectors, components)
        unequal = (solvers.matvec(cosines, solution) - ones).abs().amax(dim=-1) > 1e-6
        share = torch.where(plays, solution / lengths, 0.0)
        total = share.sum(dim=-1, keepdim=True)
        vanished = total.abs() <= 1e-10 * share.abs().sum(dim=-1, keepdim=True)
        return self.settle(share / total, failed | unequal | vanished.squeeze(-1))
