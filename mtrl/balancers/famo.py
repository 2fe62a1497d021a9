"""Fast adaptive multitask optimization."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from mtrl.adam import Adam
from mtrl.balancers.base import Balancer, per_task
from mtrl.options import FiniteFloat, NonNegativeFloat


class FAMO(Balancer):
    """Lets every log-loss fall at the same rate without looking at the gradients: z = softmax(ξ), w_i =
    z_i/(L_i - b_i) / Σ_j z_j/(L_j - b_j). After the update, ξ follows the change δ_i of log(L_i - b_i) on the
    same batch, which tells how fast each task improved. O(T), and one more evaluation of the losses.

    Liu et al., "FAMO", NeurIPS 2023, arXiv 2306.03792, Alg. 1.
    Choices: ξ is stepped by Adam with L2 regularisation γξ, as in the paper's Alg. 2 (Alg. 1 steps plainly);
    L_i - b_i is kept above 1e-8. The paper has no preference, and scaling a loss does not change the method;
    here z = softmax(ξ + log p).

    Args:
        learning_rate: Adam's rate for ξ.
        regularization: γ, pulls ξ back to 0.
        lower_bounds: b, one for all tasks or one per task; every loss must stay above it.
        preference: the task weights p.
    """

    reads_gramian = False

    requires_positive_losses = True
    observes_update = True

    logits: Tensor  # [S, T], ξ
    bounds: Tensor  # [T], b
    before: Tensor  # [S, T], log(L - b) of the last call

    def __init__(
        self,
        learning_rate: NonNegativeFloat = 0.025,
        regularization: NonNegativeFloat = 1e-3,
        lower_bounds: FiniteFloat | Sequence[FiniteFloat] = 0.0,
        preference: Sequence[float] | None = None,
    ) -> None:
        super().__init__(preference)
        self.learning_rate = learning_rate
        self.regularization = regularization
        self.lower_bounds = lower_bounds

    def allocate(self, zeros: Tensor, seeds: Sequence[int]) -> None:
        self.register_buffer("bounds", per_task(self.lower_bounds, zeros, "FAMO's lower_bounds"))
        self.register_buffer("logits", zeros.clone())
        self.register_buffer("before", zeros.clone())
        self.moments = Adam(zeros)

    def weights(self, gramian: Tensor, losses: Tensor) -> Tensor:
        gap = self._gap(losses)
        self.before.copy_(gap.log())
        weights = self._shares() / gap
        weights = weights / weights.sum(dim=-1, keepdim=True)
        return self.settle(weights, ~losses.isfinite().all(dim=-1))

    def observe(self, losses: Tensor) -> None:
        shares = self._shares()
        improvement = self.before - self._gap(losses).log()
        # The Jacobian of softmax times the improvement, and the regularisation.
        gradient = shares * (improvement - (shares * improvement).sum(dim=-1, keepdim=True))
        gradient = gradient + self.regularization * self.logits
        self.logits.sub_(self.learning_rate * self.moments.direction(gradient))

    def _shares(self) -> Tensor:
        return (self.logits + self.preference.log()).softmax(dim=-1)

    def _gap(self, losses: Tensor) -> Tensor:
        return (losses - self.bounds).clamp(min=1e-8)
