"""Cores are counted as the system lets this process use them."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from envs import cores
from envs.cores import available_cores


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="needs an affinity to set")
def test_cores_that_are_taken_away_do_not_count(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    code = (
        "import os; from envs.cores import available_cores;"
        "os.sched_setaffinity(0, {min(os.sched_getaffinity(0))}); print(available_cores())"
    )
    assert int(subprocess.check_output([sys.executable, "-c", code])) == 1
    monkeypatch.setattr(cores, "_LIMIT", tmp_path / "none")
    assert available_cores() == len(os.sched_getaffinity(0))


@pytest.mark.parametrize(
    ("limit", "expected"),
    [("max 100000", 16), ("800000 100000", 8), ("150000 100000", 2), ("6400000 100000", 16), (None, 16)],
)
def test_a_container_may_be_given_the_time_of_some_cores(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, limit: str | None, expected: int
) -> None:
    monkeypatch.setattr(cores, "list_cores", lambda: list(range(16)))
    monkeypatch.setattr(cores, "_LIMIT", tmp_path / "cpu.max")
    if limit is not None:
        (tmp_path / "cpu.max").write_text(limit + "\n")
    assert available_cores() == expected
