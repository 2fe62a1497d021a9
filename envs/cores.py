"""Which processor cores there are to use, and who uses them."""

import math
import os
from pathlib import Path

_LIMIT = Path("/sys/fs/cgroup/cpu.max")  # of a container, by Linux's control groups, version 2


def list_cores() -> list[int]:
    """The cores that this thread may run on, by number; none where the system does not say."""
    return sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []


def available_cores() -> int:
    """How many cores this process may use: fewer than the machine's under `taskset`, in a job or in a container."""
    cores = len(list_cores()) or os.cpu_count() or 1
    try:
        microseconds, period = map(int, _LIMIT.read_text().split())
    except (OSError, ValueError):  # there is none, or it is "max"
        return cores
    return min(cores, math.ceil(microseconds / period))


def yield_to_others() -> None:
    """Lets other processes have the processor wherever they want it, and at once; for this one and those it starts."""
    if hasattr(os, "SCHED_IDLE"):
        os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
    else:
        os.nice(19)
