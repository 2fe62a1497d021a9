"""Launches the kernels: shapes, block sizes and outputs. Arguments are as in the classes of the methods."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, Literal

import torch
from torch import Tensor

from mtrl.balancers import active_set
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


def simplex(
    method: Literal["mgda", "sdmgrad", "cagrad", "imgrad", "conicgrad"],
    gramian: Tensor,
    preference: Tensor,
    failures: Tensor,
    *,
    parameter: float = 0.0,
    divisor: float = 1.0,
    draws: Tensor | None = None,
    probability: float = 1.0,
) -> Tensor:
    """Weights [S, T] of MGDA, SDMGrad (`parameter` λ), CAGrad, IMGrad or ConicGrad (c).

    With `draws`, uniform [S, T], SDMGrad samples the tasks with draws below `probability`.
    """
    weights, shape = _prepare(gramian, preference)
    programs.simplex_kernel[(len(gramian),)](
        gramian,
        preference,
        preference if draws is None else draws,
        weights,
        failures,
        METHOD=("mgda", "sdmgrad", "cagrad", "imgrad", "conicgrad").index(method),
        PARAMETER=parameter,
        SINE=max(0.0, 1.0 - parameter**2) ** 0.5,
        DIVISOR=divisor,
        SAMPLED=draws is not None,
        PROBABILITY=probability,
        **_active_set(gramian),
        **shape,
    )
    return weights


def cone(gramian: Tensor, preference: Tensor, failures: Tensor, *, each: bool) -> Tensor:
    """Weights [S, T] of DualProj, or with `each` of UPGrad."""
    weights, shape = _prepare(gramian, preference)
    num_seeds, num_tasks = weights.shape
    if not each:
        programs.cone_kernel[(num_seeds,)](
            gramian, preference, weights, failures, EACH=False, **_active_set(gramian), **shape
        )
        return weights
    projected = gramian.new_empty(num_seeds, num_tasks, num_tasks, dtype=torch.float64)
    failed = failures.new_empty(num_seeds, num_tasks, dtype=torch.int32)
    programs.cone_kernel[(num_seeds * num_tasks,)](
        gramian, preference, projected, failed, EACH=True, **_active_set(gramian), **shape
    )
    programs.average_kernel[(num_seeds,)](projected, failed, preference, weights, failures, **shape)
    return weights


def aligned(
    gramian: Tensor, preference: Tensor, failures: Tensor, *, scale_mode: str, tolerance: float
) -> Tensor:
    """Weights [S, T] of AlignedMTL."""
    weights, shape = _prepare(gramian, preference)
    spectral.aligned_kernel[(len(gramian),)](
        gramian,
        preference,
        weights,
        failures,
        SCALE=("min", "median", "rmse").index(scale_mode),
        TOLERANCE=tolerance,
        **_rotations(gramian),
        **shape,
    )
    return weights


def impartial(gramian: Tensor, preference: Tensor, failures: Tensor) -> Tensor:
    """Weights [S, T] of IMTLG."""
    weights, shape = _prepare(gramian, preference)
    spectral.impartial_kernel[(len(gramian),)](
        gramian, preference, weights, failures, **_rotations(gramian), **shape
    )
    return weights


def fair(gramian: Tensor, preference: Tensor, failures: Tensor, *, alpha: float) -> Tensor:
    """Weights [S, T] of FairGrad."""
    weights, shape = _prepare(gramian, preference)
    bargaining.fair_kernel[(len(gramian),)](
        gramian, preference, weights, failures, ALPHA=alpha, STEPS=_NEWTON_STEPS, **shape
    )
    return weights


def nash(
    gramian: Tensor,
    preference: Tensor,
    failures: Tensor,
    held: Tensor,
    calls: Tensor,
    *,
    update_every: int,
    max_norm: float | None,
) -> Tensor:
    """Weights [S, T] of NashMTL; `held` [S, T] and `calls` [S] are updated in place."""
    weights, shape = _prepare(gramian, preference)
    bargaining.nash_kernel[(len(gramian),)](
        gramian,
        preference,
        held,
        calls,
        weights,
        failures,
        UPDATE_EVERY=update_every,
        MAX_NORM=max_norm or 0.0,
        STEPS=_NEWTON_STEPS,
        **shape,
    )
    return weights


def surgery(
    gramian: Tensor,
    preference: Tensor,
    failures: Tensor,
    draws: Tensor,
    *,
    targets: Tensor | None = None,
    beta: float = 0.0,
) -> Tensor:
    """Weights [S, T] of PCGrad, or with `targets` [S, T, T], updated in place, of GradVac."""
    weights, shape = _prepare(gramian, preference)
    projection.surgery_kernel[(len(gramian),)](
        gramian,
        draws,
        draws if targets is None else targets,
        preference,
        weights,
        failures,
        VACCINE=targets is not None,
        BETA=beta,
        **shape,
    )
    return weights


def _blocks(jacobian: Tensor | Blocks) -> tuple[Tensor, ...]:
    if isinstance(jacobian, Blocks):
        return jacobian.blocks
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


def _prepare(gramian: Tensor, preference: Tensor) -> tuple[Tensor, dict[str, int]]:
    """The weights to fill, in the dtype of the preference, and what every kernel is compiled for."""
    num_seeds, num_tasks, _ = gramian.shape
    block = _block(num_tasks)
    weights = torch.empty(num_seeds, num_tasks, dtype=preference.dtype, device=gramian.device)
    # A warp alone needs no barriers; larger tiles need more registers than it has.
    num_warps = max(1, block * block // 256)
    # Each lane would fuse the product it holds into a sum over lanes and round the others': the lanes' copies of the
    # sum would differ in the last bit, a singular system by much more, and the loops that they decide with it.
    return weights, {"T": num_tasks, "B": block, "num_warps": num_warps, "enable_fp_fusion": False}


def _active_set(gramian: Tensor) -> dict[str, Any]:
    return {
        "RIDGE": active_set.RIDGE,
        "REFINEMENTS": active_set.REFINEMENTS,
        "TOLERANCE": active_set.TOLERANCE,
        "SHORTEST": active_set.SHORTEST,
        "LIMIT": active_set.max_iterations(gramian.shape[-1]),
    }


def _rotations(gramian: Tensor) -> dict[str, Any]:
    num_tasks = gramian.shape[-1]
    return {"SIZE": num_tasks + num_tasks % 2, "SWEEPS": _SWEEPS}
