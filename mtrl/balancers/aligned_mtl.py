"""Aligned-MTL: align the principal components of the gradient system."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

import torch
from torch import Tensor

from mtrl.balancers import solvers
from mtrl.balancers.base import Balancer
from mtrl.options import Range


class AlignedMTL(Balancer):
    """Replaces the gradients by the nearest system whose condition number is 1. O(T³).

    Senushkin et al., "Independent Component Alignment for Multi-Task Learning", CVPR 2023, arXiv 2305.19000,
    Algorithm 1: with G = VΛVᵀ of rank r, the balance matrix is B = σ V_r Λ_r^{-1/2} V_rᵀ, and w = B p.
    The paper takes σ = √λ_r, the smallest singular value of J; its code also has the median (the lower one of
    an even count) and the root mean square of the singular values.

    The rank is judged on gradients of unit length: one whose squared sine to the span of others is at most
    `tolerance` depends on them, and no gradient is left out for being short. The default means an angle of 1e-6,
    which float32 gradients do not resolve. A system that is not of full rank is balanced within the space it spans
    and counted in `failures`; for one of rank 0, w = p.

    Args:
        preference: the task weights p, see `Balancer`.
        scale_mode: which singular value of J becomes the common one.
        tolerance: largest squared sine that is taken for zero.
    """

    def __init__(
        self,
        preference: Sequence[float] | None = None,
        scale_mode: Literal["min", "median", "rmse"] = "min",
        tolerance: Annotated[float, Range(0.0, 0.1)] = 1e-12,
    ) -> None:
        super().__init__(preference)
        self.scale_mode = scale_mode
        self.tolerance = tolerance

    def weights(self, gramian: Tensor, losses: Tensor) -> Tensor:
        num_tasks = gramian.shape[-1]
        tolerance = max(self.tolerance, num_tasks * torch.finfo(gramian.dtype).eps)
        values, vectors, failed = solvers.gramian_eigen(gramian, tolerance)
        kept = values > 0.0
        rank = kept.sum(-1, keepdim=True)
        if self.scale_mode == "rmse":
            scale = ((values * kept).sum(-1, keepdim=True) / rank).sqrt()
        else:  # values ascend: the kept ones are the last `rank`
            index = num_tasks - rank + ((rank - 1) // 2 if self.scale_mode == "median" else 0)
            scale = values.gather(-1, index.clamp(0, num_tasks - 1)).sqrt()
        preference = self.preference.double().expand(values.shape)
        components = solvers.vecmat(preference, vectors)  # Vᵀp
        components = torch.where(kept, components * scale / values.sqrt(), 0.0)
        weights = solvers.matvec(vectors, components)
        failed = failed | (rank.squeeze(-1) == 0) | ~solvers.fits(weights)
        self.failures += failed | (rank.squeeze(-1) < num_tasks)
        return torch.where(failed.unsqueeze(-1), preference, weights)
