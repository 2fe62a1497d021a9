"""Adam for tensors with a leading seed axis: for parameters, where one seed's step can be left out on the device, and
for what balancers learn."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mtrl.device.compile import compile_methods


class Adam(nn.Module):
    """Adam (Kingma & Ba 2015, 1412.6980, Algorithm 1) on one tensor [S, ...], each seed with its step count.

    The state lives in buffers that are changed in place.

    Args:
        like: has the shape, device and dtype of the gradients.
        learning_rate: of `step`.
        betas: decay rates of the first and second moments.
        epsilon: added to the denominator.
        weight_decay: `step` also shrinks the parameters by this times the learning rate (AdamW, Loshchilov & Hutter
            2019, 1711.05101, Algorithm 2).
        learning_rate_factor: in `step`; a tensor [] may change in place between the steps, those of a CUDA graph too.
    """

    first_moment: Tensor
    second_moment: Tensor
    steps: Tensor  # [S, 1, ...]

    def __init__(
        self,
        like: Tensor,
        learning_rate: float = 1.0,
        betas: tuple[float, float] = (0.9, 0.999),
        epsilon: float = 1e-8,
        weight_decay: float = 0.0,
        learning_rate_factor: Tensor | float = 1.0,
    ) -> None:
        super().__init__()
        self.learning_rate = learning_rate
        self.betas = betas
        self.epsilon = epsilon
        self.weight_decay = weight_decay
        self.learning_rate_factor = learning_rate_factor
        shape = (like.shape[0], *[1] * (like.dim() - 1))
        self.register_buffer("first_moment", torch.zeros_like(like))
        self.register_buffer("second_moment", torch.zeros_like(like))
        self.register_buffer("steps", torch.zeros(shape, dtype=torch.float64, device=like.device))

    def compile(self) -> None:
        """Compiles `step` into two kernels: a seed's own numbers, in float64, are not computed for every parameter."""
        compile_methods(self, "_count", "_move")

    @torch.no_grad()
    def direction(self, gradient: Tensor) -> Tensor:
        """Takes a gradient in and returns m̂ / (√v̂ + ε), of which a step subtracts the learning rate's multiple.

        An entry that is not finite counts as zero, so that one bad batch does not stay in the moments for ever.
        """
        gradient = torch.nan_to_num(gradient, nan=0.0, posinf=0.0, neginf=0.0)
        return self._direction(gradient, 1.0, *self._count(1.0))

    @torch.no_grad()
    def step(self, parameters: Tensor, gradient: Tensor, active: Tensor, scale: Tensor | float = 1.0) -> None:
        """One step of the parameters, in place, for the seeds where `active` [S] is 1.

        A seed where it is 0 stays as it is, parameters and moments, and the other seeds do not notice. On a GPU that
        takes no branch and no synchronisation, and one flat tensor is one fused kernel when compiled.

        Args:
            scale: a factor of the gradient, a number or [S, ...].
        """
        if not gradient.numel():
            return
        if gradient.device.type == "cpu" and not torch.compiler.is_compiling():
            self._step_by_seed(parameters, gradient, active, scale)
        else:
            self._step_on_device(parameters, gradient, active, scale)

    def _step_on_device(
        self, parameters: Tensor, gradient: Tensor, active: Tensor, scale: Tensor | float
    ) -> None:
        active = active.view(self.steps.shape)
        self._move(parameters, gradient, active, scale, *self._count(active))

    def _count(self, active: Tensor | float) -> tuple[Tensor, Tensor]:
        """Counts the step; returns what corrects the root of the second moment for the first steps, and epsilon."""
        count = self.steps.add_(active).clamp(min=1.0)
        correction1, correction2 = 1.0 - self.betas[0] ** count, 1.0 - self.betas[1] ** count
        dtype = self.first_moment.dtype
        return (correction1 / correction2.sqrt()).to(dtype), (self.epsilon * correction1).to(dtype)

    def _direction(
        self, gradient: Tensor, active: Tensor | float, root_correction: Tensor, epsilon: Tensor
    ) -> Tensor:
        """A gradient, zero where `active` is, into the moments, and the direction out of them."""
        beta1, beta2 = self.betas
        self.first_moment.lerp_(gradient, (1.0 - beta1) * active)
        self.second_moment.mul_(1.0 - (1.0 - beta2) * active).addcmul_(gradient, gradient, value=1.0 - beta2)
        return self.first_moment / self.second_moment.sqrt().mul_(root_correction).add_(epsilon)

    def _move(
        self,
        parameters: Tensor,
        gradient: Tensor,
        active: Tensor,
        scale: Tensor | float,
        root_correction: Tensor,
        epsilon: Tensor,
    ) -> None:
        gradient = torch.where(active > 0, gradient * scale, 0.0)
        direction = self._direction(gradient, active, root_correction, epsilon)
        rate = self.learning_rate * self.learning_rate_factor
        if self.weight_decay:
            parameters.mul_(1.0 - rate * self.weight_decay * active)
        parameters.sub_(direction * (rate * active))

    def _step_by_seed(
        self, parameters: Tensor, gradient: Tensor, active: Tensor, scale: Tensor | float
    ) -> None:
        """The same by PyTorch's fused kernel, in one pass over memory: a CPU may look at what to leave out."""
        stepped = [s for s, is_active in enumerate(active.tolist()) if is_active]
        if not stepped:
            return
        gradients = (gradient * scale).contiguous()
        steps = self.steps.add_(active.view(self.steps.shape)).float()
        # What `torch.optim.adam.adam` calls: what it does before takes longer than the step of a small network.
        torch._fused_adamw_(
            [parameters[s] for s in stepped],
            [gradients[s] for s in stepped],
            [self.first_moment[s] for s in stepped],
            [self.second_moment[s] for s in stepped],
            [],
            [steps[s] for s in stepped],
            lr=self.learning_rate * float(self.learning_rate_factor),
            beta1=self.betas[0],
            beta2=self.betas[1],
            weight_decay=self.weight_decay,
            eps=self.epsilon,
            amsgrad=False,
            maximize=False,
        )
