"""Launches the kernels: shapes, block sizes and outputs. Arguments are those of `solvers`.

To a compiler each solver is one operation, so that it fuses what a method does around it.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import torch
from torch import Tensor
from torch.library import custom_op

from mtrl.balancers import active_set as constants
from mtrl.balancers.blocks import Blocks
from mtrl.device.triton import INSTALLED, runs_on

if INSTALLED:
    from mtrl.balancers.kernels import bargaining, packed, programs, projection, spectral

#: Up to so many tasks the sums of all pairs of rows fit a thread's registers.
_FEW_TASKS = 11
#: Columns over which a program sums pairs: many, as it has 32 threads' sums of every pair to add in the end ...
_COLUMNS = 1664
#: ... but fewer if there were not so many programs otherwise, three for each of an H100's or H200's multiprocessors.
_PROGRAMS = 400
_NEWTON_STEPS = 50
_SWEEPS = 30


def usable(tensor: Tensor | Blocks) -> bool:
    """Whether the kernels take this tensor: on a GPU, or anywhere in Triton's interpreter."""
    return runs_on(tensor.device)


def gramian(jacobian: Tensor | Blocks) -> Tensor:
    """J Jᵀ in float64, [S, T, T]; the same bits every time."""
    blocks = _blocks(jacobian)
    num_seeds, num_tasks, size = jacobian.shape
    block = _block(num_tasks)
    triangle = num_tasks <= _FEW_TASKS
    columns = 128 if triangle else 32
    span = min(_COLUMNS, _divide_up(num_seeds * size, _PROGRAMS)) if triangle else _divide_up(size, 132)
    span = columns * _divide_up(span, columns)
    plan = _plan(tuple(b.shape for b in blocks), span, jacobian.device)
    num_programs = len(plan)
    count = num_tasks * (num_tasks + 1) // 2 if triangle else block * block
    partials = plan.new_empty(num_seeds, num_programs, count, dtype=torch.float64)
    result = plan.new_empty(num_seeds, num_tasks, num_tasks, dtype=torch.float64)
    grid = (num_programs, num_seeds)
    if triangle:
        packed.pairs_kernel[grid](
            blocks, plan, partials, SPAN=span, T=num_tasks, LANES=32, UNROLL=4, num_warps=1
        )
    else:
        packed.tile_kernel[grid](
            blocks, plan, partials, SPAN=span, T=num_tasks, B=max(16, block), COLUMNS=columns, num_warps=8
        )
    pairs = 4
    packed.gramian_kernel[(_divide_up(count, pairs), num_seeds)](
        partials,
        result,
        TRIANGLE=triangle,
        T=num_tasks,
        B=block,
        NUM_PARTIALS=num_programs,
        PARTIALS=256,
        PAIRS=pairs,
    )
    return result


def combine(weights: Tensor, jacobian: Tensor | Blocks) -> Tensor:
    """wᵀJ, [S, P], in the dtype of the Jacobian."""
    blocks = _blocks(jacobian)
    num_seeds, num_tasks, size = jacobian.shape
    direction = blocks[0].new_empty(num_seeds, size)
    span = 512
    plan = _plan(tuple(b.shape for b in blocks), span, jacobian.device)
    packed.combine_kernel[(len(plan), num_seeds)](
        blocks, plan, weights.contiguous(), direction, size, T=num_tasks, SPAN=span, num_warps=8
    )
    return direction


@custom_op("mtrl::active_set", mutates_args=())
def active_set(
    gramian: Tensor,
    linear: Tensor,
    lengths: Tensor,
    radius: Tensor | None,
    allowed: Tensor | None,
    simplex: bool,
) -> tuple[Tensor, Tensor]:
    """Weights [N, T] and what failed, bool [N]: `active_set.solve`."""
    gramian = gramian.contiguous()
    weights, failed, shape = _prepare(gramian)
    lengths = lengths.double().contiguous()
    programs.active_set_kernel[(len(gramian),)](
        gramian,
        linear.double().contiguous(),
        lengths,
        lengths if radius is None else radius.double().contiguous(),
        lengths if allowed is None else allowed.contiguous(),
        weights,
        failed,
        SIMPLEX=simplex,
        NORM=radius is not None,
        MASKED=allowed is not None,
        RIDGE=constants.RIDGE,
        REFINEMENTS=constants.REFINEMENTS,
        TOLERANCE=constants.TOLERANCE,
        SMALLEST_PIVOT=constants.SMALLEST_PIVOT,
        SUM_ACCURACY=constants.SUM_ACCURACY,
        LIMIT=constants.max_iterations(gramian.shape[-1]),
        **shape,
    )
    return weights, failed


@custom_op("mtrl::gramian_eigen", mutates_args=())
def gramian_eigen(gramian: Tensor, tolerance: float) -> tuple[Tensor, Tensor, Tensor]:
    """Values [S, T], vectors [S, T, T] and what failed, bool [S]."""
    gramian = gramian.contiguous()
    values, failed, shape = _prepare(gramian)
    vectors = torch.empty_like(gramian, dtype=torch.float64)
    spectral.gramian_eigen_kernel[(len(gramian),)](
        gramian, values, vectors, failed, TOLERANCE=tolerance, **_rotations(gramian), **shape
    )
    return values, vectors, failed


@custom_op("mtrl::symmetric_eigen", mutates_args=())
def symmetric_eigen(matrix: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Values [S, T], vectors [S, T, T] and what failed, bool [S]."""
    matrix = matrix.contiguous()
    values, failed, shape = _prepare(matrix)
    vectors = torch.empty_like(matrix, dtype=torch.float64)
    spectral.symmetric_eigen_kernel[(len(matrix),)](
        matrix, values, vectors, failed, **_rotations(matrix), **shape
    )
    return values, vectors, failed


@custom_op("mtrl::fair", mutates_args=())
def fair(gramian: Tensor, share: Tensor, alpha: float) -> tuple[Tensor, Tensor]:
    """Weights [S, T] and what failed, bool [S]."""
    gramian = gramian.contiguous()
    weights, failed, shape = _prepare(gramian)
    bargaining.fair_kernel[(len(gramian),)](
        gramian, share.contiguous(), weights, failed, ALPHA=alpha, STEPS=_NEWTON_STEPS, **shape
    )
    return weights, failed


@custom_op("mtrl::surgery", mutates_args=())
def surgery(gramian: Tensor, draws: Tensor) -> tuple[Tensor, Tensor]:
    """Coefficients [S, T, T] and what failed, bool [S]."""
    coefficients, _, failed = _operate(gramian, draws, None, 0.0)
    return coefficients, failed


@custom_op("mtrl::vaccinate", mutates_args=())
def vaccinate(gramian: Tensor, draws: Tensor, targets: Tensor, beta: float) -> tuple[Tensor, Tensor, Tensor]:
    """Coefficients and new targets [S, T, T], and what failed, bool [S]."""
    return _operate(gramian, draws, targets, beta)


def _operate(
    gramian: Tensor, draws: Tensor, targets: Tensor | None, beta: float
) -> tuple[Tensor, Tensor, Tensor]:
    gramian, draws = gramian.contiguous(), draws.contiguous()
    _, failed, shape = _prepare(gramian)
    coefficients, changed = (torch.empty_like(gramian, dtype=torch.float64) for _ in range(2))
    projection.surgery_kernel[(len(gramian),)](
        gramian,
        draws,
        draws if targets is None else targets.contiguous(),
        coefficients,
        changed,
        failed,
        VACCINE=targets is not None,
        BETA=beta,
        **shape,
    )
    return coefficients, changed, failed


def _like(*ranks: int) -> Any:
    """What a compiler needs to know of an operation on [N, T, T]: float64 results of these ranks, and bool [N]."""

    def fake(matrix: Tensor, *_: Any) -> tuple[Tensor, ...]:
        results = [
            torch.empty(matrix.shape[:rank], dtype=torch.float64, device=matrix.device) for rank in ranks
        ]
        return *results, torch.empty(matrix.shape[:1], dtype=torch.bool, device=matrix.device)

    return fake


active_set.register_fake(_like(2))
gramian_eigen.register_fake(_like(2, 3))
symmetric_eigen.register_fake(_like(2, 3))
fair.register_fake(_like(2))
surgery.register_fake(_like(3))
vaccinate.register_fake(_like(3, 3))


def _blocks(jacobian: Tensor | Blocks) -> tuple[Tensor, ...]:
    if isinstance(jacobian, Blocks):
        return jacobian.rows
    return (jacobian.contiguous().unsqueeze(1),)


@lru_cache(maxsize=256)
def _plan(shapes: tuple[torch.Size, ...], span: int, device: torch.device) -> Tensor:
    """Which piece of blocks [S, E, T, n] each program takes, int64 [programs, 6]: see `packed`.

    Made once, before a graph is captured: to fill it takes a copy from the host.
    """
    rows, first = [], 0
    for block, (_, num_parts, num_tasks, size) in enumerate(shapes):
        for part in range(num_parts):
            for start in range(0, size, span):
                rows.append(
                    (
                        block,
                        part * num_tasks * size + start,
                        size,
                        num_parts * num_tasks * size,
                        min(span, size - start),
                        first + part * size + start,
                    )
                )
        first += num_parts * size
    return torch.tensor(rows, dtype=torch.int64, device=device)


def _divide_up(number: int, by: int) -> int:
    return (number + by - 1) // by


def _block(num_tasks: int) -> int:
    """The side of the tile that holds a system: the next power of two."""
    return max(2, 1 << (num_tasks - 1).bit_length())


def _prepare(matrix: Tensor) -> tuple[Tensor, Tensor, dict[str, Any]]:
    """Numbers [N, T] and bits [N] to fill, and what every kernel on matrices [N, T, T] is compiled for."""
    num_systems, num_tasks, _ = matrix.shape
    block = _block(num_tasks)
    numbers = torch.empty(num_systems, num_tasks, dtype=torch.float64, device=matrix.device)
    failed = torch.empty(num_systems, dtype=torch.bool, device=matrix.device)
    # A warp alone needs no barriers; larger tiles need more registers than it has.
    num_warps = max(1, block * block // 256)
    # Each lane would fuse the product it holds into a sum over lanes and round the others': the lanes' copies of the
    # sum would differ in the last bit, a singular system by much more, and the loops that they decide with it.
    return numbers, failed, {"T": num_tasks, "B": block, "num_warps": num_warps, "enable_fp_fusion": False}


def _rotations(gramian: Tensor) -> dict[str, Any]:
    num_tasks = gramian.shape[-1]
    return {"SIZE": num_tasks + num_tasks % 2, "SWEEPS": _SWEEPS}
