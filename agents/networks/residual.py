"""A residual network with layer normalisation, told the task by an embedding or by heads of its own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from torch import Tensor, nn

from agents.layers import Axes, LayerNorm, Linear, TaskEmbedding
from agents.networks.base import Architecture, Encoder, Network, beside
from mtrl.options import Depth, Width


@dataclass(frozen=True)
class Residual(Architecture):
    """A shared trunk of normalised residual blocks that scales with its width, and affine heads.

    The trunk is BroNet (Nauman et al. 2024, 2405.16158, Sec. 3): x_0 = ReLU(LN(W x)), and each block adds
    LN(W ReLU(LN(W x_i))).

    Args:
        width: units of each layer.
        depth: number of residual blocks, of two layers each.
        embedding_width: size of a vector of unit norm that each task owns, beside the observation; null for none.
            Actor and critics see the same one, which only the critics' loss trains (Nauman et al. 2025, 2505.23150).
        heads: `owned` by each task, or one that they share.
    """

    width: Width = 400
    depth: Depth = 2
    embedding_width: Width | None = None
    heads: Literal["owned", "shared"] = "owned"

    def build(self, axes: Axes, in_features: int, out_features: int) -> ResidualNetwork:
        return ResidualNetwork(self, axes, in_features, out_features)

    def build_encoder(self, axes: Axes, in_features: int) -> EmbeddingBeside | None:
        if self.embedding_width is None:
            return None
        return EmbeddingBeside(axes, self.embedding_width, in_features)


class ResidualNetwork(Network):
    def __init__(self, architecture: Residual, axes: Axes, in_features: int, out_features: int) -> None:
        super().__init__()
        width = architecture.width
        self.input = NormalisedLinear(axes, in_features, width)
        self.blocks = nn.ModuleList(Block(axes, width) for _ in range(architecture.depth))
        self.heads = Linear(axes, width, out_features, owned=architecture.heads == "owned")

    def features(self, x: Tensor) -> Tensor:
        x = self.input(x).relu_()
        for block in self.blocks:
            x = x + block(x)
        return x

    def head(self, features: Tensor) -> Tensor:
        output: Tensor = self.heads(features)
        return output


class EmbeddingBeside(Encoder):
    def __init__(self, axes: Axes, width: int, in_features: int) -> None:
        super().__init__()
        self.embedding = TaskEmbedding(axes, width)
        self.out_features = in_features + width

    def forward(self, observation: Tensor) -> Tensor:
        return beside(observation, nn.functional.normalize(self.embedding(), dim=-1))


class NormalisedLinear(nn.Module):
    def __init__(self, axes: Axes, in_features: int, out_features: int) -> None:
        super().__init__()
        self.linear = Linear(axes, in_features, out_features)
        self.norm = LayerNorm(axes, out_features)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.norm(self.linear(x))
        return y


class Block(nn.Module):
    def __init__(self, axes: Axes, width: int) -> None:
        super().__init__()
        self.first = NormalisedLinear(axes, width, width)
        self.second = NormalisedLinear(axes, width, width)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.second(self.first(x).relu_())
        return y
