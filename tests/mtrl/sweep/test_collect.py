"""A directory of results that somebody sent, or that something else is in."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.mtrl.cli.test_cli import assert_refused
from tests.mtrl.conftest import Result

Cli, Write = Callable[..., Result], Callable[..., Path]
ENTRY = {"method": "LS", "seeds": [0], "digest": "0"}


@pytest.fixture
def dry(cli: Cli, write_sweep: Write) -> Callable[[], Result]:
    """What `mtrl sweep` says before it trains."""
    path = write_sweep(axes={"balancer": ["LS"]}, collect="results")
    return lambda: cli("sweep", path, "--dry_run")


@pytest.fixture
def results(finished: Path, tmp_path: Path) -> Path:
    """With one run that is recorded."""
    (tmp_path / "results" / "runs").mkdir(parents=True)
    shutil.copytree(finished, tmp_path / "results" / "runs" / "run")
    record(tmp_path / "results", {"run": ENTRY})
    return tmp_path / "results"


def record(results: Path, runs: Any, **others: Any) -> None:
    (results / "manifest.json").write_text(json.dumps({"format": 2, "runs": runs, **others}))


@pytest.mark.parametrize(
    "content",
    [
        "",
        "\0",
        "[]",
        "5",
        "{}",
        '{"format": 2, "runs": 5}',
        '{"format": 2, "runs": [1]}',
        '{"format": 2, "runs": {"run": 5}}',
        '{"format": 2, "runs": {"run": {"method": "LS"}}}',
        '{"format": 2, "runs": {"run": {"method": "LS", "seeds": 0, "digest": "0"}}}',
        '{"format": 2, "runs": {"run": {"method": "LS", "seeds": [], "digest": "0"}}}',
        '{"format": 2, "runs": {"run": {"method": ["LS"], "seeds": [0], "digest": "0"}}}',
        '{"format": 99, "runs": {}}',
        '{"format": 2, "runs": {}}',
    ],
)
def test_a_manifest_that_is_none(
    results: Path, dry: Callable, content: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (results / "manifest.json").write_text(content)
    before = sorted(tmp_path.rglob("*"))
    assert_refused(dry(), "manifest.json")
    assert sorted(tmp_path.rglob("*")) == before


def test_a_run_that_is_not_recorded_brings_no_other(results: Path, dry: Callable, tmp_path: Path) -> None:
    shutil.copytree(results / "runs" / "run", results / "runs" / "z[red]")
    before = sorted(tmp_path.rglob("*"))
    assert_refused(dry(), "z[red]", "is not in")
    assert sorted(tmp_path.rglob("*")) == before


def test_what_is_no_run_is_left_alone(results: Path, dry: Callable) -> None:
    (results / "runs" / "notes.txt").write_text("x")
    (results / "runs" / "empty").mkdir()
    (results / "runs" / "gone").symlink_to("nowhere")
    result = dry()
    assert result.code == 0, result.err


def test_a_place_for_results_that_is_a_file(dry: Callable, tmp_path: Path) -> None:
    """It would be found out after the first run was trained."""
    (tmp_path / "results").write_text("x")
    assert_refused(dry(), "Nothing can be written to", "is not a directory")


@pytest.mark.parametrize("collect", ["sweep", "sweep/runs", "sweep/runs/../runs"])
def test_a_place_for_results_that_is_the_sweeps_own(cli: Cli, write_sweep: Write, collect: str) -> None:
    path = write_sweep(collect=collect)
    assert_refused(cli("sweep", path, "--dry_run"), "collect must be another directory than sweep_dir")


@pytest.mark.parametrize(
    "place", ["sweep/runs", "sweep/configs", "sweep/logs", "sweep/report", "results/runs"]
)
@pytest.mark.parametrize("is_link", [False, True])
def test_something_else_where_a_sweep_writes(
    dry: Callable, tmp_path: Path, place: str, is_link: bool
) -> None:
    path = tmp_path / place
    path.parent.mkdir()
    path.symlink_to("nowhere") if is_link else path.write_text("x")
    assert_refused(dry(), f"Nothing can be written to {path}", "is not a directory")


@pytest.mark.parametrize("place", ["sweep", "results"])
def test_a_manifest_that_is_a_directory(results: Path, dry: Callable, tmp_path: Path, place: str) -> None:
    path = tmp_path / place / "manifest.json"
    path.unlink(missing_ok=True)
    path.mkdir(parents=True)
    assert_refused(dry(), f"The manifest {path} cannot be read", "Is a directory")
