import numpy as np
import pytest
import torch
from torchjd import scalarization

from mtrl.balancers import LS, STCH


@pytest.mark.parametrize("tasks", [2, 3, 10, 50])
def test_weights_are_the_gradient_of_the_scalarisation(tasks: int) -> None:
    preference = torch.rand(tasks, dtype=torch.float64) + 0.1
    preference /= preference.sum()
    ideal = torch.randn(tasks, dtype=torch.float64)
    balancer = STCH(mu=0.3, ideal=ideal.tolist(), preference=preference.tolist())
    balancer.setup(tasks, seeds=(0, 1, 2), dtype=torch.float64)
    losses = torch.randn(3, tasks, dtype=torch.float64, requires_grad=True)
    value = 0.3 * torch.log(torch.exp(preference * (losses - ideal) / 0.3).sum(-1))
    (gradient,) = torch.autograd.grad(value.sum(), losses)
    torch.testing.assert_close(balancer.weights(torch.empty(0), losses.detach()), tasks * gradient)


def test_parity_with_torchjd() -> None:
    for trial in range(200):
        tasks = (2, 3, 10, 50)[trial % 4]
        preference = torch.rand(tasks, dtype=torch.float64) + 0.1
        preference /= preference.sum()
        losses = 5 * torch.randn(tasks, dtype=torch.float64)
        values = losses.clone().requires_grad_()
        scalarization.STCH(mu=0.5, weights=preference)(values).backward()
        ours = STCH(mu=0.5, preference=preference.tolist()).setup(tasks, dtype=torch.float64)
        torch.testing.assert_close(ours.weights(torch.empty(0), losses.unsqueeze(0))[0], tasks * values.grad)


def test_limits_of_mu() -> None:
    losses = torch.tensor([[1.0, 3.0, 2.0]])
    smooth, linear = STCH(mu=1e6).setup(3), LS().setup(3)
    none = torch.empty(0)
    torch.testing.assert_close(
        smooth.weights(none, losses), linear.weights(none, losses), rtol=1e-5, atol=0.0
    )
    assert STCH(mu=1e-3).setup(3).weights(none, losses).tolist() == [[0.0, 1.0, 0.0]]


def test_an_ideal_point_of_another_number_of_tasks_is_refused() -> None:
    with pytest.raises(ValueError, match=r"ideal needs one number, or 3 \(one per task\), got 2"):
        STCH(ideal=[0.0, 1.0]).setup(3)


def test_a_number_of_numpy_is_a_number() -> None:
    balancer = STCH(ideal=np.int64(3)).setup(2)
    assert balancer.ideal_point.tolist() == [3.0, 3.0]


def test_an_array_is_one_number_per_task() -> None:
    balancer = STCH(ideal=np.array([0.5, -2.0, 3.0])).setup(3)
    assert balancer.ideal_point.tolist() == [0.5, -2.0, 3.0]
