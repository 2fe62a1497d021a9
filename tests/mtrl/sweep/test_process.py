"""Which command a run is started with, and that one in training is left alone."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from mtrl import checkpoint
from mtrl.lock import locked
from mtrl.sweep import process
from mtrl.sweep.config import SweepConfig
from mtrl.sweep.plan import Run, make_run, methods
from tests.mtrl.sweep.conftest import BASE


@pytest.fixture
def run() -> Run:
    return make_run(methods(SweepConfig(base=BASE))[0], [0])


@pytest.fixture
def commands(monkeypatch: pytest.MonkeyPatch) -> list[Sequence[str]]:
    """Commands that would have been started."""
    found: list[Sequence[str]] = []
    monkeypatch.setattr(process, "spawn", lambda arguments, log, environment: found.append(arguments))
    monkeypatch.setattr(process.time, "sleep", lambda seconds: None)
    return found


def test_new_begun_and_saved_runs(run: Run, commands: list[Sequence[str]], tmp_path: Path) -> None:
    process.start(run, tmp_path)
    run.directory(tmp_path).mkdir(parents=True)
    process.start(run, tmp_path)
    assert not run.directory(tmp_path).exists()
    checkpoint.save(run.directory(tmp_path) / "checkpoints", 50, {"loop": {}})
    process.start(run, tmp_path)
    new = ["train", "--config", str(run.config_path(tmp_path))]
    assert commands == [new, new, ["train", "--resume", str(run.directory(tmp_path))]]


def test_a_run_that_another_process_trains(run: Run, commands: list[Sequence[str]], tmp_path: Path) -> None:
    directory = run.directory(tmp_path)
    directory.mkdir(parents=True)
    with locked(directory), pytest.raises(ValueError, match="Another process is training"):
        process.start(run, tmp_path)
    assert directory.exists()
    assert commands == []
