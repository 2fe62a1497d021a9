"""`mtrl benchmark evaluation` steps worlds beside others, and tells what that costs."""

import json
import os
from collections.abc import Callable
from pathlib import Path

from tests.mtrl.conftest import Result

Cli = Callable[..., Result]


def test_training_and_evaluations_are_timed_together(cli: Cli, tmp_path: Path) -> None:
    cores, output = os.sched_getaffinity(0), tmp_path / "new" / "evaluation.json"
    options = {
        "training_worlds": 1,
        "evaluation_worlds": 2,
        "period": 4,
        "wait": 1,
        "seconds": 0.3,
        "repetitions": 2,
    }
    arguments = [str(x) for name, value in options.items() for x in (f"--{name}", value)]
    result = cli(
        "benchmark", "evaluation", "--benchmark", "MT3", *arguments, "--num_workers", 1, "--output", output
    )
    assert result.code == 0, result.err
    assert "beside an evaluation" in result.out
    report = json.loads(output.read_text())
    assert report["cores"] == len(cores)
    found = {r["variant"]: r for r in report["results"]}
    for name, r in found.items():
        assert 0 < r["median_milliseconds"] <= r["percentile_99_milliseconds"]
        assert (r["evaluation_steps_per_second"] > 0) == (name != "alone")
        assert len(r["all"]) == 2
    assert os.sched_getaffinity(0) == cores


def test_numbers_have_to_be_positive(cli: Cli) -> None:
    result = cli("benchmark", "evaluation", "--period", 0)
    assert result.code == 2
    assert "period to be a number in [1e-18, 1e+12], got 0.0" in result.err
