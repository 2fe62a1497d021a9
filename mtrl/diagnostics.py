"""Stability measures of a system of task gradients, from its Gramian.

Senushkin et al., "Independent Component Alignment for Multi-Task Learning", CVPR 2023,
arXiv 2305.19000, Sec. 4.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mtrl.balancers import solvers


def condition_number(gramian: Tensor) -> Tensor:
    """κ(J) = σ_max / σ_min, [S], of the Gramian G = J Jᵀ, [S, T, T]; infinite where J is not of full rank,
    which is judged on the gradients' directions.

    1 is ideal: orthogonal gradients of one length. NaN where the Gramian is not finite.
    """
    values, _, failed = solvers.gramian_eigen(gramian, gramian.shape[-1] * torch.finfo(gramian.dtype).eps)
    kappa = torch.where(values[:, 0] > 0.0, (values[:, -1] / values[:, 0]).sqrt(), torch.inf)
    return torch.where(failed, torch.nan, kappa).to(gramian.dtype)


def cosines(gramian: Tensor) -> Tensor:
    """Cosine of each pair of gradients, [S, T, T]; NaN for a gradient of zero. Below 0: a conflict."""
    norms = gramian.diagonal(dim1=-2, dim2=-1).sqrt()
    cosine = (gramian / norms.unsqueeze(-1) / norms.unsqueeze(-2)).clamp(-1.0, 1.0)
    return torch.where((norms.unsqueeze(-1) * norms.unsqueeze(-2)) > 0.0, cosine, torch.nan)


def magnitude_similarity(gramian: Tensor) -> Tensor:
    """2‖g_i‖‖g_j‖ / (‖g_i‖² + ‖g_j‖²) of each pair, [S, T, T]; 1: of one length, 0: one dominates."""
    squares = gramian.diagonal(dim1=-2, dim2=-1)
    first, second = squares.unsqueeze(-1), squares.unsqueeze(-2)
    return 2.0 * first.sqrt() * second.sqrt() / (first + second)


def gradient_metrics(gramian: Tensor) -> dict[str, NDArray[np.float64]]:
    """What is logged of a gradient system with the Gramian [S, T, T]: [S], the tasks' norms [S, T].

    Cosine, magnitude similarity and the share of conflicts (cosine < 0) are means over the pairs of tasks; one task is
    in harmony with itself.
    """
    num_tasks = gramian.shape[-1]
    pairs = ~torch.eye(num_tasks, dtype=torch.bool) if num_tasks > 1 else torch.ones(1, 1, dtype=torch.bool)
    cosine = cosines(gramian)[:, pairs]
    metrics = {
        "condition_number": condition_number(gramian),
        "cosine": cosine.mean(-1),
        "magnitude_similarity": magnitude_similarity(gramian)[:, pairs].mean(-1),
        "conflict_share": (cosine < 0).double().mean(-1),
        "task_grad_norm": gramian.diagonal(dim1=-2, dim2=-1).clamp(min=0).sqrt(),
    }
    return {name: value.numpy() for name, value in metrics.items()}
