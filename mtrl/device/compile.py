"""Methods of an object through torch.compile."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

#: Inductor's options: without candidates that need more memory than a multiprocessor has, and without a table of each.
_AUTOTUNED: dict[str, str | int | bool | Callable[..., Any]] = {
    "max_autotune_gemm": True,
    "max_autotune_gemm_backends": "ATEN,TRITON",
    "max_autotune_prune_choices_based_on_shared_mem": True,
    "autotune_num_choices_displayed": 0,
    "max_autotune_report_choices_stats": False,
}


def compile_methods(owner: object, *names: str, autotune: bool = False, backend: str = "inductor") -> None:
    """Puts compiled functions, for static shapes, in the place of an object's methods.

    Args:
        autotune: also time kernels for each matrix product on first use, those that apply bias and ReLU among them.
    """
    # Every object of a process is one more version of its methods: beyond the limit they would run uncompiled.
    torch._dynamo.config.recompile_limit = torch._dynamo.config.accumulated_recompile_limit
    options = _AUTOTUNED if autotune else None
    for name in names:
        setattr(
            owner, name, torch.compile(getattr(owner, name), backend=backend, dynamic=False, options=options)
        )
