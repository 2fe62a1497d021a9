import math
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


def test_in_the_plane_a_direction_that_is_not_the_best_is_counted() -> None:
    """Against all directions of the cone: of every second system the gradients help no direction together."""
    draw = torch.Generator().manual_seed(0)
    counts = {(better, counted): 0 for better in (False, True) for counted in (False, True)}
    for trial in range(900):
        tasks, c = 2 + trial % 4, (0.2, 0.5, 0.9)[trial % 3]
        scales = torch.rand(tasks, 1, generator=draw, dtype=torch.float64).mul(4.0).exp()
        rows = scales * torch.randn(tasks, 2, generator=draw, dtype=torch.float64)
        balancer = ConicGrad(c=c).setup(tasks, dtype=torch.float64)
        direction = balancer(rows.unsqueeze(0), torch.ones(1, tasks)).direction[0]
        mean = rows.mean(0)
        angles = torch.atan2(mean[1], mean[0]) + math.acos(c) * torch.linspace(-1.0, 1.0, 4001)
        others = mean.norm() * torch.stack([angles.cos(), angles.sin()]).double()
        missing = (rows @ others).amin(0).max() - (rows @ direction).min()
        better = bool(missing > 1e-5 * mean.norm() * rows.norm(dim=-1).max())
        counts[better, bool(balancer.failures)] += 1
    assert counts[True, False] == 0
    assert counts[False, True] <= 0.01 * counts[True, True]
    assert counts[True, True] > 100
    assert counts[False, False] > 500


def test_a_direction_that_is_not_the_best_is_counted_however_uneven_the_gradients_are() -> None:
    """The shortest two help no direction together, and the solver's weights are then on no simplex."""
    draw = torch.Generator().manual_seed(2)
    not_counted = 0
    for _ in range(400):
        scales = 10.0 ** torch.rand(5, 1, generator=draw, dtype=torch.float64).mul(8.0)
        rows = scales * torch.randn(5, 2, generator=draw, dtype=torch.float64)
        balancer = ConicGrad(c=0.1).setup(5, dtype=torch.float64)
        direction = balancer(rows.unsqueeze(0), torch.ones(1, 5)).direction[0]
        mean = rows.mean(0)
        angles = torch.atan2(mean[1], mean[0]) + math.acos(0.1) * torch.linspace(-1.0, 1.0, 4001)
        others = mean.norm() * torch.stack([angles.cos(), angles.sin()]).double()
        missing = (rows @ others).amin(0).max() - (rows @ direction).min()
        not_counted += bool(missing > 1e-5 * mean.norm() * rows.norm(dim=-1).max() and not balancer.failures)
    assert not_counted == 0


@pytest.mark.parametrize("tasks", [2, 3, 5])
def test_gradients_that_cancel_stay_in_the_cone_in_float32(tasks: int) -> None:
    """In the plane against all directions of the cone in float64; the last two of every second system are opposite,
    but for the rounding of float32."""
    draw = torch.Generator().manual_seed(1)
    cases = 0
    for trial in range(600):
        c = (0.25, 0.5, 0.9, 0.99)[trial % 4]
        scales = torch.rand(tasks, 1, generator=draw).mul(4.0).sub(2.0).mul(math.log(10.0)).exp()
        rows = scales * torch.randn(tasks, 2, generator=draw)
        if trial // 4 % 2:
            rows[-1] = -rows[0] * (0.1 + 2.9 * torch.rand(1, generator=draw))
        balancer = ConicGrad(c=c).setup(tasks)
        direction = balancer(rows.unsqueeze(0), torch.ones(1, tasks)).direction[0].double()
        exact = rows.double()
        mean, longest = exact.mean(0), exact.norm(dim=-1).max()
        length = mean.norm()
        if length < 1e-4 * longest:  # float32 does not hold the mean itself to a thousandth
            continue
        cases += 1
        assert abs(direction.norm() - length) <= 1e-3 * length
        assert direction @ mean >= (c - 1e-3) * length**2
        angles = torch.atan2(mean[1], mean[0]) + math.acos(c) * torch.linspace(-1.0, 1.0, 2001).double()
        others = length * torch.stack([angles.cos(), angles.sin()])
        missing = (exact @ others).amin(0).max() - (exact @ direction).min()
        assert missing <= 1e-3 * length * longest or balancer.failures
    assert cases > 590


def test_a_task_without_gradient_drops_out(make: Callable, run: Callable) -> None:
    """Whatever the others do does not change it; the mean has it."""
    for c in (0.3, 0.9):
        balancer = ConicGrad(preference=[1, 2, 3, 4], c=c)
        system = make("conflicting", 3, 4)
        system[:, 2] = 0.0
        direction = run(balancer, system).direction
        without = run(ConicGrad(preference=[1, 2, 4], c=c), system[:, [0, 1, 3]]).direction * (7 / 10)
        torch.testing.assert_close(direction, without, rtol=1e-6, atol=1e-9)
        assert not balancer.failures.any()
