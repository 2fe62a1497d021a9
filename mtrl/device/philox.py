"""Random numbers by counting, for GPUs: one kernel draws for all seeds, and a CUDA graph needs to know no generator.

The numbers are those of Philox 4x32-10 (Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3"): its key is
the seed's 64 bits, its counter the position in the draw and the number of draws before. So what a seed draws depends on
its key and on what it drew, not on the seeds beside it.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from mtrl.device.triton import INSTALLED

_LANES = 256

if INSTALLED:
    from mtrl.device.philox_kernel import draw_kernel


def seeded(keys: Sequence[int], device: torch.device) -> Tensor:
    """States for keys of 64 bits, int64 [S, 3]: the key, the draws so far, and zero (the kernel's, while it runs)."""
    state = torch.zeros(len(keys), 3, dtype=torch.int64)
    state[:, 0] = torch.from_numpy(np.array(keys, dtype=np.uint64).view(np.int64))
    return state.to(device)


def rand(state: Tensor, shape: Sequence[int], dtype: torch.dtype) -> Tensor:
    """Uniform numbers in [0, 1) of 24 (float32) or 53 (float64) bits, [S, *shape]; counts the draw in `state`."""
    return _draw(state, shape, dtype, normal=False)


def randn(state: Tensor, shape: Sequence[int], dtype: torch.dtype) -> Tensor:
    """Standard normal numbers of float32 or float64 (Box and Muller 1958), [S, *shape]; counts the draw in `state`."""
    return _draw(state, shape, dtype, normal=True)


def _draw(state: Tensor, shape: Sequence[int], dtype: torch.dtype, *, normal: bool) -> Tensor:
    assert dtype in (torch.float32, torch.float64)
    drawn = torch.empty(len(state), *shape, dtype=dtype, device=state.device)
    size = drawn[0].numel()
    span = _LANES * (2 if dtype == torch.float64 else 4)
    draw_kernel[((size + span - 1) // span, len(state))](
        state, drawn, size, NORMAL=normal, LANES=_LANES, num_warps=4
    )
    return drawn
