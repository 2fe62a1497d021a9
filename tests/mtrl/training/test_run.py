"""A new run directory: whole or absent, and of one process."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from numpy.typing import NDArray

from envs.worlds import Transitions
from mtrl.sweep import devices
from mtrl.system.lock import locked
from mtrl.training import run as run_module
from tests.mtrl.cli.test_cli import assert_refused
from tests.mtrl.conftest import FakeEngine, Result, read_metrics, train_arguments
from tests.mtrl.sweep.conftest import BASE

Cli = Callable[..., Result]


@pytest.fixture
def meanwhile(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], None]], None]:
    """Has something happen while a training's run directory is made, once: another process may be as fast."""

    def use(happen: Callable[[], None]) -> None:
        original = run_module.stamp

        def slow(*arguments: Any) -> dict[str, Any]:
            monkeypatch.setattr(run_module, "stamp", original)
            happen()
            return original(*arguments)

        monkeypatch.setattr(run_module, "stamp", slow)

    return use


def test_two_trainings_that_begin_at_once(
    fake: object, cli: Cli, tmp_path: Path, meanwhile: Callable
) -> None:
    """The one that is there first trains, with its own configuration; the other is refused and leaves nothing."""
    run, results = tmp_path / "run", []
    meanwhile(lambda: results.append(cli(*train_arguments(run, seeds="7"))))
    assert_refused(cli(*train_arguments(run, seeds="3")), "exists already", f"mtrl train --resume {run}")
    assert results[0].code == 0, results[0].err
    assert yaml.safe_load((run / "config.yaml").read_text())["seeds"] == [7]
    assert read_metrics(run)[-1]["step"] == 40
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


@pytest.mark.parametrize("other", ["file", "link", "directory"])
def test_something_else_that_comes_to_be_there(
    fake: object, cli: Cli, tmp_path: Path, meanwhile: Callable, other: str
) -> None:
    run = tmp_path / "run"

    def make() -> None:
        if other == "file":
            run.write_text("mine")
        elif other == "link":
            run.symlink_to(tmp_path)
        else:
            run.mkdir()
            (run / "mine").write_text("mine")

    meanwhile(make)
    assert_refused(cli(*train_arguments(run)), "exists already")
    assert [path.name for path in tmp_path.iterdir()] == ["run"]
    assert (run / "mine" if other == "directory" else run).exists()


@pytest.mark.parametrize("place", ["checkpoints", "evaluation/deep"])
def test_a_run_is_not_made_among_the_files_of_another(finished: Path, cli: Cli, place: str) -> None:
    """Its checkpoints are deleted as they get old, and a report reads every evaluation."""
    before = sorted(finished.rglob("*"))
    run = finished / place / "step_0000000001"
    assert_refused(cli(*train_arguments(run)), f"among the files of the run {finished}")
    assert sorted(finished.rglob("*")) == before


def test_a_run_belongs_to_its_process_as_soon_as_it_is_there(
    fake: object, cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, results = tmp_path / "run", []
    rename = Path.rename

    def watched(self: Path, target: Path) -> Path:
        renamed = rename(self, target)
        if target == run:
            results.append(cli("train", "--resume", run))
        return renamed

    monkeypatch.setattr(Path, "rename", watched)
    assert cli(*train_arguments(run)).code == 0
    assert_refused(results[0], "Another process is training in", str(run))


def test_what_killed_processes_left_goes_and_what_others_make_stays(
    fake: object, cli: Cli, tmp_path: Path
) -> None:
    left, held, other, own = (
        tmp_path / name
        for name in (".run.12345678.new", ".run.abcdef01.new", ".run2.12345678.new", ".run.mydata12.new")
    )
    for directory in (left, held, other, own):
        directory.mkdir()
        (directory / "config.yaml").write_text("seeds: [1]")
    (tmp_path / ".run.00000000.new").mkdir()  # killed before there was anything in it
    with locked(held):
        assert cli(*train_arguments(tmp_path / "run")).code == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(
        [held.name, other.name, own.name, "run"]
    )
    assert (held / "config.yaml").exists()


def test_another_process_takes_it_for_a_leftover(
    fake: object, cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was made and is not held yet: one of another name is made."""
    mkdir, taken = Path.mkdir, []

    def watched(self: Path, *arguments: Any, **options: Any) -> None:
        mkdir(self, *arguments, **options)
        if self.name.endswith(".new") and not taken:
            taken.append(self.name)
            self.rmdir()

    monkeypatch.setattr(Path, "mkdir", watched)
    assert cli(*train_arguments(tmp_path / "run")).code == 0
    assert taken
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_the_directory_can_be_read_by_those_whom_the_umask_lets(
    fake: object, cli: Cli, tmp_path: Path
) -> None:
    umask = os.umask(0o027)
    try:
        assert cli(*train_arguments(tmp_path / "run")).code == 0
    finally:
        os.umask(umask)
    assert (tmp_path / "run").stat().st_mode & 0o777 == 0o750


def test_two_trainings_on_devices_that_begin_at_once(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "run"
    config = tmp_path / "config.yaml"
    config.write_text(yaml.safe_dump(BASE | {"balancer": None}))
    methods = devices.methods

    def slow(sweep: Any) -> Any:
        run.mkdir()
        (run / "devices.yaml").write_text("another's")
        return methods(sweep)

    monkeypatch.setattr(devices, "methods", slow)
    arguments = ("--config", config, "--seeds", "3,4", "--devices", "cpu,cpu", "--run_dir", run)
    assert_refused(cli("train", *arguments), "exists already", f"mtrl train --resume {run}")
    assert (run / "devices.yaml").read_text() == "another's"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["config.yaml", "run"]


class MeanwhileEngine(FakeEngine):
    """Has something happen in its step 25, once."""

    happen: Callable[[], object] | None = None

    def step(self, actions: NDArray[np.float64]) -> Transitions:
        happen = MeanwhileEngine.happen
        if self.steps == 25 and happen is not None:
            MeanwhileEngine.happen = None
            happen()
        return super().step(actions)


@pytest.mark.parametrize("case", ["replaced", "moved", "deleted"])
@pytest.mark.parametrize("next_write", ["log_interval", "checkpoint__interval", "evaluation__interval"])
def test_a_run_directory_that_is_taken_away_while_it_is_trained(
    fake: Callable, cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, case: str, next_write: str
) -> None:
    """Nothing of it is written into another that has its name now, nor anywhere else.

    But for curves: TensorBoard's thread writes when it likes what it was given before.
    """
    run, other = tmp_path / "run", tmp_path / "other"
    intervals = {"log_interval": 40, "checkpoint__interval": 40, "evaluation__interval": 40, next_write: 5}
    assert cli(*train_arguments(other, balancer="LS")).code == 0

    def take_away() -> None:
        if case == "deleted":
            shutil.rmtree(run)
        else:
            run.rename(tmp_path / "elsewhere")
        if case == "replaced":
            other.rename(run)

    def content(directory: Path) -> dict[Path, bytes]:
        paths = (path for path in directory.rglob("*") if path.is_file() and "tensorboard" not in path.parts)
        return {path.relative_to(directory): path.read_bytes() for path in paths}

    whole = content(other)
    monkeypatch.setattr(MeanwhileEngine, "happen", staticmethod(take_away))
    fake(MeanwhileEngine)
    result = cli(*train_arguments(run, **intervals))
    assert result.code == 1
    assert f"{run} was moved, deleted or replaced" in result.err
    assert "Traceback" not in result.err
    assert content(run) == (whole if case == "replaced" else {})
