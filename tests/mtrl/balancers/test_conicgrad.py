from collections.abc import Callable

import numpy as np
import pytest
import torch
from scipy.optimize import minimize
from torch import Tensor

from mtrl.balancers import MGDA, ConicGrad


@pytest.mark.parametrize("c", [0.3, 0.8])
def test_the_direction_is_in_the_cone_and_as_long_as_the_mean(
    system: Tensor, c: float, run: Callable
) -> None:
    direction, _, _ = run(ConicGrad(c=c), system)
    mean = system.mean(1)
    length = mean.norm(dim=-1)
    scale = 1e-7 * system.norm(dim=-1).amax(-1)
    assert ((direction.norm(dim=-1) - length).abs() <= scale).all()
    assert ((direction * mean).sum(-1) >= c * length.square() - scale * length).all()


@pytest.mark.parametrize("c", [0.2, 0.5, 0.9])
@pytest.mark.parametrize("tasks", [2, 3, 10])
@pytest.mark.parametrize("kind_", ["random", "conflicting"])
def test_no_other_direction_of_the_cone_is_better(
    kind_: str, tasks: int, c: float, make: Callable, run: Callable
) -> None:
    system = make(kind_, 1, tasks, size=12)
    direction, _, _ = run(ConicGrad(c=c), system)
    rows, found = system[0].numpy(), direction[0].numpy()
    mean = rows.mean(0)
    length = np.linalg.norm(mean)
    constraints = [
        {"type": "ineq", "fun": lambda x: rows @ x[:-1] - x[-1]},
        {"type": "ineq", "fun": lambda x: length**2 - x[:-1] @ x[:-1]},
        {"type": "ineq", "fun": lambda x: mean @ x[:-1] - c * length * np.linalg.norm(x[:-1])},
    ]
    start = np.append(mean, (rows @ mean).min())
    other = minimize(
        lambda x: -x[-1], start, constraints=constraints, method="SLSQP", options={"maxiter": 500}
    )
    margin = (rows @ found).min()
    if other.x[-1] > 1e-3:  # else no direction of the cone helps every task
        assert margin >= other.x[-1] - 1e-6


def test_on_the_surface_z_annihilates_the_direction(make: Callable, run: Callable) -> None:
    system = make("conflicting", 1, 5)
    direction, _, _ = run(ConicGrad(c=0.9), system)
    mean = system[0].mean(0)
    z = 0.81 * mean.square().sum() * torch.eye(64, dtype=torch.float64) - mean.outer(mean)
    assert abs(direction[0] @ z @ direction[0]) <= 1e-12 * mean.norm() ** 4


def test_a_wide_cone_is_mgda_and_a_closed_one_the_mean(make: Callable, run: Callable) -> None:
    system = make("random", 2, 4)
    mean = system.mean(1)
    shortest = run(MGDA(), system).direction
    wide = run(ConicGrad(c=1e-3), system).direction
    expected = shortest * (mean.norm(dim=-1) / shortest.norm(dim=-1)).unsqueeze(-1)
    torch.testing.assert_close(wide, expected)
    torch.testing.assert_close(run(ConicGrad(c=1.0), system).direction, mean)
