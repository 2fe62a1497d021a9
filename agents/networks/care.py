"""A mixture of encoders, mixed by what is known of the task (CARE)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from agents.layers import MLP, RELU_GAIN, Axes, Experts, Linear
from agents.metadata import task_embeddings
from agents.networks.base import Architecture, Encoder, beside
from agents.networks.shared import Shared, SharedNetwork
from agents.networks.task_encoder import LearnedContext
from mtrl.options import Depth, OptionalDepth, Parts, PositiveFloat, Width


@dataclass(frozen=True)
class Care(Architecture):
    """Contextual attention over a mixture of observation encoders (Sodhani et al. 2021, 2102.06177, Sec. 4).

    z_context is an MLP of the embedded task description, z_enc = Σ_k α_k(z_context) f_k(s), and actor and critics are
    MLPs of [z_enc, z_context]. The encoder is tied between them and trained by the critics' loss only. The attention
    α is a softmax over an MLP of the context, as in the authors' code.

    Args:
        width: units of each hidden layer of actor and critics.
        depth: number of hidden layers of actor and critics.
        num_experts: k, the number of encoders.
        expert_width: units of each hidden layer of an encoder, and size of the encoding.
        expert_depth: number of hidden layers of an encoder.
        context: where the context comes from: `metadata`, the shipped embeddings of one sentence per task, or
            `learned`, an embedding that each task owns.
        context_width: size of the context, and units of the layers that make it and the attention.
        temperature: of the attention.
    """

    width: Width = 400
    depth: Depth = 3
    num_experts: Parts = 6
    expert_width: Width = 50
    expert_depth: OptionalDepth = 2
    context: Literal["metadata", "learned"] = "metadata"
    context_width: Width = 50
    temperature: PositiveFloat = 1.0

    def build(self, axes: Axes, in_features: int, out_features: int) -> SharedNetwork:
        return SharedNetwork(Shared(self.width, self.depth), axes, in_features, out_features)

    def build_encoder(self, axes: Axes, in_features: int) -> CareEncoder:
        return CareEncoder(self, axes, in_features)


class MetadataContext(nn.Module):
    """A context vector [S, E, T, 1, F] from the fixed embedding of each task's description, through an MLP."""

    embeddings: Tensor

    def __init__(self, axes: Axes, width: int) -> None:
        super().__init__()
        embeddings = task_embeddings(axes.task_names).to(axes.dtype)
        leading = (axes.num_seeds, axes.num_critics)
        self.register_buffer(
            "embeddings", embeddings.unsqueeze(-2).expand(*leading, -1, -1, -1), persistent=False
        )
        self.mlp = MLP(axes, embeddings.shape[-1], [2 * width, width, width, width, width], gain=RELU_GAIN)

    def forward(self) -> Tensor:
        context: Tensor = self.mlp(self.embeddings)
        return context


class CareEncoder(Encoder):
    def __init__(self, architecture: Care, axes: Axes, in_features: int) -> None:
        super().__init__()
        a = architecture
        self.temperature = a.temperature
        self.out_features = a.expert_width + a.context_width
        self.context: nn.Module
        if a.context == "metadata":
            self.context = MetadataContext(axes, a.context_width)
        else:
            self.context = LearnedContext(axes, a.context_width, depth=2)
        self.attention = MLP(axes, a.context_width, [a.context_width] * 2, activate_last=True, gain=RELU_GAIN)
        self.logits = Linear(axes, a.context_width, a.num_experts)
        self.experts = Experts(
            axes, a.num_experts, in_features, [a.expert_width] * a.expert_depth + [a.expert_width]
        )

    def forward(self, observation: Tensor) -> Tensor:
        context = self.context()
        logits = self.logits(self.attention(context)).squeeze(-2)
        attention = torch.softmax(logits / self.temperature, dim=-1)
        encoding = torch.einsum("setk,sektbf->setbf", attention, self.experts(observation))
        return beside(encoding, context)
