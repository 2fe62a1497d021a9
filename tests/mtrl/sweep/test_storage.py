"""Copies of a run at a URL are whole, and lose what the run lost."""

import json
from pathlib import Path

import pytest

from mtrl.sweep.config import SweepConfig
from mtrl.sweep.plan import PlannedRun, make_run, methods
from mtrl.sweep.state import Progress, last_step
from tests.mtrl.sweep.conftest import BASE

pytest.importorskip("fsspec")
from mtrl.sweep.storage import Storage


@pytest.fixture
def run() -> PlannedRun:
    return make_run(methods(SweepConfig(base=BASE))[0], [0])


def write_run(run: PlannedRun, root: Path, step: int) -> None:
    directory = run.directory(root)
    folder = directory / "checkpoints" / f"step_{step:010d}"
    folder.mkdir(parents=True)
    for name in ("agent.safetensors", "replay.safetensors", "manifest.json"):
        (folder / name).write_text(f"{name} {step}")
    with (directory / "metrics.jsonl").open("a") as file:
        file.write(json.dumps({"step": step, "evaluation/success": [[0.5, 1.0]]}) + "\n")
    run.log_path(root).parent.mkdir(exist_ok=True)
    run.log_path(root).write_text("started")


def contents(run: PlannedRun, root: Path) -> dict[str, str]:
    directory = run.directory(root)
    return {str(p.relative_to(directory)): p.read_text() for p in directory.rglob("*") if p.is_file()}


@pytest.mark.parametrize("scheme", ["file", "memory"])
def test_there_and_back(run: PlannedRun, tmp_path: Path, scheme: str) -> None:
    storage = Storage(f"{scheme}://{tmp_path}/remote")
    first, second, mirror = tmp_path / "first", tmp_path / "second", tmp_path / "mirror"
    storage.pull(run, first)
    storage.mirror(mirror)
    assert last_step(run, first) is None
    write_run(run, first, 50)
    storage.push(run, first)
    write_run(run, first, 100)
    for path in (run.directory(first) / "checkpoints" / "step_0000000050").iterdir():
        path.unlink()
    (run.directory(first) / "checkpoints" / "step_0000000050").rmdir()
    storage.push(run, first)
    storage.pull(run, second)
    assert contents(run, second) == contents(run, first)
    assert run.log_path(second).read_text() == "started"
    storage.mirror(mirror)
    assert last_step(run, mirror) == 100
    assert not (run.directory(mirror) / "checkpoints" / "step_0000000050").exists()
    assert not any("replay" in name for name in contents(run, mirror))
    progress = Progress(run, mirror)
    progress.read()
    assert (progress.step, progress.success) == (100, 0.75)


@pytest.mark.parametrize(
    "success",
    ['"high"', '{"a": 1}', '{"a": [1], "b": [1, 2]}', "[[1], [1, 2]]", "1" + "0" * 400, "{}", "null"],
)
def test_progress_is_what_can_be_read(run: PlannedRun, tmp_path: Path, success: str) -> None:
    write_run(run, tmp_path, 50)
    with (run.directory(tmp_path) / "metrics.jsonl").open("a") as file:
        file.write(f'{{"step": 100, "evaluation/success": {success}}}\n[1]\n{{"step": 1{"0" * 30}}}\n')
    (run.directory(tmp_path) / "timing.jsonl").write_text('{"step": 100, "steps_per_second": "fast"}\n')
    progress = Progress(run, tmp_path)
    progress.read()
    assert (progress.step, progress.success, progress.seconds_left) == (100, 0.75, None)


def test_a_checkpoint_that_was_written_again(run: PlannedRun, tmp_path: Path) -> None:
    """As after an evaluation that a signal came in the way of."""
    storage = Storage(f"file://{tmp_path}/remote")
    first, mirror = tmp_path / "first", tmp_path / "mirror"
    write_run(run, first, 50)
    storage.push(run, first)
    storage.mirror(mirror)
    for path in (run.directory(first) / "checkpoints" / "step_0000000050").iterdir():
        path.write_text(f"{path.name} again")
    storage.push(run, first)
    storage.mirror(mirror)
    folder = run.directory(mirror) / "checkpoints" / "step_0000000050"
    assert {path.read_text() for path in folder.iterdir()} == {
        "agent.safetensors again",
        "manifest.json again",
    }


def test_what_did_not_change_is_not_written(run: PlannedRun, tmp_path: Path) -> None:
    storage = Storage(f"file://{tmp_path}/remote")
    write_run(run, tmp_path / "first", 50)
    storage.push(run, tmp_path / "first")
    mirror = tmp_path / "mirror"
    storage.mirror(mirror)
    before = {path: path.stat().st_mtime_ns for path in mirror.rglob("*") if path.is_file()}
    storage.mirror(mirror)
    assert {path: path.stat().st_mtime_ns for path in mirror.rglob("*") if path.is_file()} == before


def test_checkpoints_deleted_while_they_are_copied(
    run: PlannedRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The node that trains a run deletes its old checkpoints while another one reads them."""
    storage = Storage(f"file://{tmp_path}/remote")
    write_run(run, tmp_path / "first", 50)
    write_run(run, tmp_path / "first", 100)
    storage.push(run, tmp_path / "first")
    names = storage._names("runs")
    old = tmp_path / "remote" / "runs" / run.name / "checkpoints" / "step_0000000050"
    (old / "agent.safetensors").unlink()
    monkeypatch.setattr(storage, "_names", lambda part: names if part == "runs" else set())
    storage.mirror(tmp_path / "mirror")
    checkpoints = run.directory(tmp_path / "mirror") / "checkpoints"
    assert [path.name for path in checkpoints.iterdir()] == ["step_0000000100"]


def test_half_a_checkpoint_is_none(run: PlannedRun, tmp_path: Path) -> None:
    storage = Storage(f"file://{tmp_path}/remote")
    write_run(run, tmp_path / "first", 50)
    storage.push(run, tmp_path / "first")
    write_run(run, tmp_path / "first", 100)
    storage.push(run, tmp_path / "first")
    remote = tmp_path / "remote" / "runs" / run.name / "checkpoints"
    (remote / "step_0000000100" / "manifest.json").unlink()
    storage.pull(run, tmp_path / "second")
    assert last_step(run, tmp_path / "second") == 50


def test_unknown_urls() -> None:
    with pytest.raises(ValueError, match="nonsense://x cannot be opened"):
        Storage("nonsense://x")
