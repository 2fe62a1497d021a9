from collections.abc import Callable

import numpy as np
import pytest
import torch
from scipy.optimize import minimize
from torch import Tensor

from mtrl.balancers import CAGrad, IMGrad


@pytest.mark.parametrize("c", [0.1, 0.4, 0.9])
def test_the_direction_maximises_the_least_progress_within_the_ball(
    system: Tensor, kind: str, c: float, run: Callable
) -> None:
    """Duality: with d = g_0 + r g_w / ‖g_w‖ and λ = w, the primal value min g_i·d meets the dual value
    g_w·g_0 + r ‖g_w‖."""
    direction, weights, _ = run(CAGrad(c=c, rescale="none"), system)
    mean = system.mean(1)
    radius = c * mean.norm(dim=-1)
    offset = (direction - mean).norm(dim=-1)
    longest = system.norm(dim=-1).amax(-1)
    assert (offset <= radius + 1e-9 * longest).all()
    combination = (weights - 1.0 / system.shape[1]).unsqueeze(1) @ system
    shift = combination.squeeze(1)
    moved = offset > 0.5 * radius  # else g_w = 0, the mean is kept
    worst = (weights - 1.0 / system.shape[1]).clamp(min=0.0)
    worst = worst / worst.sum(-1, keepdim=True)
    hull = (worst.unsqueeze(1) @ system).squeeze(1)
    dual = (hull * mean).sum(-1) + radius * hull.norm(dim=-1)
    primal = (system @ (mean + shift).unsqueeze(-1)).squeeze(-1).amin(-1)
    accuracy = 1e-6 if kind == "low_rank" else 1e-9
    assert ((dual - primal).abs() <= accuracy * longest.square())[moved].all()


@pytest.mark.parametrize("tasks", [2, 3, 10])
def test_no_other_direction_of_the_ball_is_better(tasks: int, make: Callable, run: Callable) -> None:
    system = make("conflicting", 1, tasks, size=12)
    direction, _, _ = run(CAGrad(c=0.5, rescale="none"), system)
    rows, found = system[0].numpy(), direction[0].numpy()
    mean = rows.mean(0)
    radius = 0.5 * np.linalg.norm(mean)

    def negative_margin(x: np.ndarray) -> float:
        return -x[-1]

    constraints = [
        {"type": "ineq", "fun": lambda x: rows @ x[:-1] - x[-1]},
        {"type": "ineq", "fun": lambda x: radius**2 - np.square(x[:-1] - mean).sum()},
    ]
    start = np.append(mean, (rows @ mean).min())
    other = minimize(
        negative_margin, start, constraints=constraints, method="SLSQP", options={"maxiter": 500}
    )
    assert (rows @ found).min() >= other.x[-1] - 1e-6


@pytest.mark.parametrize("decades", [0.0, 1.0, 3.0])
def test_no_other_direction_of_the_plane_is_better(decades: float, make: Callable, run: Callable) -> None:
    """Of more tasks than dimensions the solver meets sets that depend on each other, and leaves them."""
    num_tasks = 8
    lengths = torch.logspace(0.0, -decades, num_tasks, dtype=torch.float64)[:, None]
    system = (make("random", 200, num_tasks, size=2) * lengths).float().double()
    balancer = CAGrad(c=0.9, rescale="none")
    found = (system @ run(balancer, system).direction[:, :, None]).amin((1, 2))
    angles = torch.linspace(0.0, 2 * torch.pi, 4001, dtype=torch.float64)
    circle = torch.stack([angles.cos(), angles.sin()])
    mean = system.mean(1)
    others = mean[:, :, None] + 0.9 * mean.norm(dim=-1)[:, None, None] * circle
    best = (system @ others).amin(1).amax(-1)
    assert (found >= best - 1e-6 * best.abs()).all()
    assert (balancer.failures == 0).all()


def test_rescaling(make: Callable, run: Callable) -> None:
    system = make("random", 2, 4)
    plain = run(CAGrad(c=0.5, rescale="none"), system).direction
    torch.testing.assert_close(run(CAGrad(c=0.5, rescale="linear"), system).direction, plain / 1.5)
    torch.testing.assert_close(run(CAGrad(c=0.5, rescale="square"), system).direction, plain / 1.25)
    torch.testing.assert_close(run(CAGrad(c=0.0), system).direction, system.mean(1))


def test_the_preference_moves_the_centre(make: Callable, run: Callable) -> None:
    system = make("random", 1, 2)
    direction, _, _ = run(CAGrad([3, 1], c=0.2, rescale="none"), system)
    mean = 0.75 * system[:, 0] + 0.25 * system[:, 1]
    torch.testing.assert_close((direction - mean).norm(), 0.2 * mean.norm())


def test_where_the_worst_case_vanishes_the_mean_is_kept(run: Callable) -> None:
    system = torch.tensor([[[1.0, 0.0], [-2.0, 0.0]]], dtype=torch.float64)
    balancer = CAGrad(c=1.5, rescale="none")
    torch.testing.assert_close(run(balancer, system).direction, system.mean(1))
    assert balancer.failures.tolist() == [0]


@pytest.mark.parametrize("method", [CAGrad, IMGrad])
@pytest.mark.parametrize("ratio", [1e-20, 1e-35])
def test_a_gradient_too_short_to_be_solved_for_counts(
    method: type[CAGrad], ratio: float, run: Callable
) -> None:
    """Next to it g_w vanishes, although the direction along g_w does not; without gradient nothing is missed."""
    for length, failures in ((ratio, 1), (0.0, 0)):
        system = torch.tensor([[[1.0, 0.0], [-0.6, 0.8]]], dtype=torch.float64)
        system[:, 1] *= length
        balancer = method()
        weights = run(balancer, system).weights
        assert balancer.failures.tolist() == [failures]
        if failures:
            assert weights.tolist() == [[0.5, 0.5]]
