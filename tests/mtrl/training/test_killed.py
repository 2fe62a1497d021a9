"""SIGKILL at random moments, other signals at chosen ones: the run that goes on equals one that was not stopped.

The moment of a kill is a call: the n-th that code of a kind makes or takes (collecting, updating, evaluating, writing a
checkpoint or a log), with n drawn from as many as an undisturbed run has.
"""

import ctypes
import itertools
import json
import os
import random
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from envs.worlds import Transitions
from mtrl.storage import checkpoints
from mtrl.system.signals import StopRequest
from tests.mtrl.conftest import OPTIONS, FakeEngine, Result, train_arguments
from tests.mtrl.training.test_resume import assert_same_run

Cli = Callable[..., Result]
ROOT = Path(__file__).parents[3]

#: Which files of the toolkit do what.
KINDS = {
    "conftest.py": "collecting",
    "vector.py": "collecting",
    "replay.py": "updating",
    "sac.py": "updating",
    "adam.py": "updating",
    "episodes.py": "evaluating",
    "checkpoint.py": "checkpoint",
    "checkpoints.py": "checkpoint",
    "files.py": "checkpoint",
    "run.py": "checkpoint",
    "run_directory.py": "checkpoint",
    "logger.py": "logging",
    "tensorboard.py": "logging",
}

CHILD = """
import json, os, signal, sys
import torch
torch.set_num_threads(1)
import pytest
import mtrl.cli.commands
from mtrl.cli import main
from tests.mtrl.training import test_killed
from tests.mtrl.conftest import put_fakes

kind, number, counts_path, engine, *arguments = sys.argv[1:]
counts = dict.fromkeys(test_killed.KINDS.values(), 0)

def count(frame, event, _):
    if event in ("call", "c_call"):
        of = test_killed.KINDS.get(os.path.basename(frame.f_code.co_filename))
        if of is not None:
            counts[of] += 1
            if of == kind and counts[of] == int(number):
                os.kill(os.getpid(), signal.SIGKILL)

put_fakes(pytest.MonkeyPatch())(getattr(test_killed, engine))
if kind:
    sys.setprofile(count)
code = main(arguments)
sys.setprofile(None)
with open(counts_path, "w") as file:
    json.dump(counts, file)
sys.exit(code)
"""


class PlainEngine(FakeEngine):
    """As it is."""


class TwiceSignalled(FakeEngine):
    """Ctrl-C, and again before the step is over."""

    def step(self, actions: NDArray[np.float64]) -> Transitions:
        if self.steps == 20:
            os.kill(os.getpid(), signal.SIGINT)
            os.kill(os.getpid(), signal.SIGINT)
        return super().step(actions)


class HungUp(FakeEngine):
    """Its terminal is closed in a step."""

    def step(self, actions: NDArray[np.float64]) -> Transitions:
        if self.steps == 20:
            os.close(int(os.environ["TERMINAL"]))  # the system sends SIGHUP
        return super().step(actions)


class CrashingEngine(FakeEngine):
    """Its machine code goes wrong in the midst of training."""

    def step(self, actions: NDArray[np.float64]) -> Transitions:
        if self.steps == 20:
            ctypes.CFUNCTYPE(None)(8)()
        return super().step(actions)


def run_child(
    arguments: list[str], counts: Path, kind: str = "", number: int = 0, engine: str = "PlainEngine"
) -> int:
    process = subprocess.run(
        [sys.executable, "-c", CHILD, kind, str(number), str(counts), engine, *arguments],
        check=False,
        cwd=ROOT,
        capture_output=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert b"Traceback" not in process.stderr, process.stderr.decode()
    return process.returncode


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, int]]:
    """The run that nothing stopped, and how many calls of each kind it made."""
    directory = tmp_path_factory.mktemp("whole")
    counts = directory / "counts.json"
    assert run_child(train_arguments(directory / "run", **OPTIONS), counts, "counted") == 0
    return directory / "run", json.loads(counts.read_text())


def go_on(cli: Cli, run: Path) -> None:
    """What a user does after a kill."""
    arguments = ["train", "--resume", run] if run.exists() else train_arguments(run, **OPTIONS)
    result = cli(*arguments)
    assert result.code == 0, result.err


FAST = [("checkpoint", 1), ("logging", 2), ("updating", 3)]
SLOW = [(kind, 10 + i) for kind in dict.fromkeys(KINDS.values()) for i in range(5)]


@pytest.mark.parametrize(
    ("kind", "seed"), [*FAST, *(pytest.param(*point, marks=pytest.mark.slow) for point in SLOW)]
)
def test_killed_at_a_random_moment(
    whole: tuple[Path, dict[str, int]], fake: Callable, cli: Cli, tmp_path: Path, kind: str, seed: int
) -> None:
    expected, counts = whole
    run = tmp_path / "run"
    number = random.Random(seed).randint(1, counts[kind])
    code = run_child(train_arguments(run, **OPTIONS), tmp_path / "counts.json", kind, number)
    assert code == -signal.SIGKILL
    go_on(cli, run)
    assert_same_run(expected, run)
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".run")] == []


def test_a_crash_in_machine_code(
    whole: tuple[Path, dict[str, int]], fake: Callable, cli: Cli, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    arguments = train_arguments(run, **OPTIONS)
    code = run_child(arguments, tmp_path / "counts.json", engine="CrashingEngine")
    assert code == -signal.SIGSEGV
    go_on(cli, run)
    assert_same_run(whole[0], run)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_killed_three_times(
    whole: tuple[Path, dict[str, int]], fake: Callable, cli: Cli, tmp_path: Path, seed: int
) -> None:
    expected, counts = whole
    run, draw = tmp_path / "run", random.Random(seed)
    for _ in range(3):
        kind = draw.choice(list(counts))
        arguments = ["train", "--resume", str(run)] if run.exists() else train_arguments(run, **OPTIONS)
        number = draw.randint(1, counts[kind] // 3)
        assert run_child(arguments, tmp_path / "counts.json", kind, number) in (-signal.SIGKILL, 0)
    go_on(cli, run)
    assert_same_run(expected, run)


# ------------------------------------------------------------------------------------------------ signals


class SignalledEngine(FakeEngine):
    """Sends this process a signal in a step; evaluations have an engine of their own."""

    number, at, engines, instance = signal.SIGTERM, 0, 0, 1

    def __init__(self, *arguments: object) -> None:
        super().__init__(*arguments)
        type(self).engines += 1
        self.sends = self.engines == self.instance

    def step(self, actions: NDArray[np.float64]) -> Transitions:
        if self.sends and self.steps == self.at:
            os.kill(os.getpid(), self.number)
        return super().step(actions)


STOPS = [(signal.SIGINT, (1, 20, 21)), (signal.SIGTERM, (1, 4, 5)), (signal.SIGHUP, (2, 3, 16))]


@pytest.mark.parametrize(
    ("number", "instance", "at", "stopped_at"),
    [
        pytest.param(number, *moment, marks=() if (number, moment) in STOPS else pytest.mark.slow)
        for number, moment in itertools.product(*zip(*STOPS, strict=True))
    ],
)
def test_signals(
    whole: tuple[Path, dict[str, int]],
    fake: Callable,
    cli: Cli,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    number: signal.Signals,
    instance: int,
    at: int,
    stopped_at: int,
) -> None:
    """The step is finished, an evaluation is not; there is a checkpoint, and a sentence that tells how to go on."""
    run = tmp_path / "run"
    for name, value in (("number", number), ("at", at), ("engines", 0), ("instance", instance)):
        monkeypatch.setattr(SignalledEngine, name, value)
    fake(SignalledEngine)
    result = cli(*train_arguments(run, **OPTIONS))
    assert result.code == 128 + number
    assert f"Stopped by {number.name} at step {stopped_at}, with a checkpoint" in result.err
    assert f"mtrl train --resume {run}" in result.err
    assert checkpoints.steps(run / "checkpoints")[-1] == stopped_at
    fake(FakeEngine)
    assert cli("train", "--resume", run).code == 0
    expected, _ = whole
    assert (run / "metrics.jsonl").read_text() == (expected / "metrics.jsonl").read_text()
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_second_signal_exits_at_once(
    whole: tuple[Path, dict[str, int]], fake: Callable, cli: Cli, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    code = run_child(train_arguments(run, **OPTIONS), tmp_path / "counts.json", engine="TwiceSignalled")
    assert code == 128 + signal.SIGINT
    assert checkpoints.steps(run / "checkpoints")[-1] == 8  # it was in the evaluation of step 16
    go_on(cli, run)
    assert_same_run(whole[0], run)


@pytest.mark.parametrize(
    ("sent", "exits"),
    [
        ("HUP HUP", False),
        ("TERM HUP HUP", False),
        ("HUP TERM", False),
        ("TERM INT", True),
        ("HUP INT TERM", True),
    ],
)
def test_hang_ups_come_in_numbers_and_beside_others(
    sent: str, exits: bool, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """A shell passes on what the system has sent already, and systemd sends one after SIGTERM."""
    codes: list[int] = []
    monkeypatch.setattr(os, "_exit", codes.append)
    with StopRequest() as request:
        for name in sent.split():
            os.kill(os.getpid(), signal.Signals[f"SIG{name}"])
        assert request.signal_number == signal.Signals[f"SIG{sent.split()[0]}"]
    assert codes == [128 + signal.Signals[f"SIG{sent.split()[-1]}"]] * exits
    assert capfd.readouterr().err.count("stopping after this step") == 1


@pytest.mark.parametrize("name", ["SIGHUP", "SIGINT", "SIGTERM"])
def test_an_ignored_signal_stays_ignored(name: str) -> None:
    """As nohup wants it, and a shell for what it has put into the background."""
    number = signal.Signals[name]
    before = signal.signal(number, signal.SIG_IGN)
    try:
        with StopRequest() as request:
            os.kill(os.getpid(), number)
        assert request.signal_number is None
        assert signal.getsignal(number) is signal.SIG_IGN
    finally:
        signal.signal(number, before)


def test_the_terminal_is_gone(
    whole: tuple[Path, dict[str, int]], cli: Cli, fake: Callable, tmp_path: Path
) -> None:
    """After a hang-up nothing can be written to it: the checkpoint is written nevertheless."""
    run = tmp_path / "run"
    master, slave = os.openpty()
    arguments = train_arguments(run, **OPTIONS)
    process = subprocess.Popen(
        ["setsid", "--ctty", sys.executable, "-c", CHILD, "", "0", str(tmp_path / "counts"), "HungUp", *arguments],
        stdin=slave, stdout=slave, stderr=slave, cwd=ROOT, pass_fds=[master],
        env={**os.environ, "OMP_NUM_THREADS": "1", "TERMINAL": str(master)},
    )  # fmt: skip
    os.close(slave)
    os.close(master)  # the child has it
    assert process.wait() == 128 + signal.SIGHUP
    assert checkpoints.steps(run / "checkpoints")[-1] == 16  # it was in the evaluation of this step
    go_on(cli, run)
    assert_same_run(whole[0], run)


def test_a_run_is_repeated_by_its_configuration(fake: Callable, cli: Cli, tmp_path: Path) -> None:
    first, again = tmp_path / "first", tmp_path / "again"
    assert cli(*train_arguments(first, **OPTIONS)).code == 0
    assert cli("train", "--config", first / "config.yaml", "--run_dir", again).code == 0
    assert_same_run(first, again)
