"""Which checkpoints a directory has, which is meant, and which are deleted."""

import json
from pathlib import Path

import pytest

from mtrl.storage import checkpoint, checkpoints
from mtrl.storage.checkpoint import CheckpointError
from tests.mtrl.storage.test_checkpoint import STATE, equal, one_sentence


def log_evaluations(run: Path, successes: dict[int, float]) -> None:
    """Of one seed and task."""
    lines = [
        {"step": step, "evaluation/success": [[success]], "evaluation/returns": [[0.0]]}
        for step, success in successes.items()
    ]
    (run / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


def test_last_best_and_step(tmp_path: Path) -> None:
    for step in (20, 40, 60):
        checkpoint.save(tmp_path / "checkpoints", step, STATE)
    log_evaluations(tmp_path, {20: 0.1, 40: 0.5, 60: 0.5, 70: 0.9})
    assert checkpoints.steps(tmp_path / "checkpoints") == [20, 40, 60]
    for which, step in {"last": 60, "best": 40, "20": 20}.items():
        assert checkpoints.find(tmp_path / "checkpoints", which).name == f"step_{step:010d}"


def test_a_checkpoint_that_is_a_link(tmp_path: Path) -> None:
    """To where there is more room, or to another run's: the link goes, and what it leads to stays."""
    kept = checkpoint.save(tmp_path / "elsewhere", 20, STATE)
    directory = tmp_path / "checkpoints"
    for step in (40, 60):
        checkpoint.save(directory, step, STATE)
    (directory / "step_0000000020").symlink_to(kept)
    (directory / ".writing_0000000030").symlink_to(kept)
    (directory / ".writing_0000000035").write_text("")
    checkpoints.prune(directory)
    assert sorted(path.name for path in directory.iterdir()) == ["step_0000000040", "step_0000000060"]
    assert equal(checkpoint.load(kept), STATE)


@pytest.mark.parametrize("which", ["30", "-20", "newest", "", "20.0", "²"])
def test_a_checkpoint_that_is_not_there(tmp_path: Path, which: str) -> None:
    checkpoint.save(tmp_path, 20, STATE)
    with pytest.raises(CheckpointError, match=r"last, best or one of 20\.$"):
        checkpoints.find(tmp_path, which)


def test_no_checkpoint_at_all(tmp_path: Path) -> None:
    for directory in (tmp_path, tmp_path / "missing"):
        for which in ("last", "best", "20"):
            with pytest.raises(CheckpointError, match="There is no checkpoint in"):
                checkpoints.find(directory, which)


def test_best_before_an_evaluation(tmp_path: Path) -> None:
    checkpoint.save(tmp_path, 20, STATE)
    with pytest.raises(CheckpointError, match="use --checkpoint last"):
        checkpoints.find(tmp_path, "best")


def test_best_when_the_newest_is_damaged(tmp_path: Path) -> None:
    directory = tmp_path / "checkpoints"
    checkpoint.save(directory, 20, STATE)
    (checkpoint.save(directory, 40, STATE) / "manifest.json").write_text("{")
    log_evaluations(tmp_path, {20: 0.5, 40: 0.1})
    assert equal(checkpoint.load(checkpoints.find(directory, "best")), STATE)
    log_evaluations(tmp_path, {20: 0.5, 40: 0.7})
    with pytest.raises(CheckpointError) as error:
        checkpoint.load(checkpoints.find(directory, "best"))
    assert one_sentence(error)


def test_prune_keeps_the_newest_two_and_those_that_it_is_told(tmp_path: Path) -> None:
    for step in (10, 20, 30, 40, 50):
        checkpoint.save(tmp_path, step, STATE)
    checkpoints.prune(tmp_path, [20, None])
    assert checkpoints.steps(tmp_path) == [20, 40, 50]


def test_prune_removes_what_a_killed_writer_left(tmp_path: Path) -> None:
    checkpoint.save(tmp_path, 10, STATE)
    (tmp_path / ".writing_0000000020").mkdir()
    (tmp_path / ".writing_0000000020" / "agent.safetensors").write_bytes(b"half")
    assert checkpoints.steps(tmp_path) == [10]
    checkpoints.prune(tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["step_0000000010"]


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        (2, [60, 70]),
        (4, [40, 50, 60, 70]),
        (99, [0, 10, 20, 30, 40, 50, 60, 70]),
        ("all", [0, 10, 20, 30, 40, 50, 60, 70]),
        ("every:20", [20, 40, 60, 70]),
        ("every:25", [30, 50, 60, 70]),
        ("every:1", [10, 20, 30, 40, 50, 60, 70]),
        ("every:1000", [60, 70]),
    ],
)
def test_a_rule_keeps_more_whenever_it_is_asked(tmp_path: Path, rule: int | str, expected: list[int]) -> None:
    for step in range(0, 80, 10):
        checkpoint.save(tmp_path, step, {"x": {"a": 1}})
        checkpoints.prune(tmp_path, rule=rule)
    assert checkpoints.steps(tmp_path) == expected
