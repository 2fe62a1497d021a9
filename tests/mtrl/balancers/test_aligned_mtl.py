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
    """The direction from the singular values of J itself: σ (U Vᵀ)ᵀ p over the kept ones."""
    left, singular, right = np.linalg.svd(jacobian, full_matrices=False)
    kept = singular > 1e-6 * singular[0] if singular[0] > 0 else np.zeros_like(singular, dtype=bool)
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
    system: Tensor, scale_mode: str
) -> None:
    num_tasks = system.shape[1]
    preference = np.arange(1.0, num_tasks + 1) / np.arange(1.0, num_tasks + 1).sum()
    _, direction = run(AlignedMTL(preference.tolist(), scale_mode), system)
    for jacobian, result in zip(system.numpy(), direction.numpy(), strict=True):
        expected = reference(jacobian, preference, scale_mode)
        np.testing.assert_allclose(result, expected, rtol=0, atol=1e-8 * np.linalg.norm(expected))


def test_permutation_of_the_tasks_does_not_change_the_direction(system: Tensor, kind: str) -> None:
    order = torch.randperm(system.shape[1], generator=torch.Generator().manual_seed(1))
    _, direction = run(AlignedMTL(), system)
    _, permuted = run(AlignedMTL(), system[:, order])
    accuracy = (
        1e-7 if kind == "ill" else 1e-9
    )  # a Gramian of condition number 1e8 leaves 1e-8 of the smallest
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
