"""The programs over the simplex and the cone, against their optimality conditions and exact rational arithmetic."""

from collections.abc import Callable
from fractions import Fraction
from itertools import combinations

import numpy as np
import pytest
import torch
from scipy.optimize import minimize
from torch import Tensor

from mtrl.balancers import MGDA, active_set, solvers

RADIUS = 0.4


def mean_product(gramian: Tensor) -> Tensor:
    return gramian.mean(dim=-1)


def lengths(gramian: Tensor) -> Tensor:
    return gramian.diagonal(dim1=-2, dim2=-1).sqrt()


def accuracy(kind: str) -> float:
    """Of the terms that a residual is the difference of; dependent gradients have weights that are not unique."""
    return 1e-10 if kind == "low_rank" else 1e-12


def length(gramian: Tensor, weights: Tensor) -> Tensor:
    return torch.einsum("si,sij,sj->s", weights, gramian, weights).clamp(min=0.0).sqrt()


@pytest.mark.parametrize("pull", [0.0, 0.6, 1e3])
def test_simplex_quadratic_has_no_duality_gap(system: Tensor, kind: str, pull: float) -> None:
    """⟨∇F(w), w - e_i⟩ bounds F(w) - F*."""
    gramian = system @ system.mT
    linear = pull * mean_product(gramian)
    weights, failed = solvers.simplex_quadratic(gramian, linear, active_set.unit_scale(gramian))
    assert not failed.any()
    assert (weights >= 0.0).all()
    torch.testing.assert_close(
        weights.sum(-1), torch.ones(len(weights), dtype=torch.float64), rtol=0, atol=1e-9
    )
    gradient = (gramian @ weights.unsqueeze(-1)).squeeze(-1) + linear
    gap = (gradient * weights).sum(-1) - gradient.amin(-1)
    terms = (weights * lengths(gramian)).sum(-1) * lengths(gramian).amax(-1) + linear.abs().amax(-1)
    assert (gap <= accuracy(kind) * terms).all()


def test_simplex_norm_has_no_duality_gap(system: Tensor, kind: str) -> None:
    gramian = system @ system.mT
    linear = mean_product(gramian)
    radius = RADIUS * linear.mean(-1).clamp(min=0.0).sqrt()
    weights, failed = solvers.simplex_norm(gramian, linear, active_set.unit_scale(gramian), radius)
    assert not failed.any()
    combined = length(gramian, weights)
    smooth = combined > 1e-5 * (weights * active_set.unit_scale(gramian)).sum(
        -1
    )  # at 0 the norm has no gradient
    product = (gramian @ weights.unsqueeze(-1)).squeeze(-1)
    gradient = linear + (radius / combined).unsqueeze(-1) * product
    gap = (gradient * weights).sum(-1) - gradient.amin(-1)
    terms = linear.abs().amax(-1) + radius * lengths(gramian).amax(-1) * (
        (weights * lengths(gramian)).sum(-1) / combined
    )
    assert (gap <= accuracy(kind) * terms)[smooth].all()


@pytest.mark.parametrize("tasks", [2, 3, 10])
def test_simplex_norm_is_at_least_as_low_as_a_general_solver(
    kind: str, tasks: int, make: Callable[..., Tensor]
) -> None:
    gramian = make(kind, 3, tasks) @ make(kind, 3, tasks).mT
    gramian = gramian / gramian.amax()
    linear = mean_product(gramian)
    radius = RADIUS * linear.mean(-1).clamp(min=0.0).sqrt()
    weights, _ = solvers.simplex_norm(gramian, linear, active_set.unit_scale(gramian), radius)
    for matrix, cost, rho, found in zip(gramian, linear, radius, weights, strict=True):

        def value(w: np.ndarray, matrix=matrix, cost=cost, rho=rho) -> float:
            return float(cost.numpy() @ w + rho.item() * np.sqrt(max(w @ matrix.numpy() @ w, 0.0)))

        start = np.full(tasks, 1.0 / tasks)
        constraint = {"type": "eq", "fun": lambda w: w.sum() - 1.0}
        other = minimize(
            value, start, bounds=[(0, 1)] * tasks, constraints=constraint, options={"ftol": 1e-12}
        )
        feasible = np.clip(other.x, 0.0, None) / np.clip(other.x, 0.0, None).sum()
        assert value(found.numpy()) <= value(feasible) + 1e-9


def test_cone_quadratic_meets_its_optimality_conditions(system: Tensor, kind: str) -> None:
    """z ≥ 0, Qz + q ≥ 0 and their product 0, relative to the terms of each row."""
    gramian = system @ system.mT
    linear = mean_product(gramian)
    added, failed = solvers.cone_quadratic(gramian, linear, active_set.unit_scale(gramian))
    assert not failed.any()
    assert (added >= 0.0).all()
    gradient = (gramian @ added.unsqueeze(-1)).squeeze(-1) + linear
    terms = lengths(gramian) * ((added + 1.0 / added.shape[-1]) * lengths(gramian)).sum(-1, keepdim=True)
    assert (gradient >= -accuracy(kind) * terms).all()
    assert ((gradient * added).abs() <= accuracy(kind) * terms * added).all()


@pytest.mark.parametrize("distance", [1e-7, 3e-7, 1e-6, 3e-6])
@pytest.mark.parametrize(("tasks", "rank"), [(5, 2), (10, 3)])
def test_gradients_that_nearly_depend_on_each_other(tasks: int, rank: int, distance: float) -> None:
    """The optimality conditions hold to 1e-11 of the terms, also where eigenvalues are as small as the ridge."""
    generator = torch.Generator().manual_seed(0)

    def random(*shape: int) -> Tensor:
        return torch.randn(200, *shape, generator=generator, dtype=torch.float64)

    system = random(tasks, rank) @ random(rank, 64) + distance * random(tasks, 64)
    gramian = system @ system.mT
    linear, scale = mean_product(gramian), active_set.unit_scale(gramian)
    added, failed = solvers.cone_quadratic(gramian, linear, scale)
    assert not failed.any()
    gradient = (gramian @ added.unsqueeze(-1)).squeeze(-1) + linear
    size = ((added + 1.0 / tasks) * scale).sum(-1, keepdim=True)
    assert (gradient >= -1e-11 * scale * size).all()
    assert ((gradient * added).abs() <= 1e-11 * (scale * size).square()).all()
    weights, failed = solvers.simplex_quadratic(gramian, torch.zeros_like(linear), scale)
    assert not failed.any()
    gradient = (gramian @ weights.unsqueeze(-1)).squeeze(-1)
    gap = (gradient * weights).sum(-1) - gradient.amin(-1)
    assert (gap <= 1e-11 * (weights * scale).sum(-1) * scale.amax(-1)).all()


def exact_minimum(rows: Tensor) -> list[Fraction]:
    """MGDA's weights by trying every support in rational arithmetic."""
    entries = [[Fraction(float(x)) for x in row] for row in rows]
    gram = [[sum(a * b for a, b in zip(r, s, strict=True)) for s in entries] for r in entries]
    tasks = range(len(entries))
    best: tuple[Fraction, list[Fraction]] | None = None
    for size in range(1, len(entries) + 1):
        for support in combinations(tasks, size):
            solution = solve([[gram[i][j] for j in support] for i in support], [Fraction(1)] * size)
            weights = [Fraction(0)] * len(entries)
            for i, x in zip(support, solution, strict=True):
                weights[i] = x / sum(solution)
            if min(weights) < 0:
                continue
            value = sum(weights[i] * gram[i][j] * weights[j] for i in tasks for j in tasks)
            if best is None or value < best[0]:
                best = (value, weights)
    assert best is not None
    return best[1]


def solve(matrix: list[list[Fraction]], right: list[Fraction]) -> list[Fraction]:
    augmented = [[*row, b] for row, b in zip(matrix, right, strict=True)]
    for k in range(len(matrix)):
        augmented[k] = [x / augmented[k][k] for x in augmented[k]]
        for i in range(len(matrix)):
            if i != k:
                augmented[i] = [
                    x - augmented[i][k] * y for x, y in zip(augmented[i], augmented[k], strict=True)
                ]
    return [row[-1] for row in augmented]


@pytest.mark.parametrize("closeness", [1.0, 1e-2, 1e-4])
def test_minimum_norm_weights_of_float32_gradients_at_condition_numbers_up_to_1e8(closeness: float) -> None:
    """To 1e-6 relative to the largest weight, against exact arithmetic; the Gramian's condition is closeness⁻²."""
    generator = torch.Generator().manual_seed(0)
    for _ in range(10):
        common = torch.randn(1, 12, generator=generator)
        rows = (common + closeness * torch.randn(4, 12, generator=generator)).float()
        gramian = (rows.double() @ rows.double().mT).unsqueeze(0)
        linear = torch.zeros(1, 4, dtype=torch.float64)
        weights, failed = solvers.simplex_quadratic(gramian, linear, active_set.unit_scale(gramian))
        assert not failed.any()
        expected = torch.tensor([float(x) for x in exact_minimum(rows)], dtype=torch.float64)
        torch.testing.assert_close(weights[0], expected, rtol=0, atol=1e-6)


def test_gradients_of_lengths_twenty_decades_apart(make: Callable[..., Tensor]) -> None:
    system = make("random", 1, 5) * torch.logspace(-10, 10, 5, dtype=torch.float64)[:, None]
    gramian = system @ system.mT
    for solution in (
        solvers.simplex_quadratic(gramian, mean_product(gramian), active_set.unit_scale(gramian)),
        solvers.cone_quadratic(gramian, mean_product(gramian), active_set.unit_scale(gramian)),
    ):
        assert not solution.failed.any()
        assert solution.weights.isfinite().all()


def test_only_allowed_tasks_get_weight(make: Callable[..., Tensor]) -> None:
    system = make("random", 2, 6)
    gramian = system @ system.mT
    allowed = torch.tensor([[True, False, True, True, False, False], [False] * 5 + [True]])
    linear = torch.zeros(2, 6, dtype=torch.float64)
    weights, _ = solvers.simplex_quadratic(gramian, linear, active_set.unit_scale(gramian), allowed)
    assert not weights[~allowed].any()
    part = gramian[:1, [0, 2, 3]][:, :, [0, 2, 3]]
    expected, _ = solvers.simplex_quadratic(part, linear[:1, :3], active_set.unit_scale(part))
    torch.testing.assert_close(weights[:1, [0, 2, 3]], expected)
    assert weights[1, 5] == 1.0


def test_a_system_that_is_not_finite_fails_alone(make: Callable[..., Tensor]) -> None:
    system = make("random", 3, 4)
    system[1, 0, 0] = torch.nan
    gramian = system @ system.mT
    linear = mean_product(gramian)
    weights, failed = solvers.simplex_quadratic(gramian, linear, active_set.unit_scale(gramian))
    assert failed.tolist() == [False, True, False]
    assert weights[[0, 2]].isfinite().all()


def test_a_program_that_does_not_converge_fails(
    make: Callable[..., Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    system = make("conflicting", 2, 6)
    system[1] = torch.eye(6, 64)
    system[1, :, 0] = 1.0
    system[1, 0] *= 0.1  # the shortest vector of this hull is where the method starts
    gramian = system @ system.mT
    monkeypatch.setattr(active_set, "max_iterations", lambda num_tasks: 1)
    balancer = MGDA([1, 1, 1, 1, 1, 5]).setup(6, seeds=(0, 1), dtype=torch.float64)
    weights = balancer.weights(gramian, torch.ones(2, 6))
    assert balancer.failures.tolist() == [1, 0]
    assert weights[0].tolist() == balancer.preference.tolist()
    assert weights[1].tolist() == [1.0, 0.0, 0.0, 0.0, 0.0, 0.0]
