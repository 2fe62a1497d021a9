from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from mtrl.balancers import IMTLG, solvers


def test_projections_on_all_gradients_are_equal(system: Tensor, kind: str, run: Callable) -> None:
    """d·g_i/‖g_i‖ the same for all i and Σw = 1, to 1e-9 of the terms; a system where that is impossible is counted."""
    balancer = IMTLG()
    direction, weights, _ = run(balancer, system)
    lengths = system.norm(dim=-1)
    plays = lengths > 0.0
    solved = balancer.failures == 0
    assert solved.all() or kind == "low_rank" or system.shape[1] == 50
    torch.testing.assert_close(
        weights.sum(-1), torch.ones(len(system), dtype=torch.float64), rtol=1e-9, atol=1e-9
    )
    projections = (system @ direction.unsqueeze(-1)).squeeze(-1) / torch.where(plays, lengths, 1.0)
    highest = torch.where(plays, projections, -torch.inf).amax(-1)
    lowest = torch.where(plays, projections, torch.inf).amin(-1)
    terms = (weights.abs() * lengths).sum(-1)
    assert ((highest - lowest) <= 1e-9 * terms)[solved].all()


def test_orthogonal_gradients_are_brought_to_one_length(run: Callable) -> None:
    system = torch.tensor([[[2.0, 0.0], [0.0, 1.0]]], dtype=torch.float64)
    _, weights, _ = run(IMTLG(), system)
    torch.testing.assert_close(weights, torch.tensor([[1 / 3, 2 / 3]], dtype=torch.float64))


def test_scale_does_not_matter(make: Callable, run: Callable) -> None:
    system = make("random", 2, 5)
    torch.testing.assert_close(run(IMTLG(), 1e9 * system).weights, run(IMTLG(), system).weights)


def test_equal_projections_that_do_not_exist_are_counted(run: Callable) -> None:
    system = torch.tensor([[[1.0, 0.0], [-2.0, 0.0]]], dtype=torch.float64)
    balancer = IMTLG()
    _, weights, _ = run(balancer, system)
    assert balancer.failures.tolist() == [1]
    assert weights.tolist() == [[0.5, 0.5]]


def test_cosines_are_symmetric_to_the_last_bit(make: Callable, run: Callable, monkeypatch: Any) -> None:
    """Between nearly parallel gradients their difference to one decides, and a kernel reads both triangles."""
    seen = []
    eigen = solvers.symmetric_eigen
    monkeypatch.setattr(solvers, "symmetric_eigen", lambda matrix: (seen.append(matrix), eigen(matrix))[1])
    for seed in range(5):
        run(IMTLG(), make("ill", 3, 2, seed))
    assert all((matrix == matrix.mT).all() for matrix in seen)


def test_two_gradients_that_are_nearly_parallel_are_weighed_by_their_lengths(
    make: Callable, run: Callable
) -> None:
    """By symmetry, however ill-conditioned the system is: its smallest eigenvalue drops out."""
    for seed in range(20):
        jacobian = make("ill", 3, 2, seed)
        inverse = 1.0 / jacobian.norm(dim=-1)
        expected = inverse / inverse.sum(dim=-1, keepdim=True)
        torch.testing.assert_close(run(IMTLG(), jacobian).weights, expected, rtol=1e-12, atol=0.0)
