"""Aligned-MTL: align the principal components of the gradient system."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

import numpy as np
import torch
from torch import Tensor

from mtrl.balancers import kernels, solvers
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
        preference: see `Balancer`.
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
        if kernels.usable(gramian):
            return kernels.aligned(
                gramian, self.preference, self.failures, scale_mode=self.scale_mode, tolerance=tolerance
            )
        # Small matrices on the host: an operation of NumPy's takes a third of a tensor's.
        spectrum = (x.cpu().numpy() for x in solvers.gramian_eigen(gramian, tolerance))
        weights = self.preference.double().expand(gramian.shape[:2]).clone().cpu().numpy()
        failures = np.zeros(len(weights), dtype=np.int64)
        for seed, (values, vectors, failed) in enumerate(zip(*spectrum, strict=True)):
            rank = np.count_nonzero(values)  # they ascend: the last ones are kept
            failures[seed] = failed or rank < num_tasks
            if failed or rank == 0:
                continue
            values, vectors = values[-rank:], vectors[:, -rank:]
            if self.scale_mode == "rmse":
                scale = values.mean()
            else:
                scale = values[(rank - 1) // 2 if self.scale_mode == "median" else 0]
            aligned = vectors @ (weights[seed] @ vectors * np.sqrt(scale) / np.sqrt(values))
            if np.abs(aligned).max() <= np.finfo(np.float32).max:
                weights[seed] = aligned
            else:
                failures[seed] = 1
        self.failures.add_(torch.from_numpy(failures).to(gramian.device))
        return torch.from_numpy(weights).to(gramian.device)
