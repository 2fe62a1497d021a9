"""Checkpoints that are written while training goes on are those of the moment at which they were asked for."""

import os
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from envs.worlds import Transitions
from mtrl.device.cuda_graph import EXCLUSIVE
from mtrl.storage import checkpoint, checkpoints
from mtrl.storage.writer import CheckpointWriter
from mtrl.training import trainer
from tests.mtrl.conftest import OPTIONS, FakeEngine, Result, train_arguments
from tests.mtrl.training.test_resume import assert_same_run

Cli = Callable[..., Result]


@pytest.fixture
def writer(tmp_path: Path) -> Iterator[CheckpointWriter]:
    writer = CheckpointWriter(tmp_path, background=True)
    yield writer
    writer.close()


@pytest.fixture
def held(monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """Nothing is written before it is set."""
    event = threading.Event()
    write = checkpoint.write

    def wait_and_write(*arguments: Any) -> Path:
        assert event.wait(300)
        return write(*arguments)

    monkeypatch.setattr(checkpoint, "write", wait_and_write)
    return event


def test_the_state_is_that_of_the_moment(
    writer: CheckpointWriter, held: threading.Event, tmp_path: Path
) -> None:
    tensor, array, numbers = torch.arange(4.0), np.arange(3), [1, 2]
    writer.save(10, {"a": {"tensor": tensor, "array": array, "numbers": numbers}})
    assert writer.has(10)
    assert checkpoints.steps(tmp_path) == []
    tensor += 1
    array += 1
    numbers.append(3)
    held.set()
    writer.wait()
    loaded = checkpoint.load(checkpoints.find(tmp_path, "last"))["a"]
    assert loaded["tensor"].tolist() == [0, 1, 2, 3]
    assert loaded["array"].tolist() == [0, 1, 2]
    assert loaded["numbers"] == [1, 2]


@pytest.mark.parametrize("background", [False, True])
def test_what_is_not_kept_is_deleted(tmp_path: Path, background: bool) -> None:
    writer = CheckpointWriter(tmp_path, background=background)
    for step in (10, 20, 30, 40, 50):
        writer.save(step, {"a": {}}, keep=[10, 20])
    writer.close()
    assert checkpoints.steps(tmp_path) == [10, 20, 40, 50]
    assert writer.has(40)
    assert not writer.has(30)


@pytest.mark.parametrize("ask", [CheckpointWriter.check, CheckpointWriter.wait])
def test_what_cannot_be_written_is_said_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ask: Callable[[CheckpointWriter], None]
) -> None:
    writer = CheckpointWriter(tmp_path, background=True)
    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "write", lambda *_: (_ for _ in ()).throw(OSError("full")))
        writer.save(10, {"a": {}})
        writer.close()
    with pytest.raises(OSError, match="full"):
        ask(writer)
    ask(writer)


def test_check_does_not_wait(writer: CheckpointWriter, held: threading.Event, tmp_path: Path) -> None:
    writer.save(10, {"a": {}})
    writer.check()
    assert checkpoints.steps(tmp_path) == []
    held.set()
    writer.wait()
    assert checkpoints.steps(tmp_path) == [10]


def test_nothing_is_copied_during_a_capture(
    writer: CheckpointWriter, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A capture fails if another thread copies from the GPU."""
    written = threading.Event()
    write = checkpoint.write

    def note(*arguments: Any) -> Path:
        written.set()
        return write(*arguments)

    monkeypatch.setattr(checkpoint, "write", note)
    with EXCLUSIVE:
        writer.save(10, {"a": {"tensor": torch.ones(3)}})
        assert not written.wait(0.2)
    writer.wait()
    assert written.is_set()
    assert checkpoints.steps(tmp_path) == [10]


# ------------------------------------------------------------------------------------------------ training


@pytest.fixture
def in_background(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        trainer, "CheckpointWriter", lambda directory, **_: CheckpointWriter(directory, background=True)
    )


def test_training_goes_on_meanwhile(
    whole: Path, in_background: None, fake: Callable, cli: Cli, tmp_path: Path
) -> None:
    assert cli(*train_arguments(tmp_path / "run", **OPTIONS)).code == 0
    assert_same_run(whole, tmp_path / "run")


class StoppedEngine(FakeEngine):
    """SIGTERM in the twentieth step of training."""

    training = True

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.training, StoppedEngine.training = StoppedEngine.training, False  # the next one evaluates

    def step(self, actions: NDArray[np.float64]) -> Transitions:
        if self.training and self.steps == 19:
            os.kill(os.getpid(), signal.SIGTERM)
        return super().step(actions)


def test_a_run_that_is_stopped_waits_for_its_checkpoint(
    whole: Path,
    in_background: None,
    fake: Callable,
    cli: Cli,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(StoppedEngine, "training", True)
    fake(StoppedEngine)
    result = cli(*train_arguments(tmp_path / "run", **OPTIONS))
    assert result.code == 128 + signal.SIGTERM, result.err
    assert checkpoints.steps(tmp_path / "run" / "checkpoints")[-1] == 20
    fake(FakeEngine)
    assert cli("train", "--resume", tmp_path / "run").code == 0
    assert_same_run(whole, tmp_path / "run")
