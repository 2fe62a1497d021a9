"""Which command a run is started with, and that one in training is left alone."""

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from mtrl.storage import checkpoint
from mtrl.sweep import process
from mtrl.sweep.config import FinalEvaluation, SweepConfig
from mtrl.sweep.plan import PlannedRun, make_run, methods
from mtrl.sweep.state import check_kept, is_finished, is_trained, lacks_evaluation
from mtrl.system.lock import locked
from tests.mtrl.sweep.conftest import BASE


@pytest.fixture
def run() -> PlannedRun:
    return make_run(methods(SweepConfig(base=BASE))[0], [0])


@pytest.fixture
def commands(monkeypatch: pytest.MonkeyPatch) -> list[Sequence[str]]:
    """Commands that would have been started."""
    found: list[Sequence[str]] = []
    monkeypatch.setattr(process, "spawn", lambda arguments, log, environment: found.append(arguments))
    monkeypatch.setattr(process.time, "sleep", lambda seconds: None)
    return found


def test_new_begun_and_saved_runs(run: PlannedRun, commands: list[Sequence[str]], tmp_path: Path) -> None:
    process.start(run, tmp_path)
    run.directory(tmp_path).mkdir(parents=True)
    process.start(run, tmp_path)
    assert not run.directory(tmp_path).exists()
    checkpoint.save(run.directory(tmp_path) / "checkpoints", 50, {"loop": {}})
    process.start(run, tmp_path)
    new = ["train", "--config", str(run.config_path(tmp_path))]
    assert commands == [new, new, ["train", "--resume", str(run.directory(tmp_path))]]


def test_a_run_that_another_process_trains(
    run: PlannedRun, commands: list[Sequence[str]], tmp_path: Path
) -> None:
    directory = run.directory(tmp_path)
    directory.mkdir(parents=True)
    with locked(directory), pytest.raises(ValueError, match="Another process is training"):
        process.start(run, tmp_path)
    assert directory.exists()
    assert commands == []


def test_a_link_where_a_sweep_writes(
    run: PlannedRun, tmp_path: Path, commands: list[Sequence[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a sweep or a run on several devices that somebody sent it may lead to any file of the user's."""
    own = tmp_path / "bashrc"
    own.write_text("kept")
    log, config = run.log_path(tmp_path), run.config_path(tmp_path)
    for path in (log, config):
        path.parent.mkdir(parents=True)
        path.symlink_to(own)
    process.start(run, tmp_path)
    assert str(run.directory(tmp_path)) in config.read_text()
    monkeypatch.undo()
    with pytest.raises(ValueError, match=f"The log {log} must be a file, and it is a link"):
        process.start(run, tmp_path)
    assert own.read_text() == "kept"


def evaluated(step: int, engine: str, success: list[int]) -> str:
    """A file of `mtrl evaluate` for one seed and task."""
    return json.dumps(
        {"step": step, "engine": engine, "policy": "mean", "episodes": {"success": [[success]]}}
    )


def test_a_trained_run_is_evaluated_and_then_finished(commands: list[Sequence[str]], tmp_path: Path) -> None:
    evaluate = FinalEvaluation("reference", 2)
    run = make_run(methods(SweepConfig(base=BASE, evaluate=evaluate))[0], [0])
    directory = run.directory(tmp_path)
    checkpoint.save(directory / "checkpoints", 400, {"loop": {}})
    assert not is_trained(run, tmp_path)  # its evaluation is being made
    (directory / "metrics.jsonl").write_text('{"step": 400, "evaluation/success": [[1.0]]}\n')
    assert is_trained(run, tmp_path)
    assert not is_finished(run, tmp_path)
    process.start(run, tmp_path)
    wanted = ["evaluate", str(directory), "--engine", "reference", "--episodes", "2", "--device", "cpu"]
    wanted += ["--num_workers", "1"]
    assert commands == [wanted]
    file = directory / "evaluation" / "step_0000000400-a.json"
    file.parent.mkdir()
    for text, missing in (
        ('{"step": 400, "epi', True),
        (evaluated(400, "reference", [1]), True),
        (evaluated(200, "reference", [1, 0]), True),
        (evaluated(400, "batched", [1, 0]), True),
        (evaluated(400, "reference", [1, 0]), False),
    ):
        file.write_text(text)
        assert lacks_evaluation(run, tmp_path) == missing
        assert is_finished(run, tmp_path) != missing


def test_results_without_checkpoints_are_not_trained_over(run: PlannedRun, tmp_path: Path) -> None:
    metrics = run.directory(tmp_path) / "metrics.jsonl"
    check_kept(run, tmp_path)
    metrics.parent.mkdir(parents=True)
    metrics.write_text('{"step": 200, "evaluation/success": [[1.0]]}\n')
    with pytest.raises(ValueError, match="not trained to the end, and its checkpoints are gone"):
        check_kept(run, tmp_path)
    metrics.write_text('{"step": 400, "evaluation/success": [[1.0]]}\n')
    check_kept(run, tmp_path)
    assert is_finished(run, tmp_path)
    metrics.unlink()
    judged = metrics.parent / "evaluation" / "step_0000000400-a.json"
    judged.parent.mkdir()
    judged.write_text("{}")
    with pytest.raises(ValueError, match="its checkpoints are gone"):
        check_kept(run, tmp_path)
