"""A mixture of orthogonal experts (MOORE)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from agents.layers import Axes, Experts, Linear
from agents.networks.base import Architecture, Network
from mtrl.options import Depth, Parts, Width


@dataclass(frozen=True)
class Moore(Architecture):
    """Experts whose outputs are orthonormalised, mixed by each task (Hendawy et al. 2024, 2311.11385, Alg. 1).

    With U(x) the outputs of k experts and V = GramSchmidt(U), the representation is tanh(V w_t), and each task has an
    affine head of its own.

    Args:
        width: units of each hidden layer of an expert, and size of the representation.
        depth: number of layers of an expert; the last one is affine.
        num_experts: k; the authors take 4 for MT10 and 6 for MT50.
    """

    width: Width = 400
    depth: Depth = 3
    num_experts: Parts = 4

    def build(self, axes: Axes, in_features: int, out_features: int) -> MooreNetwork:
        return MooreNetwork(self, axes, in_features, out_features)


class MooreNetwork(Network):
    def __init__(self, architecture: Moore, axes: Axes, in_features: int, out_features: int) -> None:
        super().__init__()
        a = architecture
        self.experts = Experts(axes, a.num_experts, in_features, [a.width] * a.depth)
        bound = math.sqrt(6 / (axes.num_tasks + a.num_experts))
        self.mixing = axes.uniform(bound, a.num_experts, owned=True)
        self.heads = Linear(axes, a.width, out_features, owned=True)

    def features(self, x: Tensor) -> Tensor:
        basis = orthonormalise(self.experts(x))
        return torch.tanh(torch.einsum("setk,sektbf->setbf", self.mixing, basis))

    def head(self, features: Tensor) -> Tensor:
        output: Tensor = self.heads(features)
        return output


def orthonormalise(u: Tensor) -> Tensor:
    """Gram-Schmidt over the experts of each sample, [S, E, K, T, B, F], with each step applied to all that follow."""
    basis = []
    for _ in range(u.shape[2]):
        v = torch.nn.functional.normalize(u[:, :, :1], dim=-1)
        basis.append(v)
        u = u[:, :, 1:]
        u = u - (u * v).sum(-1, keepdim=True) * v
    return torch.cat(basis, dim=2)
