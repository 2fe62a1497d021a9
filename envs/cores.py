"""How many processor cores there are to use."""

import os


def available_cores() -> int:
    """The cores that this process may run on: fewer than the machine's under `taskset`, in a container or a job."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
