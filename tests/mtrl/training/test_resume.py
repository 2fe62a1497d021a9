"""A run that was stopped goes on as if nothing had happened: weights, replay, metrics and curves, bit for bit."""

import errno
import hashlib
import itertools
import shutil
import signal
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file

from envs.benchmarks import PROTOCOLS
from envs.worlds import Transitions
from mtrl.cli import main
from mtrl.config.resolve import TRAINING_PRESETS
from mtrl.evaluation.foreground import Evaluated, ForegroundEvaluator, PolicyState
from mtrl.storage import checkpoint, checkpoints
from mtrl.storage.writer import CheckpointWriter
from mtrl.system.lock import locked
from mtrl.training import run, trainer
from tests.mtrl.conftest import (
    MODERN,
    OPTIONS,
    TINY,
    FakeEngine,
    Result,
    assert_same_state,
    put_fakes,
    read_metrics,
    read_state,
    train_arguments,
)
from tests.mtrl.training.test_trainer import curves

Train = Callable[..., Path]
Cli = Callable[..., Result]


class StoppingEngine(FakeEngine):
    """Stops the run at a step, in the middle of the collection."""

    stop_at = 0

    def step(self, actions: NDArray[np.float64]) -> Transitions:
        if self.steps + 1 == self.stop_at:
            raise KeyboardInterrupt
        return super().step(actions)


@pytest.fixture
def interrupted(
    fake: Callable, cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Path]:
    """Trains a run of that name until Ctrl-C at a step."""

    def run(name: str, stop_at: int, **options: object) -> Path:
        monkeypatch.setattr(StoppingEngine, "stop_at", stop_at)
        fake(StoppingEngine)
        assert cli(*train_arguments(tmp_path / name, **options)).code == 128 + signal.SIGINT
        fake(FakeEngine)
        return tmp_path / name

    return run


@pytest.fixture
def stopped(interrupted: Callable[..., Path], cli: Cli) -> Callable[..., Path]:
    """Trains a run of that name until Ctrl-C at a step, and goes on with it."""

    def run(name: str, stop_at: int, **options: object) -> Path:
        path = interrupted(name, stop_at, **options)
        result = cli("train", "--resume", path)
        assert result.code == 0, result.err
        return path

    return run


def assert_same_run(first: Path, second: Path, num_seeds: int = 2) -> None:
    assert (first / "metrics.jsonl").read_text() == (second / "metrics.jsonl").read_text()
    assert checkpoints.steps(first / "checkpoints") == checkpoints.steps(second / "checkpoints")
    best = [checkpoints.find(run / "checkpoints", "best").name for run in (first, second)]
    assert best[0] == best[1]
    for step in checkpoints.steps(first / "checkpoints"):
        assert_same_state(read_state(first, step), read_state(second, step))
    for name in ("mean", "mean/window-open", *(f"seed_{s}" for s in range(num_seeds))):
        found, again = (curves(run / "tensorboard" / name) for run in (first, second))
        timeless = {tag for tag in found if not tag.startswith("time/")}
        assert timeless == {tag for tag in again if not tag.startswith("time/")}
        assert all(found[tag] == again[tag] for tag in timeless)


@pytest.mark.parametrize("stop_at", [9, pytest.param(17, marks=pytest.mark.slow), 30, 40])
def test_going_on_is_never_having_stopped(whole: Path, stopped: Callable, stop_at: int) -> None:
    """Stopped before the first update, in an episode, after an evaluation, and in the last step."""
    assert_same_run(whole, stopped("stopped", stop_at, **OPTIONS))


@pytest.mark.parametrize(
    "options",
    [
        {"protocol": "normalised"},
        {"worlds_per_task": 2, "updates_per_step": 3, "total_steps": 44},
        {"balancer": "RLW"},
        pytest.param({"precision": "bfloat16"}, marks=pytest.mark.slow),
        MODERN,
        pytest.param(MODERN | {"agent.critic": "hl_gauss", "balancer": "PCGrad"}, marks=pytest.mark.slow),
        pytest.param({"balancer": "FAMO", "balance": "critic"}, marks=pytest.mark.slow),
        pytest.param({"balancer": "NashMTL"}, marks=pytest.mark.slow),
        pytest.param({"balancer": "null"}, marks=pytest.mark.slow),
        {"network": "shared", "network.head_width": None, "buffer_size": 12},
    ],
    ids=lambda o: "-".join(map(str, o.values()))[:60],
)
def test_everything_with_a_state_goes_on(
    train: Train, stopped: Callable, monkeypatch: pytest.MonkeyPatch, options: dict[str, object]
) -> None:
    monkeypatch.setitem(PROTOCOLS, "normalised", replace(TINY, normalize_rewards=True))
    monkeypatch.setitem(TRAINING_PRESETS, "normalised", TRAINING_PRESETS["tiny"])
    options = OPTIONS | options
    step = 22 if options.get("worlds_per_task") == 2 else 30
    whole, again = train("whole", **options), stopped("stopped", step, **options)
    assert_same_run(whole, again)


def test_stopped_twice(whole: Path, fake: Callable, cli: Cli, tmp_path: Path) -> None:
    StoppingEngine.stop_at = 12
    fake(StoppingEngine)
    assert cli(*train_arguments(tmp_path / "again", **OPTIONS)).code == 128 + signal.SIGINT
    StoppingEngine.stop_at = 15  # steps of its own: 8 were made before the checkpoint
    assert cli("train", "--resume", tmp_path / "again").code == 128 + signal.SIGINT
    fake(FakeEngine)
    assert cli("train", "--resume", tmp_path / "again").code == 0
    assert_same_run(whole, tmp_path / "again")


def test_stopped_right_after_a_checkpoint_was_written(
    whole: Path, fake: Callable, cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It knows whether it is the best one, though nothing else was written after it."""
    save = checkpoint.save

    def interrupted(*arguments: object) -> None:
        if save(*arguments).name == "step_0000000016":
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "save", interrupted)
        assert cli(*train_arguments(tmp_path / "stopped", **OPTIONS)).code == 128 + signal.SIGINT
    assert cli("evaluate", tmp_path / "stopped", "--checkpoint", "best", "--engine", "reference").code == 0
    shutil.rmtree(tmp_path / "stopped" / "evaluation")
    assert cli("train", "--resume", tmp_path / "stopped").code == 0
    assert_same_run(whole, tmp_path / "stopped")


@pytest.mark.parametrize("engine", ["reference", "batched"])
def test_meta_world_goes_on(cli: Cli, tmp_path: Path, engine: str) -> None:
    """The real thing, by way of a copy of the run as it was at its first checkpoint."""
    options = {
        "benchmark": "MT1:window-open",
        "protocol": "paper",
        "engine": engine,
        "num_workers": 1,
        "total_steps": 24,
        "checkpoint__interval": 12,
        "evaluation__interval": 12,
        "evaluation__episodes": 1,
    }
    whole, again = tmp_path / "whole", tmp_path / "again"
    assert cli(*train_arguments(whole, **options)).code == 0
    shutil.copytree(whole, again)
    shutil.rmtree(again / "checkpoints" / "step_0000000024")
    shutil.rmtree(again / "tensorboard")
    assert cli("train", "--resume", again).code == 0
    assert (whole / "metrics.jsonl").read_text() == (again / "metrics.jsonl").read_text()
    assert_same_state(read_state(whole, 24), read_state(again, 24))


# ------------------------------------------------------------------------------------------------ what is refused


def fingerprint(directory: Path) -> dict[str, str]:
    """Checksums of all files in a directory."""
    return {
        str(path.relative_to(directory)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(directory.rglob("*"))
        if path.is_file()
    }


def assert_refused(result: Result, *words: str) -> None:
    assert result.code == 2
    assert result.out == ""
    lines = result.err.strip().splitlines()
    assert len(lines) == 1, result.err
    assert lines[0].startswith("mtrl: ")
    for word in words:
        assert word in lines[0]


def test_a_finished_run_is_left_as_it_is(finished: Path, cli: Cli) -> None:
    run = finished
    before = fingerprint(run)
    result = cli("train", "--resume", run)
    assert result.code == 0
    assert "finished" in result.err
    assert fingerprint(run) == before


def test_both_spellings_of_the_option(finished: Path, cli: Cli, tmp_path: Path) -> None:
    run = finished
    assert "finished" in cli("train", f"--resume={run}").err
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--resume"], "resume"),
        (["--resume="], "--resume needs a value"),
        (["--seeds", "0", "--resume", "RUN"], "it takes no --seeds, only --total_steps"),
        (["--resume=RUN", "--seeds=1", "--balancer", "LS"], "it takes no --seeds, --balancer, only"),
        (["--resume", "RUN", "--total_steps", "many"], "total_steps must be an integer, got many"),
        (["--resume", "RUN", "--total_steps", "39"], "must be at least 40, which the run"),
    ],
)
def test_nothing_else_may_be_asked_for(finished: Path, cli: Cli, arguments: list[str], sentence: str) -> None:
    run = finished
    before = fingerprint(run)
    result = cli("train", *(a.replace("RUN", str(run)) for a in arguments))
    assert_refused(result, sentence)
    assert fingerprint(run) == before


# ------------------------------------------------------------------------------------------------------ longer


@pytest.fixture(scope="module", params=["AlignedMTL", "LS", "null"])
def longer(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, dict[str, Any]]:
    """A run of 60 steps with a balancer, and its options."""
    run = tmp_path_factory.mktemp("longer") / "whole"
    options = OPTIONS | {"evaluation__interval": 10, "balancer": request.param, "total_steps": 60}
    with pytest.MonkeyPatch.context() as patch:
        put_fakes(patch)
        assert main(train_arguments(run, **options)) == 0
    return run, options


@pytest.mark.parametrize("end", [20, 29, 36, 37], ids=lambda end: f"after_{end}")
def test_a_finished_run_goes_on_as_if_it_had_had_more_steps(
    longer: tuple[Path, dict[str, Any]], train: Train, cli: Cli, end: int
) -> None:
    """Whether or not an interval of metrics (9), evaluations (10) or checkpoints (8) ended with its last step."""
    whole, options = longer
    run = train("run", **(options | {"total_steps": end}))
    result = cli("train", "--resume", run, "--total_steps", 60)
    assert result.code == 0, result.err
    assert f"Training in {run} from step {end} to 60 of each task, evaluated every 10 steps." in result.err
    assert f"Trained from step {end} to 60 of each task" in result.err
    assert (run / "metrics.jsonl").read_text() == (whole / "metrics.jsonl").read_text()
    assert_same_state(read_state(run, 60), read_state(whole, 60))
    best = [checkpoints.find(r / "checkpoints", "best").name for r in (run, whole)]
    assert best[0] == best[1]
    configurations = [(r / "config.yaml").read_text().replace(str(r), "run") for r in (run, whole)]
    assert configurations[0] == configurations[1]
    if end in (29, 37):  # neither metrics nor an evaluation were due: nothing of the old end is left
        for name in ("mean", "seed_1"):
            found, again = (curves(r / "tensorboard" / name) for r in (whole, run))
            assert {t: v for t, v in found.items() if not t.startswith("time/")} == {
                t: v for t, v in again.items() if not t.startswith("time/")
            }
    assert "finished" in cli("train", "--resume", run).err


def test_a_falling_learning_rate_follows_the_longer_training(train: Train, cli: Cli, tmp_path: Path) -> None:
    """From the step where the run goes on; it is the longer run itself where the rate had not begun to fall."""
    options = OPTIONS | {"agent.learning_rate_decay": "linear", "log_interval": 1}
    whole = train("whole", **(options | {"total_steps": 40}))
    run = train("run", **(options | {"total_steps": 20}))
    result = cli("train", "--resume", run, "--total_steps", 40)
    assert result.code == 0
    assert "this differs from the run that had 40 steps to make from the start" in result.err
    expected, found = (
        {
            line["step"]: line["learning_rate_factor"]
            for line in read_metrics(r)
            if "learning_rate_factor" in line
        }
        for r in (whole, run)
    )
    assert expected.keys() == found.keys()
    assert found[20] == [0.0, 0.0]
    assert {step: value for step, value in expected.items() if step > 20} == {
        step: value for step, value in found.items() if step > 20
    }
    assert expected[20] == [1.0, 1.0]
    np.testing.assert_allclose(expected[30], [0.5, 0.5])


@pytest.mark.parametrize(("was", "now"), [(40, 80), (80, 40)])
def test_a_number_of_steps_that_was_edited_by_hand(
    interrupted: Callable[..., Path], cli: Cli, tmp_path: Path, was: int, now: int
) -> None:
    """The sentence is the one of --total_steps, and it comes once."""
    run = interrupted("run", 30, **OPTIONS, agent__learning_rate_decay="linear", total_steps=was)
    shutil.copytree(run, tmp_path / "by_option")
    edit(run, f"total_steps: {was}", f"total_steps: {now}")
    results = [
        cli("train", "--resume", run),
        cli("train", "--resume", tmp_path / "by_option", "--total_steps", now),
    ]
    assert [result.code for result in results] == [0, 0]
    for result in results:
        assert f"had begun to fall towards step {was}, or would have towards step {now}" in result.err
    shutil.rmtree(run / "checkpoints" / f"step_{now:010d}")
    assert "begun to fall" not in cli("train", "--resume", run).err


def test_a_learning_rate_that_had_not_begun_to_fall(
    train: Train, interrupted: Callable[..., Path], cli: Cli
) -> None:
    options = OPTIONS | {"agent.learning_rate_decay": "linear"}
    whole = train("whole", **(options | {"total_steps": 60}))
    run = interrupted("run", 19, **options)
    result = cli("train", "--resume", run, "--total_steps", 60)
    assert result.code == 0
    assert "differs" not in result.err
    assert_same_run(whole, run)


def test_the_best_of_a_run_is_its_end_until_it_goes_on(
    train: Train, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last evaluation, which no interval asked for, is the best one: that of a run of more steps never was."""
    successes = iter([0.5, 0.25, 0.75, 0.25])
    start = ForegroundEvaluator.start

    def with_success(self: ForegroundEvaluator, policy: PolicyState) -> Future[Evaluated]:
        evaluated = start(self, policy)
        evaluated.result().episodes.success[:] = next(successes)
        return evaluated

    monkeypatch.setattr(ForegroundEvaluator, "start", with_success)
    run = train("run", total_steps=45)
    directory = run / "checkpoints"
    assert checkpoints.find(directory, "best").name == "step_0000000045"
    assert checkpoints.steps(directory) == [20, 40, 45]
    assert cli("train", "--resume", run, "--total_steps", 60).code == 0
    assert checkpoints.find(directory, "best").name == "step_0000000020"
    assert checkpoints.steps(directory) == [20, 45, 60]


def test_shorter_than_configured_but_not_than_made(
    train: Train, interrupted: Callable[..., Path], cli: Cli
) -> None:
    whole = train("whole", **(OPTIONS | {"total_steps": 32}))
    run = interrupted("stopped", 30, **OPTIONS)
    assert cli("train", "--resume", run, "--total_steps", 32).code == 0
    assert_same_run(whole, run)


def test_without_a_checkpoint(finished: Path, cli: Cli) -> None:
    run = finished
    shutil.rmtree(run / "checkpoints")
    assert_refused(cli("train", "--resume", run), "There is no checkpoint in")


def test_no_run_directory(cli: Cli, tmp_path: Path) -> None:
    assert_refused(cli("train", "--resume", tmp_path / "nowhere"), "no run directory")
    assert_refused(cli("train", "--resume", tmp_path), "no run directory")
    assert not (tmp_path / "nowhere").exists()


@pytest.mark.parametrize("name", ["agent.safetensors", "replay.safetensors", "manifest.json"])
def test_no_checkpoint_is_whole(finished: Path, cli: Cli, name: str) -> None:
    run = finished
    for path in (run / "checkpoints").glob(f"*/{name}"):
        path.write_bytes(path.read_bytes()[:-7])
    before = fingerprint(run)
    assert_refused(cli("train", "--resume", run), "damaged", name, "step_0000000040")
    assert fingerprint(run) == before


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-7])


def flip_a_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 4
    path.write_bytes(content)


def tear(path: Path) -> None:
    """The second half never reached the disk."""
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2] + bytes(len(content) - len(content) // 2))


@pytest.mark.parametrize("damage", [truncate, flip_a_bit, tear, Path.unlink])
@pytest.mark.parametrize("name", ["agent.safetensors", "manifest.json"])
def test_the_checkpoint_before_a_damaged_one_is_used(
    finished: Path, cli: Cli, trained_once: Path, name: str, damage: Callable[[Path], None]
) -> None:
    run = finished
    damage(run / "checkpoints" / "step_0000000040" / name)
    earlier = run / "checkpoints" / "damaged_step_0000000040" / "of_another_resume"
    earlier.mkdir(parents=True)
    result = cli("train", "--resume", run)
    assert result.code == 0
    assert name in result.err
    assert "Going on from step_0000000020, the one before." in result.err
    assert_same_state(read_state(run), read_state(trained_once))
    assert (run / "metrics.jsonl").read_text() == (trained_once / "metrics.jsonl").read_text()
    assert earlier.is_dir()
    assert (run / "checkpoints" / "damaged_step_0000000040_2" / "manifest.json").exists() == (
        damage is not Path.unlink or name != "manifest.json"
    )


def test_a_run_of_another_version(finished: Path, cli: Cli) -> None:
    """A checkpoint that lacks something of the state: named, with the version that wrote it."""
    run = finished
    shutil.rmtree(run / "checkpoints" / "step_0000000040")
    path = run / "checkpoints" / "step_0000000020" / "manifest.json"
    manifest = checkpoint.read_manifest(path.parent)
    del manifest["values"]["loop"]["tracker"]
    path.write_text(checkpoint.seal(manifest))
    before = fingerprint(run)
    assert_refused(cli("train", "--resume", run), "'tracker'", "another version of the toolkit", "commit")
    assert fingerprint(run) == before


def test_two_trainings_in_one_directory(finished: Path, cli: Cli) -> None:
    run = finished
    shutil.rmtree(run / "checkpoints" / "step_0000000040")
    before = fingerprint(run)
    with locked(run):
        assert_refused(cli("train", "--resume", run), "Another process is training in", str(run))
    assert fingerprint(run) == before
    assert cli("train", "--resume", run).code == 0


@pytest.mark.parametrize(("failing", "background"), [(12, False), (7, True), (12, True), (15, True)])
def test_a_full_disk(
    whole: Path,
    fake: Callable,
    cli: Cli,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    failing: int,
    background: bool,
) -> None:
    """Whatever is written when it fills up: the run stops with a sentence, and goes on as if it had not."""
    monkeypatch.setattr(
        trainer, "CheckpointWriter", lambda path, **_: CheckpointWriter(path, background=background)
    )
    run = tmp_path / "run"
    calls = itertools.count(1)

    def full(*arguments: object) -> None:
        if next(calls) == failing:  # in the middle of a checkpoint
            raise OSError(errno.ENOSPC, "No space left on device")
        save_file(*arguments)

    save_file = checkpoint.save_file
    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "save_file", full)
        result = cli(*train_arguments(run, **OPTIONS))
    assert result.code == 1
    assert "No space left on device" in result.err
    assert f"mtrl train --resume {run}" in result.err
    assert cli("train", "--resume", run).code == 0
    assert_same_run(whole, run)


def test_a_clock_that_was_set_back(
    whole: Path, fake: Callable, cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The event files of the resumed run are read after those from the future."""
    now = time.time
    monkeypatch.setattr(time, "time", lambda: now() + 86_400)
    monkeypatch.setattr(StoppingEngine, "stop_at", 30)
    fake(StoppingEngine)
    assert cli(*train_arguments(tmp_path / "run", **OPTIONS)).code == 128 + signal.SIGINT
    monkeypatch.setattr(time, "time", now)
    fake(FakeEngine)
    assert cli("train", "--resume", tmp_path / "run").code == 0
    assert_same_run(whole, tmp_path / "run")


def test_a_run_directory_that_cannot_be_made(
    fake: object, cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def read_only(*_: object, **__: object) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(run, "write_text", read_only)
    result = cli(*train_arguments(tmp_path / "run"))
    assert_refused(result, "cannot be made (Read-only file system)", "choose another --run_dir")
    assert list(tmp_path.iterdir()) == []


def test_a_checkpoint_without_its_replay(train: Train, cli: Cli) -> None:
    run = train("run", checkpoint__replay="false", total_steps=40)
    assert not (run / "checkpoints" / "step_0000000040" / "replay.safetensors").exists()
    shutil.rmtree(run / "checkpoints" / "step_0000000040")
    result = cli("train", "--resume", run)
    assert result.code == 0
    assert "was written without its replay: the policy first collects" in result.err
    assert read_metrics(run)[-1]["step"] == 40


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("frozen.json", "must be a file"),
        ("failure.json", "must be a file"),
        ("tensorboard", "must be a directory"),
        ("tensorboard/seed_0", "must be a directory"),
    ],
)
def test_something_else_where_training_writes(finished: Path, cli: Cli, name: str, expected: str) -> None:
    path = finished / name
    if path.is_dir():
        shutil.rmtree(path)
        path.write_text("")
    else:
        path.mkdir()
        (path / "kept").write_text("")
    before = fingerprint(finished)
    assert_refused(cli("train", "--resume", finished, "--total_steps", 60), f"{path} {expected}")
    assert fingerprint(finished) == before


@pytest.mark.parametrize("name", ["checkpoints", "tensorboard", "tensorboard/seed_0"])
def test_a_link_into_another_run(finished: Path, cli: Cli, tmp_path: Path, name: str) -> None:
    """The other run's checkpoints would be pruned; what is elsewhere, and in no run, is the run's own."""
    other = shutil.copytree(finished, tmp_path / "other")
    shutil.rmtree(finished / name)
    (finished / name).symlink_to(other / name)
    before = fingerprint(other)
    assert_refused(cli("train", "--resume", finished, "--total_steps", 80), f"{finished / name} is a link")
    assert fingerprint(other) == before
    shutil.move(other / name, tmp_path / "elsewhere")
    (finished / name).unlink()
    (finished / name).symlink_to(tmp_path / "elsewhere")
    assert cli("train", "--resume", finished, "--total_steps", 80).code == 0


def test_an_evaluation_of_other_tasks(finished: Path, cli: Cli) -> None:
    path = finished / "metrics.jsonl"
    path.write_text(path.read_text().replace('"window-open-v3"', '"window-opem-v3"'))
    before = fingerprint(finished)
    assert_refused(cli("train", "--resume", finished), f"{path} holds no evaluation", "window-opem-v3")
    assert fingerprint(finished) == before


@pytest.mark.parametrize("content", ["", "[1, 2]", "a: [", "colour: red", "seeds: [-1]", "\0"])
def test_a_damaged_configuration(finished: Path, cli: Cli, content: str) -> None:
    run = finished
    (run / "config.yaml").write_text(content)
    result = cli("train", "--resume", run)
    assert_refused(result)


def test_metrics_up_to_the_checkpoint_are_kept_as_they_are(
    train: Train, fake: Callable, cli: Cli, tmp_path: Path
) -> None:
    StoppingEngine.stop_at = 30
    fake(StoppingEngine)
    run = tmp_path / "run"
    assert cli(*train_arguments(run, **OPTIONS)).code == 128 + signal.SIGINT
    before = read_metrics(run)
    assert before[-1]["step"] == 27
    fake(FakeEngine)
    assert cli("train", "--resume", run).code == 0
    kept = [line for line in before if line["step"] <= 24]
    assert read_metrics(run)[: len(kept)] == kept


REFUSED: dict[str, tuple[list[object], Callable[[Path], object]]] = {
    "a number of steps that is too large": (["--total_steps", 2**70], lambda run: None),
    "another experiment": (["--total_steps", 60], lambda run: edit(run, "gamma: 0.99", "gamma: 0.98")),
    "no line for the steps": (["--total_steps", 60], lambda run: edit(run, "total_steps:", '"total_steps":')),
    "no place for a log": (["--total_steps", 60], lambda run: (run / "frozen.json").mkdir()),
    "a damaged log": (["--total_steps", 60], lambda run: (run / "timing.jsonl").write_text("x\n")),
}


def edit(run: Path, old: str, new: str) -> None:
    path = run / "config.yaml"
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))


@pytest.mark.parametrize("case", REFUSED)
def test_nothing_is_said_of_going_on_where_a_run_does_not(train: Train, cli: Cli, case: str) -> None:
    """Not that the learning rate had begun to fall, nor that a checkpoint is damaged: one sentence says why."""
    run = train("run", agent__learning_rate_decay="linear", total_steps=40)
    truncate(run / "checkpoints" / "step_0000000040" / "agent.safetensors")
    arguments, change = REFUSED[case]
    change(run)
    before = fingerprint(run)
    assert_refused(cli("train", "--resume", run, *arguments))
    assert fingerprint(run) == before


# ------------------------------------------------------------------------------------------------ another device


def as_of_a_gpu(run: Path) -> None:
    """The run as a GPU would have left it: its generators have the states of `mtrl.device.philox`."""
    config = run / "config.yaml"
    config.write_text(config.read_text().replace("device: cpu", "device: cuda"))
    path = checkpoints.find(run / "checkpoints", "last")
    manifest = checkpoint.read_manifest(path)
    manifest["values"]["loop"]["device"] = "cuda"
    for file in path.glob("*.safetensors"):
        tensors = load_file(file)
        for name, tensor in tensors.items():
            if tensor.dtype == torch.uint8:
                tensors[name] = torch.tensor([len(name), 40, 0])
        save_file(tensors, file)
        manifest["files"][file.name] = checkpoint._checksum(file)
    (path / "manifest.json").write_text(checkpoint.seal(manifest))


def test_a_run_of_a_gpu_goes_on_on_a_cpu(finished: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    """The advice that is given works, and what it costs is said."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    as_of_a_gpu(finished)
    assert_refused(cli("train", "--resume", finished, "--total_steps", 60), "use --device cpu")
    result = cli("train", "--resume", finished, "--total_steps", 60, "--device", "cpu")
    assert result.code == 0, result.err
    assert "was trained on cuda and goes on on cpu" in result.err
    assert checkpoints.steps(finished / "checkpoints")[-1] == 60
    assert [line["step"] for line in read_metrics(finished)][-1] == 60
    assert cli("evaluate", finished, "--episodes", 1, "--engine", "reference").code == 0
    assert "device: cuda" in (finished / "config.yaml").read_text()


@pytest.mark.parametrize("device", ["gpu", "cuda:0", "", "null", "cuda"])
def test_devices_that_are_not_there(
    finished: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch, device: str
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    as_of_a_gpu(finished)
    before = fingerprint(finished)
    words = "cpu" if device else "--device needs a value"
    assert_refused(cli("train", "--resume", finished, f"--device={device}"), words)
    assert fingerprint(finished) == before


@pytest.mark.parametrize(
    ("rule", "steps"), [("all", [0, 8, 16, 24, 32, 40]), ("3", [24, 32, 40]), ("every:20", [20, 32, 40])]
)
def test_kept_checkpoints(train: Train, cli: Cli, rule: str, steps: list[int]) -> None:
    run = train("run", checkpoint__interval=8, checkpoint__keep=rule)
    best = checkpoints.find(run / "checkpoints", "best")
    assert {path.name for path in (run / "checkpoints").iterdir()} == {
        best.name,
        *(f"step_{step:010d}" for step in steps),
    }
    assert cli("evaluate", run, "--engine", "reference", "--episodes", 1, "--checkpoint", steps[0]).code == 0


@pytest.mark.parametrize(
    "rule", ["1", "0", "-3", "every:0", "every:", "every:x", "some", "2.5", "null", "true", ""]
)
def test_bad_rules_of_what_is_kept(fake: object, cli: Cli, tmp_path: Path, rule: str) -> None:
    result = cli(*train_arguments(tmp_path / "run", checkpoint__keep=rule))
    assert_refused(result, "checkpoint.keep must" if rule else "--checkpoint.keep needs a value")
    assert list(tmp_path.iterdir()) == []
