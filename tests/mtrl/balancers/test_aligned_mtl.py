import math
from typing import Literal

import mpmath
import numpy as np
import pytest
import torch
from torch import Tensor

from mtrl.balancers import AlignedMTL
from mtrl.balancers.base import Balancer

SCALES = ["min", "median", "rmse"]


def run(balancer: Balancer, jacobian: Tensor) -> tuple[Tensor, Tensor]:
    num_seeds, num_tasks, _ = jacobian.shape
    balancer.setup(num_tasks, seeds=range(num_seeds), dtype=jacobian.dtype)
    balanced = balancer(jacobian, torch.zeros(num_seeds, num_tasks, dtype=jacobian.dtype))
    return balanced.weights, balanced.direction


def reference(jacobian: np.ndarray, preference: np.ndarray, scale_mode: str) -> np.ndarray:
    """The direction from the singular values of J itself: σ (U Vᵀ)ᵀ p over the rank of the gradients' directions."""
    left, singular, right = np.linalg.svd(jacobian, full_matrices=False)
    lengths = np.linalg.norm(jacobian, axis=1, keepdims=True)
    of_directions = np.linalg.svd(jacobian / np.where(lengths > 0, lengths, 1.0), compute_uv=False)
    kept = np.arange(len(singular)) < (of_directions > 1e-6).sum()
    if not kept.any():
        return preference @ jacobian
    scale = {
        "min": singular[kept].min(),
        "median": np.sort(singular[kept])[(kept.sum() - 1) // 2],
        "rmse": np.sqrt((singular[kept] ** 2).mean()),
    }[scale_mode]
    return scale * (preference @ left[:, kept]) @ right[kept]


@pytest.mark.parametrize("scale_mode", SCALES)
def test_direction_is_that_of_the_nearest_perfectly_conditioned_system(
    system: Tensor, kind: str, scale_mode: str
) -> None:
    num_tasks = system.shape[1]
    preference = np.arange(1.0, num_tasks + 1) / np.arange(1.0, num_tasks + 1).sum()
    _, direction = run(AlignedMTL(preference.tolist(), scale_mode), system)
    for jacobian, result in zip(system.numpy(), direction.numpy(), strict=True):
        expected = reference(jacobian, preference, scale_mode)
        accuracy = (
            1e-6 if kind == "graded" else 1e-8
        )  # NumPy's values lose as many digits as the lengths span
        np.testing.assert_allclose(result, expected, rtol=0, atol=accuracy * np.linalg.norm(expected))


def test_permutation_of_the_tasks_does_not_change_the_direction(system: Tensor, kind: str) -> None:
    order = torch.randperm(system.shape[1], generator=torch.Generator().manual_seed(1))
    _, direction = run(AlignedMTL(), system)
    _, permuted = run(AlignedMTL(), system[:, order])
    # A Gramian of condition number 1e8 leaves 1e-8 of the smallest value; of lengths over nine decades 1e-7.
    accuracy = {"ill": 1e-7, "graded": 1e-6}.get(kind, 1e-9)
    torch.testing.assert_close(permuted, direction, rtol=0, atol=accuracy * direction.abs().max().item())


@pytest.mark.parametrize("factor", [1e-10, 1e10])
def test_weights_do_not_depend_on_the_scale_of_the_gradients(
    system: Tensor, kind: str, factor: float
) -> None:
    weights, _ = run(AlignedMTL(), system)
    scaled, _ = run(AlignedMTL(), system * factor)
    if kind == "ill":
        torch.testing.assert_close(scaled, weights, rtol=0, atol=1e-7 * weights.abs().max().item())
    else:
        torch.testing.assert_close(scaled, weights, rtol=1e-9, atol=1e-12)


def test_seeds_are_independent(make) -> None:
    system = make("uneven", 3, 10)
    weights, _ = run(AlignedMTL(), system)
    for seed in range(3):
        torch.testing.assert_close(run(AlignedMTL(), system[seed : seed + 1])[0][0], weights[seed])


def test_float32_gradients_over_three_decades_are_resolved(make) -> None:
    system = make("uneven", 1, 10, size=10_000)
    exact, _ = run(AlignedMTL(), system)
    weights, _ = run(AlignedMTL(), system.float())
    torch.testing.assert_close(weights.double(), exact, rtol=1e-6, atol=0)


def test_a_short_gradient_is_not_left_out() -> None:
    """Orthogonal gradients all become as long as the shortest."""
    jacobian = torch.tensor([[[1.0, 0.0], [0.0, 0.99e-6]]], dtype=torch.float64)
    balancer = AlignedMTL()
    weights, direction = run(balancer, jacobian)
    expected = torch.tensor([[0.5 * 0.99e-6, 0.5]], dtype=torch.float64)
    torch.testing.assert_close(weights, expected, rtol=1e-14, atol=0)
    expected = torch.full((1, 2), 0.495e-6, dtype=torch.float64)
    torch.testing.assert_close(direction, expected, rtol=1e-14, atol=0)
    assert balancer.failures.tolist() == [0]


def exact_direction(jacobian: np.ndarray) -> np.ndarray:
    """The direction for equal preferences and `scale_mode` min, with sixty digits."""
    with mpmath.workdps(60):
        rows = mpmath.matrix(jacobian.tolist())
        values, vectors = mpmath.eigsy(rows * rows.T)
        smallest = mpmath.sqrt(min(values))
        weights = mpmath.matrix(len(jacobian), 1)
        for k, value in enumerate(values):
            vector = vectors[:, k]
            weights += vector * (smallest / mpmath.sqrt(value) * sum(vector) / len(jacobian))
        return np.array((rows.T * weights).tolist(), dtype=float)[:, 0]


@pytest.mark.parametrize("decades", [3, 6, 9])
@pytest.mark.parametrize("condition", [1.0, 30.0, 1e3])
@pytest.mark.parametrize("tasks", [2, 3, 6])
def test_gradients_of_uneven_lengths_are_aligned_to_relative_accuracy(
    decades: float, condition: float, tasks: int
) -> None:
    """With some digits to spare for what the vectors lose by the lengths' span, and the Gramian by the condition."""
    draw = torch.Generator().manual_seed(round(10 * decades * condition) + tasks)
    for _ in range(3):
        left, _ = torch.linalg.qr(torch.randn(tasks, tasks, generator=draw, dtype=torch.float64))
        right, _ = torch.linalg.qr(torch.randn(tasks, tasks, generator=draw, dtype=torch.float64))
        spread = torch.logspace(0.0, -math.log10(condition), tasks, dtype=torch.float64)
        units = torch.nn.functional.normalize(left @ torch.diag(spread) @ right, dim=-1)
        lengths = 10.0 ** (-decades * torch.rand(tasks, 1, generator=draw, dtype=torch.float64))
        jacobian = (lengths * units).unsqueeze(0)
        balancer = AlignedMTL()
        _, direction = run(balancer, jacobian)
        expected = exact_direction(jacobian[0].numpy())
        error = np.linalg.norm(direction[0].numpy() - expected) / np.linalg.norm(expected)
        assert error <= 1e-15 * (condition**2 + 10**decades * condition)
        assert balancer.failures.tolist() == [0]


def test_failures_count_deficient_and_broken_systems(make) -> None:
    system = make("random", 4, 5)
    system[1, 2] = 0.0
    system[2, 3, 4] = torch.nan
    system[3, 0, 0] = torch.inf
    balancer = AlignedMTL().setup(5, seeds=range(4), dtype=torch.float64)
    for _ in range(2):
        weights = balancer.weights(system @ system.mT, torch.zeros(4, 5))
    assert balancer.failures.tolist() == [0, 2, 2, 2]
    torch.testing.assert_close(weights[2:], torch.full((2, 5), 0.2, dtype=torch.float64))


def test_a_system_of_zeros_keeps_the_preference() -> None:
    weights, direction = run(AlignedMTL([1, 3]), torch.zeros(1, 2, 7))
    assert weights.tolist() == [[0.25, 0.75]]
    assert not direction.any()


@pytest.mark.parametrize("mode", ["median", "rmse"])
def test_weights_that_float32_cannot_hold_count(mode: Literal["median", "rmse"]) -> None:
    system = torch.eye(3)[None] * torch.tensor([1.0, 1.0, 1e-40])[:, None]
    balancer = AlignedMTL(scale_mode=mode)
    weights = balancer.setup(3)(system, torch.ones(1, 3)).weights
    torch.testing.assert_close(weights, torch.full((1, 3), 1 / 3))
    assert balancer.failures.tolist() == [1]
