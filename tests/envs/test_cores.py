"""Cores are counted as the system lets this process use them."""

import os
import subprocess
import sys

import pytest

from envs.cores import available_cores, default_workers


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="needs an affinity to set")
def test_cores_that_are_taken_away_do_not_count() -> None:
    code = (
        "import os; from envs.cores import available_cores;"
        "os.sched_setaffinity(0, {min(os.sched_getaffinity(0))}); print(available_cores())"
    )
    assert int(subprocess.check_output([sys.executable, "-c", code])) == 1
    assert available_cores() == len(os.sched_getaffinity(0))


@pytest.mark.parametrize(("available", "workers"), [(1, 1), (2, 2), (8, 8), (9, 8), (16, 15)])
def test_of_many_cores_one_has_no_worker(available: int, workers: int) -> None:
    assert default_workers(available) == workers
