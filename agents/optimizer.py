"""From per-task losses to one step: gradients, balancer, clipping, Adam."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, cast

import torch
from torch import Tensor, nn

from agents.affine import TASK_AXIS, samples_by_weight
from agents.config import SACConfig
from agents.parameters import ParameterVector, with_parameters
from mtrl.adam import Adam
from mtrl.balancers.base import Balancer
from mtrl.device.compile import compile_methods
from mtrl.gradients import (
    FactoredWeight,
    TaskGradients,
    factored,
    factors_pay,
    summed_gradients,
    task_gradients,
)


class TaskOptimizer:
    """Minimises per-task losses [S, T] of one network.

    Shared parameters follow the balancer's direction; owned ones the gradient of their own task's loss, divided by T as
    in the mean loss (Adam does not see a factor; clipping does). Without a balancer both follow the gradient of the
    mean loss, and no per-task gradient is computed.

    Args:
        network: whose losses they are.
        parameters: its parameters, changed in place.
        balancer: set up for S seeds and T tasks, or None.
        config: settings: the learning rate, the weight decay, and the norm that each seed's whole gradient is scaled
            down to.
        learning_rate_factor: a tensor [] may change in place between the steps.

    Attributes:
        network: the same one with `leaves` as its parameters, to be differentiated.
    """

    def __init__(
        self,
        network: nn.Module,
        parameters: ParameterVector,
        balancer: Balancer | None,
        num_tasks: int,
        config: SACConfig,
        learning_rate_factor: Tensor | float = 1.0,
    ) -> None:
        if balancer is not None and not parameters.shared_names:
            raise ValueError(
                f"This network shares no parameters between the tasks, so {type(balancer).__name__} has nothing to "
                "balance; train it with `--balancer null`."
            )
        self.parameters = parameters
        self.balancer = balancer
        self.num_tasks = num_tasks
        shared_leaves, self.owned_leaves = parameters.leaves(None if balancer is None else num_tasks)
        self.shared_leaves: dict[str, Tensor | FactoredWeight] = {**shared_leaves}
        self.network = with_parameters(network, self.leaves)
        self.config, self.learning_rate_factor = config, learning_rate_factor
        make_adam = partial(
            Adam,
            learning_rate=config.learning_rate,
            weight_decay=config.weight_decay,
            learning_rate_factor=learning_rate_factor,
        )
        self.adam_owned = make_adam(parameters.owned)
        replaced = balancer is not None and balancer.replaces_optimizer
        self.adam_shared = None if replaced else make_adam(parameters.shared)

    def compile(self) -> None:
        """Compiles what follows the backward pass into a few fused kernels."""
        compile_methods(self, "_measure")
        if self.balancer is not None and self.parameters.shared.is_cuda:
            self.balancer.compile_weights()
        self.adam_owned.compile()
        if self.adam_shared is not None:
            self.adam_shared.compile()

    def factor_gradients(self, *inputs: Tensor) -> None:
        """Gives the balancer the gradients of some weights as factors from now on, where that costs less.

        Args:
            inputs: of the network, for a batch of the size to come: the graph of its outputs tells who uses what.
        """
        if self.balancer is None or self.balancer.reads_rows:
            return
        samples = samples_by_weight(self.network(*inputs))
        for name, leaf in self.shared_leaves.items():
            if isinstance(leaf, FactoredWeight) or leaf not in samples:
                continue
            if factors_pay(leaf.shape, samples[leaf], leaf.device):
                self.shared_leaves[name] = factored(leaf, samples[leaf])
        self.network = with_parameters(self.network, self.leaves)

    @property
    def leaves(self) -> dict[str, Tensor | FactoredWeight]:
        """The parameters that the losses are to be computed with."""
        return {**self.shared_leaves, **self.owned_leaves}

    @property
    def reads_representation(self) -> bool:
        """Whether the balancer wants gradients of the features."""
        return self.balancer is not None and self.balancer.system == "representation"

    def step(
        self,
        losses: Tensor,
        representation: Tensor | None,
        closure: Callable[[], Tensor],
    ) -> dict[str, Tensor]:
        """One step on the losses [S, T] of the leaves; skipped on the device if anything is not finite.

        Args:
            representation: the features [S, E, T, B, R] in the losses' graph, if the balancer `reads_representation`.
            closure: computes the losses [S, T] of the same batch again, with the module's own parameters; called after
                the step where the balancer observes what it did.

        Returns:
            metrics: grad_norm [S] before clipping, nonfinite [S] (1 where a seed's loss or gradient is not finite), and
            with a balancer weights [S, T] and gramian [S, T, T].
        """
        metrics: dict[str, Tensor] = {}
        owned_factor = 1.0
        if self.balancer is None:
            weights = losses.new_full(losses.shape, 1.0 / self.num_tasks)
            gradients_of = summed_gradients(losses, weights, cast("dict[str, Tensor]", self.leaves))
            shared_gradient = self.parameters.flat_shared(gradients_of)
            owned_gradient = self.parameters.flat_owned(gradients_of)
        else:
            gradients = self._task_gradients(losses, representation)
            balanced = self.balancer(gradients.jacobian, losses.detach(), gradients.representation)
            shared_gradient = balanced.direction
            owned_gradient = self.parameters.flat_owned(
                dict(zip(self.owned_leaves, gradients.owned, strict=True))
            )
            owned_factor = 1.0 / self.num_tasks
            metrics["weights"] = balanced.weights
            metrics["gramian"] = balanced.gramian
        metrics["grad_norm"], metrics["nonfinite"] = self._apply(
            losses.detach(), shared_gradient, owned_gradient, owned_factor
        )
        if self.balancer is not None and self.balancer.observes_update:
            with torch.no_grad():
                self.balancer.observe(closure())
        return metrics

    def _task_gradients(self, losses: Tensor, representation: Tensor | None) -> TaskGradients:
        shared, owned = list(self.shared_leaves.values()), list(self.owned_leaves.values())
        return task_gradients(losses, shared, owned, representation, task_axis=TASK_AXIS)

    @torch.no_grad()
    def _apply(
        self,
        losses: Tensor,
        shared_gradient: Tensor,
        owned_gradient: Tensor,
        owned_factor: float,
    ) -> tuple[Tensor, Tensor]:
        """Clips, steps where everything is finite, and returns the gradients' norms [S] and what is not finite [S].

        Args:
            owned_factor: of the owned gradient [S, Q]; it costs no pass of its own.
        """
        norm, finite, nonfinite, scale = self._measure(losses, shared_gradient, owned_gradient, owned_factor)
        self.adam_owned.step(self.parameters.owned, owned_gradient, finite, owned_factor * scale)
        if self.adam_shared is not None:
            self.adam_shared.step(self.parameters.shared, shared_gradient, finite, scale)
        else:
            if self.config.weight_decay:
                rate = self.config.learning_rate * self.learning_rate_factor
                self.parameters.shared.mul_(1 - rate * self.config.weight_decay * finite.unsqueeze(-1))
            step = torch.where(finite.unsqueeze(-1) > 0, shared_gradient * self.learning_rate_factor, 0.0)
            self.parameters.shared.sub_(step, alpha=self.config.learning_rate)
        return norm, nonfinite

    def _measure(
        self, losses: Tensor, shared_gradient: Tensor, owned_gradient: Tensor, owned_factor: float
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """The gradients' norms [S], where everything is finite and where not [S], and what clips a gradient [S, 1]."""
        shared_squares, owned_squares = (g.square().sum(-1) for g in (shared_gradient, owned_gradient))
        squared_norm = shared_squares + owned_factor**2 * owned_squares
        finite = ((squared_norm + losses.sum(-1)).abs() < torch.inf).to(losses.dtype)
        norm = squared_norm.sqrt()
        if self.config.max_grad_norm is None:
            scale = torch.ones_like(norm)
        else:
            scale = (self.config.max_grad_norm / (norm + 1e-6)).clamp(max=1.0)
        return norm, finite, 1.0 - finite, scale.unsqueeze(-1)

    def state_dict(self) -> dict[str, Any]:
        """Moments and step counts of Adam, and the balancer's state."""
        return {
            "adam_owned": self.adam_owned.state_dict(),
            "adam_shared": None if self.adam_shared is None else self.adam_shared.state_dict(),
            "balancer": None if self.balancer is None else self.balancer.state_dict(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.adam_owned.load_state_dict(state["adam_owned"])
        if self.adam_shared is not None:
            self.adam_shared.load_state_dict(state["adam_shared"])
        if self.balancer is not None:
            self.balancer.load_state_dict(state["balancer"])
