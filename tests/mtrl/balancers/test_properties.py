"""What the deterministic Gramian methods share: the order of the tasks and the scale of the gradients."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from mtrl.balancers import (
    IMTLG,
    MGDA,
    MGDAUB,
    AlignedMTL,
    AlignedMTLUB,
    Balancer,
    CAGrad,
    ConicGrad,
    DualProj,
    FairGrad,
    GradDrop,
    GradVac,
    IMGrad,
    NashMTL,
    PCGrad,
    SDMGrad,
    SDMGradOS,
    UPGrad,
)

METHODS = [AlignedMTL, CAGrad, ConicGrad, DualProj, FairGrad, IMGrad, IMTLG, MGDA, NashMTL, SDMGrad, UPGrad]
OTHERS = [AlignedMTLUB, GradDrop, GradVac, MGDAUB, PCGrad, SDMGradOS]
every = pytest.mark.parametrize("method", METHODS, ids=lambda m: m.__name__)


@every
def test_the_order_of_the_tasks_does_not_matter(
    method: type[Balancer], system: Tensor, kind: str, run: Callable
) -> None:
    """The same direction to 1e-8 of the longest gradient, or of itself if longer; 1e-5 for dependent gradients."""
    if method is UPGrad and system.shape[:2] == (3, 50):
        pytest.skip("one seed is enough of the slowest")
    order = torch.randperm(system.shape[1], generator=torch.Generator().manual_seed(1))
    first, second = method(), method()
    direction, shuffled = run(first, system).direction, run(second, system[:, order]).direction
    assert torch.equal(first.failures, second.failures)
    scale = torch.maximum(system.norm(dim=-1).amax(-1), direction.norm(dim=-1))
    if method in (NashMTL, FairGrad):  # their directions have a scale of their own
        scale = direction.norm(dim=-1)
    accuracy = 1e-5 if kind == "low_rank" else 1e-8
    assert ((shuffled - direction).norm(dim=-1) <= accuracy * scale).all()


@every
@pytest.mark.parametrize("factor", [1e-10, 1e10])
@pytest.mark.parametrize("kind_", ["random", "conflicting", "zero_row", "uneven"])
@pytest.mark.parametrize("tasks", [2, 10])
def test_scaling_all_gradients_scales_the_weights_by_a_power(
    method: type[Balancer], kind_: str, tasks: int, factor: float, make: Callable, run: Callable
) -> None:
    """Degree 0, so that the direction scales with the gradients; -1 for the bargaining methods at α = 1."""
    system = make(kind_, 2, tasks)
    degree = -1 if method in (NashMTL, FairGrad) else 0
    weights, scaled = run(method(), system).weights, run(method(), factor * system).weights
    torch.testing.assert_close(scaled, weights * factor**degree, rtol=1e-7, atol=1e-9 * factor**degree)


@pytest.mark.parametrize("method", METHODS + OTHERS, ids=lambda m: m.__name__)
def test_scaling_all_gradients_scales_the_direction(
    method: type[Balancer], system: Tensor, kind: str, run: Callable
) -> None:
    """By 1e±10, on the same draws; that of the bargaining methods at α = 1 stays, where they have one. As accurate as
    above, and the same systems are counted."""
    if method is UPGrad and system.shape[:2] == (3, 50):
        pytest.skip("one seed is enough of the slowest")
    factor = 1e10 if kind in ("tiny", "random") else 1e-10
    first, second = method(), method()
    direction, scaled = run(first, system).direction, run(second, factor * system).direction
    assert torch.equal(first.failures, second.failures)
    scale = torch.maximum(system.norm(dim=-1).amax(-1), direction.norm(dim=-1))
    if method in (NashMTL, FairGrad):
        scaled = torch.where(first.failures.unsqueeze(-1) > 0, scaled, factor * scaled)
        scale = direction.norm(dim=-1)
    accuracy = 1e-5 if kind == "low_rank" else 1e-8
    assert ((scaled / factor - direction).norm(dim=-1) <= accuracy * scale).all()


@every
def test_float32_gradients_lose_no_more_than_float32(
    method: type[Balancer], make: Callable, run: Callable
) -> None:
    for kind in ("random", "conflicting", "uneven"):
        system = make(kind, 2, 10, size=5000).float()
        exact = run(method(), system.double()).direction
        direction = run(method(), system).direction
        assert direction.dtype == torch.float32
        assert ((direction.double() - exact).norm(dim=-1) <= 1e-5 * exact.norm(dim=-1)).all()


@every
@pytest.mark.parametrize("tasks", [2, 3, 10, 50])
def test_float32_gradients_at_a_condition_number_of_1e8(
    method: type[Balancer], tasks: int, make: Callable, run: Callable
) -> None:
    """Weights to 1e-6 of the largest. They cancel each other, so the direction is as accurate as its terms, to 1e-6."""
    system = make("ill", 2, tasks, size=5000).float()
    gramian = system.double() @ system.double().mT
    assert (torch.linalg.cond(gramian) > 9e7).all()
    exact, found = run(method(), system.double()), run(method(), system)
    error = (found.weights.double() - exact.weights).abs().amax(-1)
    assert (error <= 1e-6 * exact.weights.abs().amax(-1)).all()
    terms = (exact.weights.abs() * system.double().norm(dim=-1)).sum(-1)
    assert ((found.direction.double() - exact.direction).norm(dim=-1) <= 1e-6 * terms).all()
