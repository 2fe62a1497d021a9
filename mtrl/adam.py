"""Adam for parameters with a leading seed axis, where one seed's step can be left out on the device."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.optim.adam import adam


class Adam:
    """AdamW (Loshchilov & Hutter 2019, 1711.05101, Algorithm 2) on one tensor [S, ...], each seed with its step count.

    Without weight decay it is Adam (Kingma & Ba 2015, 1412.6980, Algorithm 1).

    A seed whose `keep` is 0 stays as it is, parameters and moments, and the other seeds do not notice. On a GPU that
    takes no branch and no synchronisation, and one flat tensor is one fused kernel when compiled.

    Args:
        parameters: changed in place.
        learning_rate: step size.
        betas: decay rates of the first and second moments.
        epsilon: added to the denominator.
        weight_decay: a step also shrinks the parameters by this times the learning rate.
    """

    def __init__(
        self,
        parameters: Tensor,
        learning_rate: float,
        betas: tuple[float, float] = (0.9, 0.999),
        epsilon: float = 1e-8,
        weight_decay: float = 0.0,
    ) -> None:
        self.parameters = parameters
        self.learning_rate = learning_rate
        self.betas = betas
        self.epsilon = epsilon
        self.weight_decay = weight_decay
        self.first_moment = torch.zeros_like(parameters)
        self.second_moment = torch.zeros_like(parameters)
        shape = (parameters.shape[0], *[1] * (parameters.dim() - 1))
        self.steps = torch.zeros(shape, dtype=torch.float64, device=parameters.device)

    def compile(self) -> None:
        """Compiles a step into two kernels: a seed's own numbers, in float64, are not computed for every parameter."""
        self._count = torch.compile(self._count, dynamic=False)  # type: ignore[method-assign]
        self._move = torch.compile(self._move, dynamic=False)  # type: ignore[method-assign]

    @torch.no_grad()
    def step(self, gradient: Tensor, keep: Tensor, scale: Tensor | float = 1.0) -> None:
        """One step along a gradient [S, ...] for the seeds where `keep` [S] is 1; it is 0 elsewhere.

        Args:
            scale: a factor of the gradient, a number or [S, ...].
        """
        if not gradient.numel():
            return
        if gradient.device.type == "cpu":
            self._step_by_seed(gradient, keep, scale)
        else:
            self._step_on_device(gradient, keep, scale)

    def _step_on_device(self, gradient: Tensor, keep: Tensor, scale: Tensor | float) -> None:
        self._move(gradient, keep, scale, *self._count(keep))

    def _count(self, keep: Tensor) -> tuple[Tensor, Tensor]:
        """Counts the step; returns each seed's step size and correction of the root of the second moment."""
        keep = keep.view(self.steps.shape)
        self.steps += keep
        count = self.steps.clamp(min=1.0)
        step_size = (self.learning_rate / (1 - self.betas[0] ** count)).to(keep.dtype) * keep
        return step_size, (1 - self.betas[1] ** count).rsqrt().to(keep.dtype)

    def _move(
        self,
        gradient: Tensor,
        keep: Tensor,
        scale: Tensor | float,
        step_size: Tensor,
        inverse_correction: Tensor,
    ) -> None:
        keep = keep.view(self.steps.shape)
        gradient = torch.where(keep > 0, gradient * scale, 0.0)
        self.first_moment.lerp_(gradient, (1 - self.betas[0]) * keep)
        self.second_moment.lerp_(gradient.square(), (1 - self.betas[1]) * keep)
        denominator = self.second_moment.sqrt().mul_(inverse_correction).add_(self.epsilon)
        if self.weight_decay:
            self.parameters.mul_(1 - self.learning_rate * self.weight_decay * keep)
        self.parameters.sub_(self.first_moment / denominator * step_size)

    def _step_by_seed(self, gradient: Tensor, keep: Tensor, scale: Tensor | float) -> None:
        """The same by PyTorch's fused kernel, in one pass over memory: a CPU may look at what to leave out."""
        kept = [s for s, keeps in enumerate(keep.tolist()) if keeps]
        if not kept:
            return
        gradients = (gradient * scale).contiguous()
        adam(
            params=[self.parameters[s] for s in kept],
            grads=[gradients[s] for s in kept],
            exp_avgs=[self.first_moment[s] for s in kept],
            exp_avg_sqs=[self.second_moment[s] for s in kept],
            max_exp_avg_sqs=[],
            state_steps=[self.steps[s].float() for s in kept],  # copies that the function counts up
            fused=True,
            amsgrad=False,
            beta1=self.betas[0],
            beta2=self.betas[1],
            lr=self.learning_rate,
            weight_decay=self.weight_decay,
            decoupled_weight_decay=True,
            eps=self.epsilon,
            maximize=False,
        )
        self.steps += keep.view(self.steps.shape)

    def state_dict(self) -> dict[str, Tensor]:
        return {"first_moment": self.first_moment, "second_moment": self.second_moment, "steps": self.steps}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        for name, value in self.state_dict().items():
            value.copy_(state[name])
