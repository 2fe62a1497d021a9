"""A Jacobian in blocks, of which some are given by factors, is the Jacobian that they make."""

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from mtrl.balancers import GradDrop, available, solvers
from mtrl.balancers.blocks import Blocks, Factors

S, E, T, B = 2, 2, 5, 4
Draw = Callable[..., Tensor]


@pytest.fixture
def draw() -> Draw:
    generator = torch.Generator().manual_seed(0)
    return lambda *shape: torch.randn(*shape, generator=generator, dtype=torch.float64)


@pytest.fixture
def factors(draw: Draw) -> Factors:
    """Of tasks whose lengths differ by six decades; the last two have nearly the same gradient."""
    inputs, gradients = draw(S, E, T, B, 6), draw(S, E, T, B, 7)
    inputs[:, :, -1] = inputs[:, :, -2]
    gradients[:, :, -1] = gradients[:, :, -2] + 0.1 * gradients[:, :, -1]
    return Factors(inputs, gradients * torch.logspace(-3, 3, T, dtype=torch.float64)[:, None, None])


@pytest.fixture
def blocks(draw: Draw, factors: Factors) -> Blocks:
    rows = [draw(S, parts, T, size) for parts, size in ((E, 3), (1, 8), (E, 2))]
    other = Factors(draw(S, 1, T, 1, 5), draw(S, 1, T, 1, 3))
    return Blocks((rows[0], factors, rows[1], rows[2], other))


def jacobian_of(blocks: Blocks) -> Tensor:
    """[S, T, P], by one outer product for each sample."""
    parts = []
    for block in blocks.blocks:
        if isinstance(block, Factors):
            by_sample = block.inputs.unsqueeze(-1) * block.gradients.unsqueeze(-2)
            block = by_sample.sum(3).flatten(3)
        parts.append(block.transpose(1, 2).flatten(2))
    return torch.cat(parts, dim=-1)


def test_packed(blocks: Blocks) -> None:
    expected = jacobian_of(blocks)
    assert blocks.shape == expected.shape
    torch.testing.assert_close(blocks.packed(), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("all_of_them", [False, True])
def test_gramian_and_combination(blocks: Blocks, all_of_them: bool, draw: Draw) -> None:
    if all_of_them:
        blocks = Blocks(blocks.factors)
    jacobian, weights = jacobian_of(blocks), draw(S, T)
    gramian = solvers.gramian(blocks)
    lengths = jacobian.norm(dim=-1)
    scale = lengths.unsqueeze(-1) * lengths.unsqueeze(-2)
    assert ((gramian - jacobian @ jacobian.mT).abs() <= 1e-13 * scale).all()
    expected = (weights.unsqueeze(-2) @ jacobian).squeeze(-2)
    torch.testing.assert_close(solvers.combine(weights, blocks), expected, rtol=1e-12, atol=1e-10)


def test_float32_adds_no_rounding_for_any_pair_of_tasks(factors: Factors) -> None:
    """Of the shortest gradients, too."""
    single = Factors(factors.inputs.float(), factors.gradients.float())
    exact = Factors(single.inputs.double(), single.gradients.double())
    reference = solvers.gramian(Blocks((exact,)))
    lengths = reference.diagonal(dim1=-2, dim2=-1).sqrt()
    gramian = solvers.gramian(Blocks((single,)))
    assert torch.equal(gramian, gramian.mT)
    error = (gramian - reference) / lengths.unsqueeze(-1) / lengths.unsqueeze(-2)
    assert error.abs().max() < 1e-14
    weights = 1 / lengths
    expected = exact.combined(weights)
    found = solvers.combine(weights.float(), Blocks((single,)))
    assert found.dtype == torch.float32
    assert (found - expected).norm() < 1e-6 * expected.norm()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_the_gramian_is_as_exact_on_matrix_units() -> None:
    precision = torch.get_float32_matmul_precision()
    generator = torch.Generator().manual_seed(0)
    single = Factors(*(torch.randn(1, 2, T, 64, 512, generator=generator).cuda() for _ in range(2)))
    reference = Factors(single.inputs.double(), single.gradients.double()).gramian()
    lengths = reference.diagonal(dim1=-2, dim2=-1).sqrt()
    try:
        torch.set_float32_matmul_precision("high")  # TF32
        error = (single.gramian() - reference) / lengths.unsqueeze(-1) / lengths.unsqueeze(-2)
    finally:
        torch.set_float32_matmul_precision(precision)
    assert error.abs().max() < 1e-14


def test_what_is_not_finite_stays_with_its_seed(factors: Factors) -> None:
    gradients = factors.gradients.clone()
    gradients[1, 0, 2, 1, 3] = torch.nan
    blocks = Blocks((replace(factors, gradients=gradients),))
    gramian = solvers.gramian(blocks)
    assert gramian[0].isfinite().all()
    assert gramian[1, 2].isnan().all()
    combined = solvers.combine(torch.ones(S, T, dtype=torch.float64), blocks)
    assert combined[0].isfinite().all()
    assert not combined[1].isfinite().all()


@pytest.mark.parametrize("name", sorted(available()))
def test_every_method_takes_them(name: str, blocks: Blocks) -> None:
    """As it takes the Jacobian itself."""
    losses = torch.full((S, T), 0.5, dtype=torch.float64)
    representation = torch.eye(T, dtype=torch.float64).expand(S, T, T)
    found, expected = (
        available()[name]().setup(T, seeds=range(S), dtype=torch.float64)(jacobian, losses, representation)
        for jacobian in (blocks, jacobian_of(blocks))
    )
    for ours, theirs in zip(found, expected, strict=True):
        scale = theirs.nan_to_num().abs().max()
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=float(1e-7 * scale), equal_nan=True)


def test_which_methods_read_the_gradients_themselves() -> None:
    assert {name for name, method in available().items() if method().reads_rows} == {"AdaTask", "GradDrop"}
    assert type("Mine", (GradDrop,), {})().reads_rows
