"""Each gradient projected on the directions without conflict, then averaged."""

import torch
from torch import Tensor

from mtrl.balancers import solvers
from mtrl.balancers.base import Balancer
from mtrl.balancers.dualproj import project


class UPGrad(Balancer):
    """Projects every g_i on the cone of directions that ascend for no task, and averages with the preference:
    w = Σ p_i v_i, v_i = argmin over v ≥ e_i of vᵀGv. O(T⁴).

    Quinton & Rey, "Jacobian Descent for Multi-Objective Optimization", 2024, arXiv 2406.16232, Prop. 1, Eq. 5. Solved
    exactly; TorchJD, the authors' library, adds a ridge of 1e-4 to G, which leaves some conflict.
    """

    def weights(self, gramian: Tensor, losses: Tensor) -> Tensor:
        num_seeds, num_tasks = losses.shape
        systems = gramian.repeat_interleave(num_tasks, dim=0)
        units = torch.eye(num_tasks, dtype=torch.float64, device=gramian.device).repeat(num_seeds, 1)
        projected, failed = project(systems, units)
        projected = projected.view(num_seeds, num_tasks, num_tasks)
        weights = solvers.vecmat(self.preference.double(), projected)
        return self.settle(weights, failed.view(num_seeds, num_tasks).any(dim=-1))
