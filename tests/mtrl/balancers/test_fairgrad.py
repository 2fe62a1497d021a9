from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from mtrl.balancers import Balancer, FairGrad, NashMTL


@pytest.mark.parametrize("alpha", [0.5, 1.0, 2.0])
def test_the_fixed_point(system: Tensor, kind: str, alpha: float, run: Callable) -> None:
    """G w = w^{-1/α} to 1e-7, for the tasks that have a gradient."""
    balancer = FairGrad(alpha=alpha)
    _, weights, gramian = run(balancer, system)
    if kind == "low_rank":  # half of such systems are Pareto-stationary: either it is solved or it is counted
        solved = balancer.failures == 0
    else:
        assert not balancer.failures.any()
        solved = torch.ones(len(system), dtype=torch.bool)
    plays = (gramian.diagonal(dim1=-2, dim2=-1) > 0) & solved.unsqueeze(-1)
    assert (weights[plays] > 0.0).all()
    ratio = (gramian @ weights.unsqueeze(-1)).squeeze(-1) * weights ** (1.0 / alpha)
    accuracy = 1e-5 if kind == "low_rank" else 1e-7
    torch.testing.assert_close(ratio[plays], torch.ones_like(ratio[plays]), rtol=0, atol=accuracy)


@pytest.mark.parametrize("alpha", [0.5, 1.0, 2.0])
def test_scaling_the_gradients_scales_the_weights_by_its_power(
    alpha: float, make: Callable, run: Callable
) -> None:
    system = make("random", 2, 5)
    weights = run(FairGrad(alpha=alpha), system).weights
    scaled = run(FairGrad(alpha=alpha), 1e5 * system).weights
    torch.testing.assert_close(scaled, weights * 1e5 ** (-2 * alpha / (1 + alpha)))


def test_alpha_one_is_the_nash_solution(make: Callable, run: Callable) -> None:
    system = make("random", 2, 5)
    torch.testing.assert_close(run(FairGrad(), system).weights, run(NashMTL(), system).weights)


def test_a_pareto_stationary_point_is_counted(run: Callable) -> None:
    system = torch.tensor([[[1.0, 0.0], [-2.0, 0.0]], [[1.0, 0.0], [0.0, 1.0]]], dtype=torch.float64)
    balancer = FairGrad()
    _, weights, _ = run(balancer, system)
    assert balancer.failures.tolist() == [1, 0]
    assert weights.tolist()[0] == [0.5, 0.5]


@pytest.mark.parametrize("method", [FairGrad, NashMTL])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_gradient_below_the_normal_numbers_is_none(
    method: type[Balancer], dtype: torch.dtype, run: Callable
) -> None:
    system = torch.tensor([[[1.0, 0.0], [0.0, 1e-40], [0.6, 0.8]]], dtype=dtype)
    alone = system.clone()
    alone[:, 1] = 0.0
    balancer = method()
    assert torch.equal(run(balancer, system).weights, run(method(), alone).weights)
    assert not balancer.failures.any()


def test_weights_that_float32_cannot_hold_count(run: Callable) -> None:
    system = torch.tensor([[[1.0, 0.0], [0.0, 1e-30]]])
    balancer = FairGrad(alpha=10.0)
    assert run(balancer, system).weights.tolist() == [[0.5, 0.5]]
    assert balancer.failures.tolist() == [1]
