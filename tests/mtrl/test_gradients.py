"""`mtrl.gradients` against one `torch.autograd.grad` call per task, on a toy network written with einsum."""

import pytest
import torch
from torch import Tensor

from mtrl.gradients import expand_over_tasks, summed_gradients, task_gradients

S, T, B, IN, HIDDEN, OUT = 2, 3, 5, 4, 6, 2
TASK_AXIS = 1


def make_parameters(seed: int = 0) -> dict[str, Tensor]:
    """shared: weight [S, IN, HIDDEN], bias [S, HIDDEN]; owned by each task: head [S, T, HIDDEN, OUT]."""
    g = torch.Generator().manual_seed(seed)
    shapes = {"weight": (S, IN, HIDDEN), "bias": (S, HIDDEN), "head": (S, T, HIDDEN, OUT)}
    return {n: torch.randn(shape, generator=g, dtype=torch.float64) for n, shape in shapes.items()}


def make_data() -> tuple[Tensor, Tensor]:
    g = torch.Generator().manual_seed(1)
    x = torch.randn(S, T, B, IN, generator=g, dtype=torch.float64)
    return x, torch.randn(S, T, B, OUT, generator=g, dtype=torch.float64)


def losses_of(weight: Tensor, bias: Tensor, head: Tensor) -> tuple[Tensor, Tensor]:
    """Losses [S, T] and the representation [S, E = 1, T, B, HIDDEN]; weight and bias with or without a task axis."""
    x, y = make_data()
    weight = weight if weight.dim() == 4 else weight.unsqueeze(TASK_AXIS)
    bias = bias if bias.dim() == 3 else bias.unsqueeze(TASK_AXIS)
    hidden = torch.tanh(x @ weight + bias.unsqueeze(-2)).unsqueeze(1)
    output = hidden.squeeze(1) @ head
    scale = torch.tensor([1.0, 1e3, 1e-3], dtype=torch.float64)
    return (output - y).square().mean((-1, -2)) * scale, hidden


def separate_gradients() -> tuple[Tensor, Tensor, Tensor]:
    """Rows [S, T, P] of the shared and [S, T, Q] of the owned parameters, and [S, T, ...] of the representation."""
    jacobian, owned, representation = [], [], []
    for t in range(T):
        parameters = {n: p.clone().requires_grad_() for n, p in make_parameters().items()}
        losses, hidden = losses_of(**parameters)
        gradients = torch.autograd.grad(losses[:, t].sum(), [*parameters.values(), hidden])
        weight, bias, head, features = gradients
        jacobian.append(torch.cat([weight.reshape(S, -1), bias.reshape(S, -1)], -1))
        owned.append(head.reshape(S, -1))
        representation.append(features.reshape(S, -1))
    return torch.stack(jacobian, 1), torch.stack(owned, 1), torch.stack(representation, 1)


@pytest.fixture(scope="module")
def gradients():
    parameters = make_parameters()
    expanded = [expand_over_tasks(parameters[n], T, TASK_AXIS) for n in ("weight", "bias")]
    owned = parameters["head"].clone().requires_grad_()
    losses, hidden = losses_of(*expanded, owned)
    return task_gradients(losses, expanded, [owned], hidden, task_axis=TASK_AXIS)


def relative_error(found: Tensor, expected: Tensor) -> float:
    return float((found - expected).norm() / expected.norm())


def test_rows_equal_separate_calls(gradients) -> None:
    jacobian, owned, _ = separate_gradients()
    for t in range(T):  # each task by itself: their scales differ by 1e6
        assert relative_error(gradients.jacobian[:, t], jacobian[:, t]) < 1e-10
    (head,) = gradients.owned
    assert relative_error(head.reshape(S, -1), owned.sum(1)) < 1e-10


def test_owned_parameters_get_their_own_tasks_gradient_only() -> None:
    _, owned, _ = separate_gradients()
    by_task = owned.unflatten(-1, (T, -1))
    for t in range(T):
        others = [other for other in range(T) if other != t]
        assert by_task[:, t, t].abs().min() > 0
        assert by_task[:, t, others].abs().max() == 0


def test_representation_has_the_gramian_of_the_features_gradients(gradients) -> None:
    *_, rows = separate_gradients()
    expected = rows @ rows.mT
    found = gradients.representation @ gradients.representation.mT
    assert relative_error(found, expected) < 1e-10
    assert (expected - torch.diag_embed(expected.diagonal(dim1=-2, dim2=-1))).abs().max() == 0


def test_expansion_copies_nothing() -> None:
    shared = torch.randn(S, IN, HIDDEN)
    leaf = expand_over_tasks(shared, T, TASK_AXIS)
    assert leaf.shape == (S, T, IN, HIDDEN)
    assert leaf.stride(TASK_AXIS) == 0
    assert leaf.data_ptr() == shared.data_ptr()
    assert leaf.is_leaf
    assert leaf.requires_grad


def test_summed_gradients_are_those_of_the_weighted_sum() -> None:
    leaves = {n: p.clone().requires_grad_() for n, p in make_parameters().items()}
    weights = torch.tensor([[0.2, 0.3, 0.5], [1.0, 0.0, 2.0]], dtype=torch.float64)
    found = summed_gradients(losses_of(**leaves)[0], weights, leaves)
    assert {name: gradient.shape for name, gradient in found.items()} == {
        n: p.shape for n, p in leaves.items()
    }
    flat = torch.cat([gradient.reshape(S, -1) for gradient in found.values()], -1)
    jacobian, owned, _ = separate_gradients()
    expected = torch.cat([(weights.unsqueeze(-1) * rows).sum(1) for rows in (jacobian, owned)], -1)
    assert relative_error(flat, expected) < 1e-10


def test_unused_parameters_have_a_zero_gradient() -> None:
    parameters = make_parameters()
    expanded = [expand_over_tasks(parameters[n], T, TASK_AXIS) for n in ("weight", "bias")]
    owned = parameters["head"].clone().requires_grad_()
    unused_shared, unused_owned = torch.ones(S, T, 2, dtype=torch.float64), torch.ones(S, 3)
    losses, _ = losses_of(*expanded, owned)
    found = task_gradients(
        losses,
        [*expanded, unused_shared.requires_grad_()],
        [owned, unused_owned.requires_grad_()],
        task_axis=TASK_AXIS,
    )
    assert found.representation is None
    assert found.jacobian[..., -2:].abs().max() == 0
    assert found.owned[1].shape == (S, 3)
    assert not found.owned[1].any()


def test_nothing_owned() -> None:
    shared = expand_over_tasks(torch.ones(S, 4), T, TASK_AXIS)
    found = task_gradients((shared * torch.arange(4.0)).sum(-1), [shared], [], task_axis=TASK_AXIS)
    torch.testing.assert_close(found.jacobian, torch.arange(4.0).expand(S, T, 4))
    assert found.owned == ()
