"""Where Triton's kernels run. A GPU needs them; with TRITON_INTERPRET=1 they run on a CPU, too."""

from __future__ import annotations

import importlib.util
import os

import torch

INSTALLED = importlib.util.find_spec("triton") is not None
_INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"


def require(device: torch.device) -> None:
    """
    Raises:
        ValueError: a GPU without Triton.
    """
    if device.type == "cuda" and not INSTALLED:
        raise ValueError(
            "A GPU needs Triton, which PyTorch's CUDA builds for Linux bring with them, and it is not installed: "
            "install it (`pip install triton`), or use --device cpu."
        )


def runs_on(device: torch.device) -> bool:
    """Whether kernels run there: on a GPU, or anywhere in Triton's interpreter.

    Raises:
        ValueError: a GPU without Triton.
    """
    require(device)
    return device.type == "cuda" or (INSTALLED and _INTERPRETED)
