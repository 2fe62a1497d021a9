import os
import subprocess
import sys
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from mtrl.balancers import solvers


@pytest.mark.parametrize("size", [1, 100, 4096, 10_001])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_gramian_is_that_of_the_exact_products(size: int, dtype: torch.dtype, make: Callable) -> None:
    jacobian: Tensor = make("uneven", 2, 5, size=size).to(dtype)
    gramian = solvers.gramian(jacobian)
    wanted = jacobian.double() @ jacobian.double().mT
    lengths = wanted.diagonal(dim1=-2, dim2=-1).sqrt()
    error = (gramian - wanted).abs() / lengths.unsqueeze(-1) / lengths.unsqueeze(-2)
    assert gramian.dtype == torch.float64
    assert error.max() < 1e-13


def test_the_combination_keeps_the_dtype(make: Callable) -> None:
    jacobian: Tensor = make("random", 2, 5).float()
    weights = torch.rand(2, 5, dtype=torch.float64)
    direction = solvers.combine(weights, jacobian)
    assert direction.dtype == torch.float32
    torch.testing.assert_close(direction, torch.einsum("st,stp->sp", weights.float(), jacobian))


def test_eigenvectors_of_finite_and_broken_matrices(make: Callable) -> None:
    system: Tensor = make("random", 3, 6)
    matrix = system @ system.mT
    matrix[1, 2, 3] = torch.nan
    values, vectors, failed = solvers.symmetric_eigen(matrix)
    assert failed.tolist() == [False, True, False]
    rebuilt = vectors @ torch.diag_embed(values) @ vectors.mT
    torch.testing.assert_close(rebuilt[[0, 2]], matrix[[0, 2]])
    torch.testing.assert_close(rebuilt[1], torch.eye(6, dtype=torch.float64))
    assert (values.diff(dim=-1) >= 0.0).all()


@pytest.mark.parametrize("tasks", [1, 2, 10, 50])
def test_eigenvalues_of_uneven_gradients_are_exact_to_the_last_digits(tasks: int) -> None:
    """Orthogonal gradients of lengths over 60 decades: each eigenvalue is a squared length."""
    lengths = torch.logspace(-30.0, 30.0, tasks, dtype=torch.float64)
    order = torch.randperm(tasks, generator=torch.Generator().manual_seed(0))
    values, vectors, failed = solvers.gramian_eigen(torch.diag(lengths.square()[order]).unsqueeze(0), 1e-12)
    torch.testing.assert_close(values, lengths.square().unsqueeze(0), rtol=1e-13, atol=0.0)
    assert torch.equal(vectors[0].abs().argmax(0), order.argsort())
    assert not failed.any()


def test_eigenvalues_of_a_gramian_agree_with_those_of_any_symmetric_matrix(make: Callable) -> None:
    for kind in ("random", "conflicting", "uneven"):
        system: Tensor = make(kind, 3, 6)
        gramian = system @ system.mT
        values, vectors, failed = solvers.gramian_eigen(gramian, 1e-12)
        wanted, _, _ = solvers.symmetric_eigen(gramian)
        assert not failed.any()
        torch.testing.assert_close(values, wanted, rtol=1e-9, atol=0.0)
        torch.testing.assert_close(vectors @ torch.diag_embed(values) @ vectors.mT, gramian)


def test_the_rank_is_that_of_the_directions() -> None:
    """Not of the lengths: a short gradient counts, and a long one that is nearly another's double does not."""
    angle = torch.tensor([1.1e-6, 0.9e-6], dtype=torch.float64)
    rows = torch.zeros(2, 3, 4, dtype=torch.float64)
    rows[:, 0, 0] = 1.0
    rows[:, 1, 0], rows[:, 1, 1] = 1e3 * angle.cos(), 1e3 * angle.sin()
    rows[:, 2, 2] = 1e-9
    values, vectors, failed = solvers.gramian_eigen(rows @ rows.mT, 1e-12)
    assert (values > 0.0).sum(-1).tolist() == [3, 2]
    assert not vectors[values.eq(0.0).unsqueeze(1).expand_as(vectors)].any()
    assert not failed.any()


def test_small_systems_keep_no_second_core_busy() -> None:
    """SciPy's OpenBLAS has threads of its own, which wait by spinning: PyTorch's number of them does not count."""
    code = """if True:
        import time, torch
        from mtrl.balancers import solvers
        rows = torch.randn(1, 3, 8, dtype=torch.float64)
        solvers.gramian_eigen(rows @ rows.mT, 1e-12)  # SciPy is imported
        process, thread = time.process_time(), time.thread_time()
        for _ in range(1000):
            solvers.gramian_eigen(rows @ rows.mT, 1e-12)
        thread, process = time.thread_time() - thread, time.process_time() - process
        print(process / thread)
    """
    threads = {"OPENBLAS_NUM_THREADS": "2", "OMP_NUM_THREADS": "1"}
    ran = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, **threads},
        capture_output=True,
        text=True,
        check=True,
    )
    assert float(ran.stdout) < 1.2


def test_a_gramian_that_is_zero_or_not_finite(make: Callable) -> None:
    system: Tensor = make("random", 3, 4)
    gramian = system @ system.mT
    gramian[0] = 0.0
    gramian[1, 1, 2] = torch.inf
    values, _, failed = solvers.gramian_eigen(gramian, 1e-12)
    assert failed.tolist() == [False, True, False]
    assert not values[:2].any()
    assert (values[2] > 0.0).all()


@pytest.mark.parametrize("alpha", [0.2, 0.5, 1.0, 2.0, 5.0])
def test_fair_weights_of_gradients_over_three_decades(alpha: float, make: Callable) -> None:
    system: Tensor = make("uneven", 3, 10)
    gramian = system @ system.mT
    weights, failed = solvers.fair(gramian, alpha, torch.ones(10))
    assert not failed.any()
    product = (gramian @ weights.unsqueeze(-1)).squeeze(-1)
    torch.testing.assert_close(product, weights ** (-1.0 / alpha), rtol=1e-7, atol=0)


def test_fair_weights_of_one_task_and_of_none() -> None:
    weights, failed = solvers.fair(torch.full((1, 1, 1), 4.0), 1.0, torch.ones(1))
    assert weights.item() == pytest.approx(0.5)
    weights, failed = solvers.fair(torch.zeros(1, 3, 3), 1.0, torch.ones(3))
    assert not weights.any()
    assert not failed.any()
