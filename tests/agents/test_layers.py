from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from agents.layers import (
    MLP,
    RELU_GAIN,
    Axes,
    Experts,
    LayerNorm,
    Linear,
    OwnedParameter,
    SharedParameter,
    TaskEmbedding,
)

S, E, T, B, IN, OUT = 2, 2, 3, 5, 4, 6
MakeAxes, Normal = Callable[..., Axes], Callable[..., Tensor]


def test_initial_values_are_uniform_and_of_their_seed_alone(axes: MakeAxes) -> None:
    def draw(seeds: tuple[int, ...], **options: bool | float) -> Linear:
        return Linear(axes(seeds, num_critics=2), 400, 50, **options)

    layer, other = draw((0, 1, 2)), draw((0, 5, 2))
    assert layer.weight.abs().max() <= 1 / 20
    torch.testing.assert_close(layer.weight.std(), torch.tensor(1 / 20 / 3**0.5).double(), rtol=0.02, atol=0)
    for index in (0, 2):
        assert torch.equal(layer.weight[index], other.weight[index])
    assert not torch.equal(layer.weight[1], other.weight[1])
    assert not torch.equal(layer.weight[:, 0], layer.weight[:, 1])
    assert draw((0,), gain=RELU_GAIN).weight.abs().max() > 2 / 20
    owned = draw((0, 1), owned=True)
    assert isinstance(layer.weight, SharedParameter)
    assert isinstance(owned.weight, OwnedParameter)
    assert owned.weight.shape == (2, 2, 3, 400, 50)
    assert not torch.equal(owned.weight[:, :, 0], owned.weight[:, :, 1])


def test_relu_gain_keeps_the_scale_of_features(axes: MakeAxes, normal: Normal) -> None:
    x = normal(1, 1, 3, 100, 200)
    kept = MLP(axes((0,)), 200, [200] * 6, gain=RELU_GAIN)(x)
    faded = MLP(axes((0,)), 200, [200] * 6)(x)
    assert 0.5 < kept.std() < 3
    assert faded.std(3).mean() < 0.01


def test_mlp(axes: MakeAxes, normal: Normal) -> None:
    x = normal(S, 1, T, B, IN)
    for activate_last in (False, True):
        mlp = MLP(axes(num_critics=E), IN, [8, OUT], activate_last=activate_last)
        first, last = mlp.layers
        expected = last(torch.relu(first(x)))
        assert torch.equal(mlp(x), torch.relu(expected) if activate_last else expected)
        assert bool((mlp(x) < 0).any()) == (not activate_last)


def test_layer_norm(axes: MakeAxes, normal: Normal) -> None:
    ours = LayerNorm(axes(num_critics=E), OUT)
    x = normal(S, E, T, B, OUT)
    torch.testing.assert_close(ours(x), nn.functional.layer_norm(x, (OUT,)))
    with torch.no_grad():
        ours.weight.copy_(normal(S, E, OUT))
        ours.bias.copy_(normal(S, E, OUT))
    expected = nn.functional.layer_norm(x[1, 0], (OUT,), ours.weight[1, 0], ours.bias[1, 0])
    torch.testing.assert_close(ours(x)[1, 0], expected)


def test_task_embedding(axes: MakeAxes) -> None:
    embedding = TaskEmbedding(axes(num_critics=E), 1000)()
    assert embedding.shape == (S, E, T, 1, 1000)
    torch.testing.assert_close(embedding.std(), torch.tensor(1.0).double(), rtol=0.02, atol=0)


@pytest.mark.parametrize("num_critics", [1, E])
@pytest.mark.parametrize("same_input", [True, False])
def test_experts_are_mlps_side_by_side(
    axes: MakeAxes, normal: Normal, num_critics: int, same_input: bool
) -> None:
    made = axes(num_critics=num_critics)
    experts = Experts(made, 4, IN, [8, OUT])
    x = normal(S, 1 if same_input else num_critics, T, B, IN)
    y = experts(x)
    assert y.shape == (S, num_critics, 4, T, B, OUT)
    for k in range(4):
        mlp = MLP(made, IN, [8, OUT])
        for ours, theirs in zip(mlp.parameters(), experts.parameters(), strict=True):
            ours.data = theirs.detach().unflatten(1, (num_critics, 4))[:, :, k]
        torch.testing.assert_close(mlp(x), y[:, :, k])
