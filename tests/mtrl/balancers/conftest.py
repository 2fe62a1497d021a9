"""Gradient systems that break careless solvers."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from mtrl.balancers import Balanced, Balancer

KINDS = (
    "random",
    "conflicting",
    "low_rank",
    "zero_row",
    "duplicated",
    "tiny",
    "huge",
    "uneven",
    "graded",
    "ill",
)


def make_system(kind: str, num_seeds: int, num_tasks: int, seed: int = 0, size: int = 64) -> Tensor:
    """A float64 Jacobian [S, T, P] of the named kind."""
    generator = torch.Generator().manual_seed(seed)
    shape = (num_seeds, num_tasks, size)
    jacobian = torch.randn(shape, generator=generator, dtype=torch.float64)
    if kind == "conflicting":  # two camps that nearly oppose each other
        signs = 1.0 - 2.0 * (torch.arange(num_tasks) % 2)
        jacobian = 0.3 * jacobian + signs[:, None] * torch.randn(
            size, generator=generator, dtype=torch.float64
        )
    elif kind == "low_rank":  # of rank max(1, T // 2)
        rank = max(1, num_tasks // 2)
        mixing = torch.randn(num_seeds, num_tasks, rank, generator=generator, dtype=torch.float64)
        jacobian = mixing @ jacobian[:, :rank]
    elif kind == "zero_row":
        jacobian[:, 0] = 0.0
    elif kind == "duplicated":
        jacobian[:, -1] = jacobian[:, 0]
    elif kind == "tiny":
        jacobian = jacobian * 1e-10
    elif kind == "huge":
        jacobian = jacobian * 1e10
    elif kind == "uneven":  # norms over three decades
        jacobian = jacobian * torch.logspace(-1.5, 1.5, num_tasks, dtype=torch.float64)[:, None]
    elif kind == "graded":  # norms over nine decades
        jacobian = jacobian * torch.logspace(0.0, -9.0, num_tasks, dtype=torch.float64).flip(0)[:, None]
    elif kind == "ill":  # a Gramian of condition number 1e8
        left, _, right = torch.linalg.svd(jacobian, full_matrices=False)
        jacobian = left * torch.logspace(0.0, -4.0, num_tasks, dtype=torch.float64) @ right
    return jacobian


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


SIZES = [(3, 2), (1, 3), (3, 10), (1, 50)]  # S and T
FURTHER_SIZES = [(1, 2), (3, 3), (1, 10), (3, 50)]


@pytest.fixture(
    params=[*SIZES, *(pytest.param(size, marks=pytest.mark.slow) for size in FURTHER_SIZES)],
    ids=lambda size: f"{size[0]}x{size[1]}",
)
def sizes(request: pytest.FixtureRequest) -> tuple[int, int]:
    found: tuple[int, int] = request.param
    return found


@pytest.fixture
def num_seeds(sizes: tuple[int, int]) -> int:
    return sizes[0]


@pytest.fixture
def num_tasks(sizes: tuple[int, int]) -> int:
    return sizes[1]


@pytest.fixture
def system(kind: str, num_seeds: int, num_tasks: int) -> Tensor:
    """Every kind of system at every S and T, float64 [S, T, P]."""
    return make_system(kind, num_seeds, num_tasks)


@pytest.fixture
def make() -> Callable[..., Tensor]:
    return make_system


@pytest.fixture
def run() -> Callable[..., Balanced]:
    """Sets a balancer up for a system [S, T, P] and balances it."""

    def run_(balancer: Balancer, jacobian: Tensor) -> Balanced:
        num_seeds, num_tasks, _ = jacobian.shape
        balancer.setup(num_tasks, seeds=range(num_seeds), dtype=jacobian.dtype)
        losses = torch.ones(num_seeds, num_tasks, dtype=jacobian.dtype)
        balanced: Balanced = balancer(jacobian, losses, jacobian)
        return balanced

    return run_
