"""Imbalance-sensitive gradient descent."""

from __future__ import annotations

import torch
from torch import Tensor

from mtrl.balancers import solvers
from mtrl.balancers.cagrad import CAGrad


class IMGrad(CAGrad):
    """CAGrad whose inner problem shifts from the worst-off task to the length of g_w as the tasks agree. O(T³).

    Zhou et al., "Injecting Imbalance Sensitivity for Multi-Task Learning", IJCAI 2025, arXiv 2503.08006, Eq. 11:
    w = argmin over the simplex of (1 - cos θ) g_w·g_0 + cos θ c ‖g_0‖ ‖g_w‖ with θ the angle between g_0 and MGDA's
    direction. The rest is CAGrad. The authors' code has 1.5 - cos θ for the first factor; this follows the paper.
    Where MGDA's direction vanishes, cos θ = 0.

    Args: those of CAGrad.
    """

    def weights(self, gramian: Tensor, losses: Tensor) -> Tensor:
        gramian = gramian.double()
        lengths = solvers.unit_scale(gramian)
        preference = self.preference.double().expand(losses.shape)
        pull = solvers.matvec(gramian, preference)
        mean_length = (pull * preference).sum(dim=-1).clamp(min=0.0).sqrt()
        shortest, failed = solvers.simplex_quadratic(gramian, torch.zeros_like(pull), lengths)
        length = solvers.quadratic(gramian, shortest).sqrt()
        vanished = length <= 1e-6 * (shortest * lengths).sum(dim=-1)
        cosine = ((shortest * pull).sum(dim=-1) / (length * mean_length)).clamp(0.0, 1.0)
        cosine = torch.where(vanished | (mean_length == 0.0), 0.0, cosine)
        radius = self.c * mean_length
        worst, not_solved = solvers.simplex_norm(
            gramian, (1.0 - cosine)[:, None] * pull, lengths, cosine * radius
        )
        return self.around_mean(gramian, worst, radius, failed | not_solved)
