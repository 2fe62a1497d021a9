"""Adam for parameters with a leading seed axis, where one seed's step can be left out on the device."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.optim.adam import adam


class Adam:
    """Adam (Kingma & Ba 2015, 1412.6980, Algorithm 1) on one tensor [S, ...], each seed with a step count of its own.

    A seed whose `keep` is 0 stays as it is, parameters and moments, and the other seeds do not notice. On a GPU that
    takes no branch and no synchronisation, and one flat tensor is one fused kernel when compiled.

    Args:
        parameters: changed in place.
        learning_rate: step size.
        betas: decay rates of the first and second moments.
        epsilon: added to the denominator.
    """

    def __init__(
        self,
        parameters: Tensor,
        learning_rate: float,
        betas: tuple[float, float] = (0.9, 0.999),
        epsilon: float = 1e-8,
    ) -> None:
        self.parameters = parameters
        self.learning_rate = learning_rate
        self.betas = betas
        self.epsilon = epsilon
        self.first_moment = torch.zeros_like(parameters)
        self.second_moment = torch.zeros_like(parameters)
        shape = (parameters.shape[0], *[1] * (parameters.dim() - 1))
        self.steps = torch.zeros(shape, dtype=torch.float64, device=parameters.device)

    @torch.no_grad()
    def step(self, gradient: Tensor, keep: Tensor) -> None:
        """One step along a gradient [S, ...] for the seeds where `keep` [S] is 1; it is 0 elsewhere."""
        if gradient.device.type == "cpu":
            self._step_by_seed(gradient.contiguous(), keep)
        else:
            self._step_on_device(gradient, keep)

    def _step_on_device(self, gradient: Tensor, keep: Tensor) -> None:
        dtype = gradient.dtype
        keep = keep.view(self.steps.shape)
        gradient = torch.where(keep > 0, gradient, 0.0)
        self.steps += keep
        count = self.steps.clamp(min=1.0)
        step_size = (self.learning_rate / (1 - self.betas[0] ** count)).to(dtype) * keep
        inverse_correction = (1 - self.betas[1] ** count).rsqrt().to(dtype)
        self.first_moment.lerp_(gradient, (1 - self.betas[0]) * keep)
        self.second_moment.lerp_(gradient.square(), (1 - self.betas[1]) * keep)
        denominator = self.second_moment.sqrt().mul_(inverse_correction).add_(self.epsilon)
        self.parameters.sub_(self.first_moment / denominator * step_size)

    def _step_by_seed(self, gradient: Tensor, keep: Tensor) -> None:
        """The same by PyTorch's fused kernel, in one pass over memory: a CPU may look at what to leave out."""
        for s in keep.nonzero().flatten().tolist() if gradient.numel() else ():
            adam(
                params=[self.parameters[s]],
                grads=[gradient[s]],
                exp_avgs=[self.first_moment[s]],
                exp_avg_sqs=[self.second_moment[s]],
                max_exp_avg_sqs=[],
                state_steps=[self.steps[s].float()],  # a copy that the function counts up
                fused=True,
                amsgrad=False,
                beta1=self.betas[0],
                beta2=self.betas[1],
                lr=self.learning_rate,
                weight_decay=0.0,
                eps=self.epsilon,
                maximize=False,
            )
        self.steps += keep.view(self.steps.shape)

    def state_dict(self) -> dict[str, Tensor]:
        return {"first_moment": self.first_moment, "second_moment": self.second_moment, "steps": self.steps}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        for name, value in self.state_dict().items():
            value.copy_(state[name])
