from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from agents import layers
from agents.layers import (
    MLP,
    RELU_GAIN,
    TASK_AXIS,
    Axes,
    Experts,
    LayerNorm,
    Linear,
    OwnedParameter,
    SharedParameter,
    TaskEmbedding,
    linear,
    per_task,
)
from mtrl.gradients import expand_over_tasks

S, E, T, B, IN, OUT = 2, 2, 3, 5, 4, 6
MakeAxes, Normal = Callable[..., Axes], Callable[..., Tensor]


@pytest.fixture(params=["cpu", "gpu"])
def either_device(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """The operations that a GPU runs are tested on a CPU, too."""
    monkeypatch.setattr(layers, "_on_cpu", lambda tensor: request.param == "cpu")


@pytest.mark.usefixtures("either_device")
@pytest.mark.parametrize("kind", ["shared", "expanded", "owned"])
@pytest.mark.parametrize("critics_of_input", [1, E])
@pytest.mark.parametrize("out", [OUT, 1])
@pytest.mark.parametrize("activate", [False, True])
def test_linear_is_an_affine_map_of_every_seed_critic_and_task(
    normal: Normal, kind: str, critics_of_input: int, out: int, activate: bool
) -> None:
    x = normal(S, critics_of_input, T, B, IN)
    tasks = (T,) if kind == "owned" else ()
    weight, bias = normal(S, E, *tasks, IN, out), normal(S, E, *tasks, out)
    if kind == "expanded":
        weight, bias = (expand_over_tasks(p, T, TASK_AXIS) for p in (weight, bias))
    y = linear(x, weight, bias, activate=activate)
    assert y.shape == (S, E, T, B, out)
    for s, e, t in torch.cartesian_prod(*map(torch.arange, (S, E, T))).tolist():
        where = (s, e) if kind == "shared" else (s, e, t)
        expected = x[s, e % critics_of_input, t] @ weight[where] + bias[where]
        expected = expected.relu() if activate else expected
        torch.testing.assert_close(y[s, e, t], expected)


@pytest.mark.usefixtures("either_device")
@pytest.mark.parametrize("critics_of_input", [1, E])
@pytest.mark.parametrize("out", [OUT, 1])
@pytest.mark.parametrize("activate", [False, True])
def test_gradients_of_linear(normal: Normal, critics_of_input: int, out: int, activate: bool) -> None:
    """Those of an expanded and of a summed weight agree with autograd on a weight that is really repeated."""
    x = normal(S, critics_of_input, T, B, IN).requires_grad_()
    shared = [normal(S, E, IN, out).requires_grad_(), normal(S, E, out).requires_grad_()]
    expanded = [expand_over_tasks(p, T, TASK_AXIS) for p in shared]
    repeated = [p.detach().contiguous().requires_grad_() for p in expanded]
    cotangents = normal(S, E, T, B, out)

    def gradients(y: Tensor, parameters: list[Tensor]) -> tuple[Tensor, ...]:
        return torch.autograd.grad((y.tanh() * cotangents).sum(), [x, *parameters])

    weight, bias = repeated
    y = x @ weight + bias.unsqueeze(-2)
    expected = gradients(y.relu() if activate else y, repeated)
    by_task = gradients(linear(x, *expanded, activate=activate), expanded)
    summed = gradients(linear(x, *shared, activate=activate), shared)
    for actual, wanted in zip(by_task, expected, strict=True):
        torch.testing.assert_close(actual, wanted, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(summed[0], expected[0], rtol=1e-12, atol=1e-12)
    for actual, wanted in zip(summed[1:], expected[1:], strict=True):
        torch.testing.assert_close(actual, wanted.sum(TASK_AXIS), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("samples", ["all", "some", "none"])
def test_samples_without_a_gradient_are_left_out_where_the_parameters_are_constant(
    normal: Normal, samples: str
) -> None:
    width = layers._WIDE
    x, weight, bias = (
        normal(S, E, T, B, width).requires_grad_(),
        normal(S, E, width, width),
        normal(S, E, width),
    )
    cotangents = normal(S, E, T, B, width)
    has_gradient = {"all": 1.0, "some": (normal(S, E, T, B, 1) > 0).double(), "none": 0.0}[samples]
    cotangents = cotangents * has_gradient

    def gradient(*parameters: Tensor) -> Tensor:
        y = linear(x, *parameters)
        assert y.grad_fn is not None
        assert ("ConstantLinear" in str(y.grad_fn.next_functions)) != parameters[0].requires_grad
        return torch.autograd.grad((y * cotangents).sum(), x)[0]

    trained = [p.clone().requires_grad_() for p in (weight, bias)]
    torch.testing.assert_close(gradient(weight, bias), gradient(*trained), rtol=1e-12, atol=1e-12)


def test_a_gradient_that_is_not_finite_is_not_left_out(normal: Normal) -> None:
    width = layers._WIDE
    x = normal(1, 1, 1, 3, width).requires_grad_()
    cotangents = torch.zeros(1, 1, 1, 3, width, dtype=x.dtype)
    cotangents[..., 0, 5], cotangents[..., 1, 7] = torch.nan, torch.inf
    y = linear(x, normal(1, 1, width, width), normal(1, 1, width))
    (gradient,) = torch.autograd.grad(y, x, cotangents)
    assert torch.isfinite(gradient).all(-1).flatten().tolist() == [False, False, True]


def test_an_expanded_linear_computes_only_the_gradients_that_are_asked_for(normal: Normal) -> None:
    x = normal(S, E, T, B, IN).requires_grad_()
    weight = expand_over_tasks(normal(S, E, IN, OUT), T, TASK_AXIS)
    bias = expand_over_tasks(normal(S, E, OUT), T, TASK_AXIS)
    for wanted in (x, weight, bias):
        for tensor in (x, weight, bias):
            tensor.requires_grad_(tensor is wanted)
        (gradient,) = torch.autograd.grad(linear(x, weight, bias).square().sum(), [wanted])
        assert gradient.any()


def test_one_task_needs_no_special_case(normal: Normal) -> None:
    x = normal(S, 1, 1, B, IN)
    weight, bias = normal(S, E, IN, OUT), normal(S, E, OUT)
    expanded = [expand_over_tasks(p, 1, TASK_AXIS) for p in (weight, bias)]
    torch.testing.assert_close(linear(x, *expanded), linear(x, weight, bias))
    (gradient,) = torch.autograd.grad(linear(x, *expanded).sum(), expanded[:1])
    assert gradient.shape == (S, E, 1, IN, OUT)


def test_per_task(normal: Normal) -> None:
    shared, owned = normal(S, E, OUT), normal(S, E, T, OUT)
    assert per_task(owned, 1, T) is owned
    assert per_task(shared, 1, T).shape == owned.shape
    assert torch.equal(per_task(shared, 1, T)[:, :, 2], shared)


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
