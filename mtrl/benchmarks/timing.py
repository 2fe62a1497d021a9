"""How long calls take, and how that compares."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

import torch


def seconds_per_call(call: Callable[[], Any], count: int, device: torch.device) -> float:
    """The mean over `count` calls; a GPU has nothing else to do, and all that is queued is waited for."""
    _synchronize(device)
    started = time.perf_counter()
    for _ in range(count):
        call()
    _synchronize(device)
    return (time.perf_counter() - started) / count


def _synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize()


def median_ratio(ours: Sequence[float], theirs: Sequence[float] | None) -> float | None:
    """Of timings made one after the other, as what loads the machine loads both; None where one was not timed."""
    if theirs is None:
        return None
    return statistics.median(a / b for a, b in zip(ours, theirs, strict=True))
