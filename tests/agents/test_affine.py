from collections.abc import Callable
from itertools import pairwise

import pytest
import torch
from torch import Tensor

from agents import affine
from agents.affine import TASK_AXIS, linear, mlp, samples_by_weight
from mtrl.gradients import expand_over_tasks, factored

S, E, T, B, IN, OUT = 2, 2, 3, 5, 4, 6
Normal = Callable[..., Tensor]


@pytest.fixture(params=["cpu", "gpu"])
def either_device(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """The operations that a GPU runs are tested on a CPU, too."""
    monkeypatch.setattr(affine, "_on_cpu", lambda tensor: request.param == "cpu")


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
@pytest.mark.parametrize("activate_last", [False, True])
@pytest.mark.parametrize("critics_of_input", [1, E])
def test_constant_parameters_change_nothing_of_the_gradient(
    normal: Normal, samples: str, activate_last: bool, critics_of_input: int
) -> None:
    x = normal(S, critics_of_input, T, B, IN).requires_grad_()
    parameters = [normal(S, E, IN, 8), normal(S, E, 8), normal(S, E, 8, OUT), normal(S, E, OUT)]
    has_gradient = {"all": 1.0, "some": (normal(S, E, T, B, 1) > 0).double(), "none": 0.0}[samples]
    cotangents = normal(S, E, T, B, OUT) * has_gradient

    def outputs_and_gradient(parameters: list[Tensor]) -> tuple[Tensor, Tensor]:
        y = mlp(x, list(pairwise(parameters))[::2], activate_last=activate_last)
        return y, torch.autograd.grad((y * cotangents).sum(), x)[0]

    trained = [p.clone().requires_grad_() for p in parameters]
    for actual, expected in zip(outputs_and_gradient(parameters), outputs_and_gradient(trained), strict=True):
        torch.testing.assert_close(actual, expected, rtol=1e-12, atol=1e-12)


def test_a_gradient_that_is_not_finite_stays_with_its_sample(normal: Normal) -> None:
    x = normal(1, 1, 1, 3, IN).requires_grad_()
    cotangents = torch.zeros(1, 1, 1, 3, OUT, dtype=x.dtype)
    cotangents[..., 0, 5], cotangents[..., 1, 2] = torch.nan, torch.inf
    y = mlp(x, [(normal(1, 1, IN, OUT), normal(1, 1, OUT))], activate_last=False)
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


@pytest.mark.usefixtures("either_device")
@pytest.mark.parametrize("critics_of_input", [1, E])
@pytest.mark.parametrize("activate", [False, True])
def test_a_factored_weight_has_the_factors_of_an_expanded_ones_gradient(
    normal: Normal, critics_of_input: int, activate: bool
) -> None:
    x = normal(S, critics_of_input, T, B, IN).requires_grad_()
    weight, bias = (expand_over_tasks(p, T, TASK_AXIS) for p in (normal(S, E, IN, OUT), normal(S, E, OUT)))
    factored_weight = factored(weight, B)
    cotangents = normal(S, E, T, B, OUT)
    y, expected_y = (linear(x, w, bias, activate=activate) for w in (factored_weight, weight))
    assert torch.equal(y, expected_y)
    inputs, gradients, *others = torch.autograd.grad(
        (y.tanh() * cotangents).sum(), [factored_weight.inputs, factored_weight.gradients, bias, x]
    )
    product, *expected = torch.autograd.grad((expected_y.tanh() * cotangents).sum(), [weight, bias, x])
    torch.testing.assert_close(inputs.mT @ gradients, product, rtol=1e-12, atol=1e-12)
    assert not inputs.requires_grad
    for found, wanted in zip(others, expected, strict=True):
        assert torch.equal(found, wanted)


def test_a_factored_weight_is_for_one_number_of_samples(normal: Normal) -> None:
    weight = factored(expand_over_tasks(normal(S, E, IN, OUT), T, TASK_AXIS), B)
    y = linear(normal(S, E, T, B + 1, IN), weight, normal(S, E, T, OUT))
    with pytest.raises(RuntimeError, match="invalid gradient"):
        torch.autograd.grad(y.sum(), [weight.inputs, weight.gradients])


def test_samples_by_weight(normal: Normal) -> None:
    def leaf(*shape: int) -> Tensor:
        return expand_over_tasks(normal(S, E, *shape), T, TASK_AXIS)

    once, of_one_sample, twice, elsewhere = (leaf(IN, IN) for _ in range(4))
    bias, constant = leaf(IN), normal(S, E, IN, IN)
    x = linear(normal(S, E, T, B, IN), once, bias, activate=True)
    x = linear(linear(x, twice, bias), twice, bias) + linear(x[..., :1, :], of_one_sample, bias)
    x = linear(x, elsewhere, bias) + elsewhere.sum((-1, -2), keepdim=True)
    x = linear(x, constant, normal(S, E, IN))
    assert samples_by_weight([x.exp(), x.sum()]) == {once: B, of_one_sample: 1}
