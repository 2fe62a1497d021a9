"""Gradient sign dropout."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from mtrl.balancers.base import Balanced, Balancer
from mtrl.balancers.blocks import Blocks
from mtrl.balancers.random import Random
from mtrl.balancers.solvers import packed
from mtrl.options import UnitInterval


class GradDrop(Random, Balancer):
    """Where the gradients disagree in sign, one sign is kept, at random, coordinate by coordinate: with the
    positive sign purity 𝒫 = ½ (1 + Σ_i h_i / Σ_i |h_i|) of the preference-weighted gradients h_i = p_i g_i,
    the positive entries stay with probability 𝒫, the negative ones otherwise. The direction is the sum of
    what stays. O(T P).

    Chen et al., "Just Pick a Sign", NeurIPS 2020, arXiv 2010.06808, Alg. 1 with f the identity.
    Choices: the paper applies it to an activation layer; here it is applied to the gradients of the shared
    parameters. It has no preference; here p multiplies the gradients (the paper's sum is T times ours at a
    uniform p).

    Args:
        leak: ℓ in [0, 1], the part of each gradient that is let through regardless of the draw.
        preference: the task weights p.
    """

    def __init__(self, leak: UnitInterval = 0.0, preference: Sequence[float] | None = None) -> None:
        super().__init__(preference)
        self.leak = leak

    def balance(self, jacobian: Tensor | Blocks, losses: Tensor, gramian: Tensor) -> Balanced:
        jacobian = packed(jacobian)
        weighted = self.preference.unsqueeze(-1) * jacobian
        total = weighted.abs().sum(dim=-2)
        # Where every gradient is zero the purity does not matter.
        purity = 0.5 + 0.5 * torch.nan_to_num(weighted.sum(dim=-2) / total)
        keep_positive = purity > self.generators.rand(jacobian.shape[-1], dtype=jacobian.dtype)
        kept = torch.where(keep_positive.unsqueeze(-2), weighted.clamp(min=0.0), weighted.clamp(max=0.0)).sum(
            dim=-2
        )
        direction = self.leak * weighted.sum(dim=-2) + (1.0 - self.leak) * kept
        self.failures += ~gramian.isfinite().flatten(1).all(dim=-1)
        return Balanced(direction, torch.full_like(losses, torch.nan), gramian)
