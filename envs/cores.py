"""How many processor cores there are to use."""

import os

_MANY = 9


def available_cores() -> int:
    """The cores that this process may run on: fewer than the machine's under `taskset`, in a container or a job."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def default_workers() -> int:
    """A process for each core; of many cores one is left to the process that waits for the others, which need not sleep
    then: on sixteen that made steps quicker by a seventh, while the core is a sixteenth."""
    cores = available_cores()
    return cores - 1 if cores >= _MANY else cores
