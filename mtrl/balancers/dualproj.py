"""The preferred direction projected on the directions without conflict."""

import torch
from torch import Tensor

from mtrl.balancers import solvers
from mtrl.balancers.base import Balancer


class DualProj(Balancer):
    """Projects g_0 = Jᵀp on the cone of directions that ascend for no task: d = Jᵀv, v = argmin over v ≥ p of vᵀGv.
    O(T³).

    Lopez-Paz & Ranzato, "Gradient Episodic Memory for Continual Learning", NeurIPS 2017, Eq. 11; named and compared in
    Quinton & Rey, "Jacobian Descent for Multi-Objective Optimization", 2024, arXiv 2406.16232, Sec. 2.2. Solved
    exactly; TorchJD, the authors' library, adds a ridge of 1e-4 to G, which leaves some conflict.
    """

    def weights(self, gramian: Tensor, losses: Tensor) -> Tensor:
        return self.settle(*project(gramian, self.preference.double().expand(losses.shape)))


def project(gramian: Tensor, start: Tensor) -> solvers.Solution:
    """argmin of vᵀGv over v ≥ start, [N, T]: Jᵀv is the projection of Jᵀstart on the directions without conflict."""
    pull = solvers.matvec(gramian.double(), start)
    added, failed = solvers.cone_quadratic(gramian, pull, solvers.unit_scale(gramian))
    return solvers.Solution(start + torch.where(failed.unsqueeze(-1), 0.0, added), failed)
