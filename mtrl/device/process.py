"""Settings of this process: what costs a large part of an update's time where the defaults stay."""

from __future__ import annotations

import contextlib
import ctypes
from collections.abc import Iterator

import torch

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # of glibc's malloc.h


def prepare_to_learn(device: str, num_threads: int | None = None) -> None:
    """Settings of this process for learning on a GPU (`cuda`), or on a CPU.

    Args:
        num_threads: of PyTorch; null leaves that to PyTorch on a CPU, and takes one on a GPU.
    """
    if device == "cuda":
        torch.set_float32_matmul_precision("high")  # TF32
        # Other threads would wait for their next piece of work by looking, on the cores that simulate.
        torch.set_num_threads(num_threads or 1)
        return
    if num_threads is not None:
        torch.set_num_threads(num_threads)
    # Squares of tiny gradients would slow Adam's moments down several times.
    torch.set_flush_denormal(True)
    # What one update gives back the next one takes: glibc would return it to the system and fetch it page by page.
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, 2**25)
        mallopt(_M_TRIM_THRESHOLD, 2**30)


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """PyTorch with one thread: for a policy's few rows, more of them only keep cores from the simulation."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
