"""The GPU kernels, against the PyTorch operations that they stand for.

Run them without a GPU in Triton's interpreter: TRITON_INTERPRET=1 pytest -n 0 tests/mtrl/balancers/test_kernels.py
"""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from mtrl.balancers import (
    IMTLG,
    MGDA,
    AlignedMTL,
    Balancer,
    CAGrad,
    ConicGrad,
    DualProj,
    FairGrad,
    GradVac,
    IMGrad,
    NashMTL,
    PCGrad,
    SDMGrad,
    SDMGradOS,
    UPGrad,
    kernels,
)
from mtrl.balancers.blocks import Blocks
from mtrl.balancers.kernels import launch

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
if not kernels.usable(torch.zeros(1, device=DEVICE)):  # before hundreds of tests are collected
    pytest.skip("needs Triton, and a GPU or its interpreter", allow_module_level=True)
CASES: dict[str, Callable[[], Balancer]] = {
    "AlignedMTL min": AlignedMTL,
    "AlignedMTL median": lambda: AlignedMTL(scale_mode="median"),
    "AlignedMTL rmse": lambda: AlignedMTL(scale_mode="rmse"),
    "CAGrad": CAGrad,
    "ConicGrad": ConicGrad,
    "DualProj": DualProj,
    "FairGrad 0.5": lambda: FairGrad(alpha=0.5),
    "FairGrad 2": lambda: FairGrad(alpha=2.0),
    "GradVac": lambda: GradVac(beta=0.3),
    "IMGrad": IMGrad,
    "IMTLG": IMTLG,
    "MGDA": MGDA,
    "NashMTL": lambda: NashMTL(update_every=2, max_norm=1.0),
    "PCGrad": PCGrad,
    "SDMGrad": SDMGrad,
    "SDMGradOS": lambda: SDMGradOS(num_sampled=2.0),
    "UPGrad": UPGrad,
}


def eigh_on_the_cpu(
    matrix: Tensor, eigh: Callable[[Tensor], tuple[Tensor, Tensor]] = torch.linalg.eigh
) -> tuple:
    """LAPACK's eigenvectors, orthogonal to the last bits: between nearly parallel gradients a GPU's are not enough."""
    values, vectors = eigh(matrix.cpu())
    return values.to(matrix.device), vectors.to(matrix.device)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("tasks", [1, 2, 3, 5])
def test_a_kernel_does_what_the_operations_do(
    case: str, tasks: int, kind: str, make: Callable[..., Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    if kind == "low_rank" and case == "GradVac":
        pytest.skip("collinear gradients turn into rounding errors, whose cosines are arbitrary")
    by_kernel = CASES[case]().setup(tasks, seeds=(0, 1), device=DEVICE, dtype=torch.float64)
    by_torch = CASES[case]().setup(tasks, seeds=(0, 1), device=DEVICE, dtype=torch.float64)
    losses = torch.ones(2, tasks, dtype=torch.float64, device=DEVICE)
    for seed in range(2):
        system = make(kind, 2, tasks, seed).to(DEVICE)
        if seed == 1:
            system[1, 0, 0] = torch.nan
        gramian = system @ system.mT
        gramian = (gramian + gramian.mT) / 2  # to the last bit, as `solvers.gramian` is
        found = by_kernel.weights(gramian, losses)
        with monkeypatch.context() as patch:
            patch.setattr(kernels, "usable", lambda tensor: False)
            patch.setattr(torch.linalg, "eigh", eigh_on_the_cpu)
            wanted = by_torch.weights(gramian, losses)
        error = ((found - wanted).unsqueeze(1) @ system.nan_to_num()).squeeze(1).norm(dim=-1)
        size = (wanted.abs() * system.nan_to_num().norm(dim=-1)).sum(-1)
        # Vectors orthogonal to 1e-16 leave 1e-7 of lengths over nine decades, in either implementation.
        accuracy = 1e-6 if kind == "low_rank" or (kind == "graded" and "Aligned" in case) else 1e-9
        assert (error <= accuracy * size).all()
    assert torch.equal(by_kernel.failures, by_torch.failures)
    for name, value in by_kernel.state_dict().items():
        if "extra_state" not in name:
            torch.testing.assert_close(value, by_torch.state_dict()[name], rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("case", ["CAGrad", "DualProj", "SDMGrad"])
def test_more_tasks_than_dimensions(
    case: str, make: Callable[..., Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The tableau is made anew; of one that is not, directions are wrong by a thousandth."""
    num_seeds, num_tasks = 50, 8
    lengths = torch.logspace(0.0, -3.0, num_tasks, dtype=torch.float64)[:, None]
    system = (make("random", num_seeds, num_tasks, size=2) * lengths).to(DEVICE)
    gramian, losses = system @ system.mT, torch.ones(num_seeds, num_tasks, dtype=torch.float64, device=DEVICE)
    by_kernel, by_torch = (
        CASES[case]().setup(num_tasks, seeds=range(num_seeds), device=DEVICE, dtype=torch.float64)
        for _ in range(2)
    )
    found = by_kernel.weights(gramian, losses)
    monkeypatch.setattr(kernels, "usable", lambda tensor: False)
    wanted = by_torch.cpu().weights(gramian.cpu(), losses.cpu()).to(DEVICE)
    error = ((found - wanted).unsqueeze(1) @ system).squeeze(1).norm(dim=-1)
    assert (error <= 1e-6 * (wanted.abs() * system.norm(dim=-1)).sum(-1)).all()
    assert torch.equal(by_kernel.failures.cpu(), by_torch.failures)


@pytest.mark.parametrize("case", CASES)
def test_to_a_compiler_a_solver_is_one_operation(case: str, make: Callable[..., Tensor]) -> None:
    called, compiled = (CASES[case]().setup(3, seeds=(0, 1), device=DEVICE) for _ in range(2))
    compiled.compile_weights(backend="aot_eager")
    losses = torch.ones(2, 3, device=DEVICE)
    for seed in range(2):
        system = make("random", 2, 3, seed).to(DEVICE)
        gramian = system @ system.mT
        torch.testing.assert_close(compiled.weights(gramian, losses), called.weights(gramian, losses))
    for name, value in compiled.state_dict().items():
        torch.testing.assert_close(value, called.state_dict()[name])


@pytest.mark.parametrize(("tasks", "size"), [(1, 5), (2, 1), (3, 700), (11, 300), (12, 300)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("programs", [launch._PROGRAMS, 1])  # with one it goes over its columns step by step
def test_gramian_and_combination(
    tasks: int,
    size: int,
    dtype: torch.dtype,
    programs: int,
    make: Callable[..., Tensor],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(launch, "_PROGRAMS", programs)
    jacobian = make("uneven", 2, tasks, size=size).to(DEVICE, dtype)
    wanted = jacobian.double() @ jacobian.double().mT
    lengths = wanted.diagonal(dim1=-2, dim2=-1).sqrt()
    error = (kernels.gramian(jacobian) - wanted).abs() / lengths.unsqueeze(-1) / lengths.unsqueeze(-2)
    assert error.max() < 1e-13
    weights = torch.rand(2, tasks, dtype=torch.float64, device=DEVICE)
    expected = (weights.to(dtype).unsqueeze(1) @ jacobian).squeeze(1)
    torch.testing.assert_close(kernels.combine(weights, jacobian), expected)


@pytest.mark.parametrize("tasks", [2, 12])
def test_a_system_in_blocks_is_the_same_system(tasks: int, make: Callable[..., Tensor]) -> None:
    sizes = [(2, 700), (2, 3), (1, 130)]
    blocks = tuple(
        make("uneven", 2 * parts, tasks, size=size).view(2, parts, tasks, size).to(DEVICE)
        for parts, size in sizes
    )
    jacobian = Blocks(blocks)
    packed = jacobian.packed()
    assert jacobian.shape == packed.shape == (2, tasks, 1536)
    assert torch.equal(packed[1, 0, 700:1400], blocks[0][1, 1, 0])
    assert torch.equal(packed[0, -1, -130:], blocks[2][0, 0, -1])
    torch.testing.assert_close(kernels.gramian(jacobian), kernels.gramian(packed), rtol=1e-12, atol=0.0)
    weights = torch.rand(2, tasks, dtype=torch.float64, device=DEVICE)
    assert torch.equal(kernels.combine(weights, jacobian), kernels.combine(weights, packed))
