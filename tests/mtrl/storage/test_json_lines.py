"""Logs that lost lines, or hold something else: said, marked, and never a traceback."""

import json
import re
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

from mtrl.storage import checkpoint
from mtrl.storage.json_lines import describe_steps
from tests.mtrl.cli.test_cli import assert_refused
from tests.mtrl.conftest import Result, read_metrics

Cli = Callable[..., Result]
Train = Callable[..., Path]


@pytest.fixture
def stopped(finished: Path) -> Path:
    """A run that goes on from step 20; its evaluation is made."""
    shutil.rmtree(finished / "checkpoints" / "step_0000000040")
    return finished


def keep(path: Path, kept: Iterable[int]) -> None:
    """Cuts a log down to its first line, which says whose it is, and these of the others."""
    first, *lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join([first, *(lines[i] for i in kept)]))


def test_lines_of_a_whole_run(finished: Path, cli: Cli) -> None:
    steps = [(line["step"], "evaluation/success" in line) for line in read_metrics(finished)]
    assert steps == [(10, False), (20, False), (20, True), (30, False), (40, False), (40, True)]
    result = cli("report", finished)
    assert result.code == 0
    assert "missing" not in result.out + result.err


@pytest.mark.parametrize("name", ["metrics.jsonl", "timing.jsonl", "config.yaml", "stamp.json"])
def test_a_file_that_the_system_cannot_read_is_named(stopped: Path, cli: Cli, name: str) -> None:
    (stopped / name).unlink()
    (stopped / name).symlink_to("/proc/self/mem")  # reading its beginning is an error, for root too
    refused = cli("train", "--resume", stopped)
    assert_refused(refused, f"{stopped / name} cannot be read: Input/output error")
    result = cli("report", stopped)
    assert f"{stopped / name} cannot be read: Input/output error" in result.err
    assert "Errno" not in result.err
    assert result.code == (0 if name == "timing.jsonl" else 2)


@pytest.mark.parametrize(
    ("kept", "training", "evaluation"),
    [
        ([], [10, 20, 30, 40], [20]),
        ([0], [20, 30, 40], [20]),
        ([0, 1], [30, 40], [20]),
        ([0, 1, 3, 4, 5], [], [20]),
        ([0, 1, 2, 3, 4], [], []),
        ([0, 1, 2, 3, 4, 5], [], []),
    ],
)
def test_a_resume_says_and_marks_what_is_missing(
    train: Train, cli: Cli, kept: list[int], training: list[int], evaluation: list[int]
) -> None:
    """What it can make again it makes again: the evaluation of the policy that it goes on from, at step 40."""
    run = train("run", total_steps=60)
    whole = read_metrics(run)
    for step in (20, 60):
        shutil.rmtree(run / "checkpoints" / f"step_{step:010d}", ignore_errors=True)
    keep(run / "metrics.jsonl", kept)
    result = cli("train", "--resume", run)
    assert result.code == 0, result.err
    marks = [line["missing"] for line in read_metrics(run) if "missing" in line]
    if training or evaluation:
        assert "metrics.jsonl has lost the lines of steps" in result.err
        assert marks == [{"training": training, "evaluation": evaluation}]
    else:
        assert "lost" not in result.err
        assert marks == []
    rest = [line for line in read_metrics(run) if "missing" not in line]
    assert rest == [whole[i] for i in kept if i < 5] + whole[5:]

    report = cli("report", run)
    assert report.code == 0, report.err
    said = "[1 of 3 evaluations missing]" in report.out
    assert said == bool(evaluation)
    assert ("the evaluations of steps 20 are missing" in report.err) == bool(evaluation)


def test_a_mark_is_made_once(stopped: Path, cli: Cli) -> None:
    (stopped / "metrics.jsonl").unlink()
    shutil.copytree(stopped / "checkpoints" / "step_0000000020", stopped.parent / "kept")
    assert cli("train", "--resume", stopped).code == 0
    shutil.rmtree(stopped / "checkpoints" / "step_0000000040")
    result = cli("train", "--resume", stopped)
    assert result.code == 0
    assert "lost" not in result.err
    assert sum("missing" in line for line in read_metrics(stopped)) == 1


def trained_steps(run: Path) -> list[int]:
    return [
        line["step"]
        for line in read_metrics(run)
        if line.keys().isdisjoint({"evaluation/success", "missing"})
    ]


@pytest.mark.parametrize("interval", [3, 7, 30, 40, 100])
def test_another_interval_of_the_log_loses_no_line(
    train: Train, cli: Cli, tmp_path: Path, interval: int
) -> None:
    """Changed and changed back, with runs that end where one of them logs and the other does not."""
    run = train("run", total_steps=40, log_interval=20)
    for total, changed in ((60, interval), (85, 20), (100, interval)):
        config = run / "config.yaml"
        config.write_text(re.sub("log_interval: .*", f"log_interval: {changed}", config.read_text()))
        before = trained_steps(run)
        result = cli("train", "--resume", run, "--total_steps", total)
        assert result.code == 0, result.err
        assert "lost" not in result.err
        new = {*range(before[-1] + 1, total + 1)} & {*range(0, total, changed), total}
        assert {step for step in trained_steps(run) if step > before[-1]} == new
    assert not any("missing" in line for line in read_metrics(run))
    report = cli("report", run)
    assert "missing" not in report.out + report.err


def test_lines_lost_before_the_interval_was_changed_are_found(train: Train, cli: Cli) -> None:
    run = train("run", total_steps=40, log_interval=20)
    for total, interval in ((60, 7), (80, 10)):
        config = run / "config.yaml"
        config.write_text(re.sub("log_interval: .*", f"log_interval: {interval}", config.read_text()))
        assert cli("train", "--resume", run, "--total_steps", total).code == 0
    (run / "metrics.jsonl").unlink()
    result = cli("train", "--resume", run, "--total_steps", 90)
    assert result.code == 0, result.err
    (mark,) = (line["missing"] for line in read_metrics(run) if "missing" in line)
    assert mark["training"] == [20, 40, 42, 49, 56, 70, 80]


def test_checkpoints_of_an_older_version_do_not_say_how_often_it_logged(stopped: Path, cli: Cli) -> None:
    path = stopped / "checkpoints" / "step_0000000020"
    manifest = checkpoint.read_manifest(path)
    del manifest["values"]["loop"]["log_intervals"]
    (path / "manifest.json").write_text(checkpoint.seal(manifest))
    config = stopped / "config.yaml"
    config.write_text(config.read_text().replace("log_interval: 10", "log_interval: 4"))
    result = cli("train", "--resume", stopped)
    assert result.code == 0, result.err
    assert "lost" not in result.err
    assert trained_steps(stopped) == [10, 20, 24, 28, 32, 36, 40]


# ------------------------------------------------------------------------------------------------ undue evaluations


def add_evaluation(run: Path, step: int, rate: float = 1.0) -> None:
    """A line of an evaluation, as good as it can be, in its place."""
    lines = [json.loads(text) for text in (run / "metrics.jsonl").read_text().splitlines()]
    line = next(line for line in lines if "evaluation/success" in line)
    best = {task: [rate for _ in of_seeds] for task, of_seeds in line["evaluation/success"].items()}
    lines.append({**line, "step": step, "evaluation/success": best})
    lines.sort(key=lambda line: line["step"])
    (run / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


@pytest.mark.parametrize("step", [0, 1, 8, 19, 39, 41, 60, 99_999, 2**62])
def test_an_evaluation_where_none_is_due(train: Train, cli: Cli, step: int) -> None:
    """Beyond the end of the run, or between its evaluations; also where there is a checkpoint."""
    run = train("run", checkpoint__interval=8, checkpoint__keep="all")
    add_evaluation(run, step)
    before = (run / "metrics.jsonl").read_bytes()
    words = (
        f"{run / 'metrics.jsonl'} holds an evaluation of step {step}",
        "restore what was changed, or delete the line",
    )
    assert_refused(cli("report", run), *words)
    assert_refused(cli("report", run, "--statistic", "paper_max"), *words)
    for command in ("evaluate", "export"):
        assert_refused(cli(command, run, "--checkpoint", "best"), *words)
    assert_refused(cli("train", "--resume", run, "--total_steps", 60), *words)
    assert (run / "metrics.jsonl").read_bytes() == before


def test_a_run_that_is_said_to_be_shorter(finished: Path, cli: Cli) -> None:
    config = finished / "config.yaml"
    config.write_text(config.read_text().replace("total_steps: 40", "total_steps: 30"))
    assert_refused(cli("report", finished), "ends at step 30", "step_0000000040")
    shutil.rmtree(finished / "checkpoints")
    assert_refused(cli("report", finished), "an evaluation of step 40")


def test_the_end_of_a_run_is_evaluated_in_any_case(train: Train, cli: Cli) -> None:
    """Also where a run that goes on to more steps was stopped before it dropped that line."""
    run = train("run", total_steps=35, worlds_per_task=2)
    assert [line["step"] for line in read_metrics(run) if "evaluation/success" in line] == [20, 36]
    assert cli("report", run).code == 0
    config = run / "config.yaml"
    config.write_text(config.read_text().replace("total_steps: 35", "total_steps: 60"))
    assert cli("train", "--resume", run).code == 0
    assert [line["step"] for line in read_metrics(run) if "evaluation/success" in line] == [20, 40, 60]
    assert cli("report", run).code == 0


# ------------------------------------------------------------------------------------------------ times


@pytest.mark.parametrize(
    ("kept", "count", "steps"),
    [([0, 3], 2, "20, 30"), ([0, 1, 2], 1, "40"), ([2, 3], 2, "10, 20"), ([], 4, "10, 20, 30, 40")],
)
def test_times_that_are_missing(
    finished: Path, cli: Cli, tmp_path: Path, kept: list[int], count: int, steps: str
) -> None:
    keep(finished / "timing.jsonl", kept)
    result = cli("report", finished, "--output", tmp_path / "report")
    assert result.code == 0
    assert f"the times of steps {steps} are missing in timing.jsonl" in result.err
    assert f"[{count} of 4 times missing]" in result.out
    assert f"[{count} of 4 times missing]" in (tmp_path / "report" / "methods.csv").read_text()


def test_times_of_lines_that_the_metrics_lost_too(finished: Path, cli: Cli) -> None:
    for name in ("metrics.jsonl", "timing.jsonl"):
        path = finished / name
        lines = path.read_text().splitlines(keepends=True)
        path.write_text("".join(line for line in lines if '"step": 30' not in line))
    assert cli("train", "--resume", finished, "--total_steps", 60).code == 0
    result = cli("report", finished)
    assert "[1 of 6 times missing]" in result.out


def test_a_report_counts_what_the_checkpoints_know_of(finished: Path, cli: Cli) -> None:
    keep(finished / "metrics.jsonl", range(3))
    result = cli("report", finished)
    assert result.code == 0
    assert "[1 of 2 evaluations missing]" in result.out
    assert "the evaluations of steps 40 are missing" in result.err


def test_a_step_far_beyond_the_last_one(finished: Path, cli: Cli) -> None:
    """What is missing is reckoned up to the steps that the run has to make."""
    with (finished / "metrics.jsonl").open("a") as file:
        file.write(f'{{"step": {2**62}}}\n')
    (finished / "checkpoints" / "step_9999999999").mkdir()
    result = cli("report", finished)
    assert result.code == 0, result.err
    assert "missing" not in result.out + result.err


BAD = {
    "no step": b'{"loss": 1}',
    "a step that is no number": b'{"step": "20"}',
    "a step that is true": b'{"step": true}',
    "a negative step": b'{"step": -1}',
    "half a line": b'{"step": 2',
    "a list": b"[1, 2]",
    "binary": bytes(range(14, 60)),
    "no text": b"\xff\xfe",
    "empty": b"",
    "deep": b"[" * 200_000,
    "a long number": b'{"step": ' + b"1" * 5000 + b"}",
    "steering": b"\x1b[31m",
    "a step beyond any number": b'{"step": 1' + b"0" * 30 + b"}",
    "a mark that is a number": b'{"step": 10, "missing": 3}',
    "a mark of numbers": b'{"step": 10, "missing": {"training": 5}}',
    "a mark of something else": b'{"step": 10, "missing": {"thinking": [10]}}',
    "a mark in a line of an evaluation": (
        b'{"step": 20, "missing": {}, "evaluation/success": [[1.0, 1.0, 1.0]]}'
    ),
    "a mark of words": b'{"step": 10, "missing": {"training": ["ten"]}}',
}


@pytest.mark.parametrize("log", ["metrics.jsonl", "timing.jsonl"])
@pytest.mark.parametrize("name", BAD)
def test_a_damaged_line(stopped: Path, cli: Cli, name: str, log: str) -> None:
    path = stopped / log
    first, *rest = path.read_bytes().splitlines(keepends=True)
    damaged = first + BAD[name] + b"\n" + b"".join(rest)
    path.write_bytes(damaged)
    other = (stopped / "metrics.jsonl").read_bytes()
    result = cli("train", "--resume", stopped)
    assert_refused(result, f"{path}, line 2, must be a JSON object with a step", "delete the line")
    for words in ("Expecting", "decode", "recursion", "\x1b", "codec"):
        assert words not in result.err
    assert path.read_bytes() == damaged
    assert (stopped / "metrics.jsonl").read_bytes() == other
    report = cli("report", stopped)
    assert report.code == (2 if log == "metrics.jsonl" else 0)
    assert f"{path}, line 2" in report.err


@pytest.mark.parametrize("log", ["metrics.jsonl", "timing.jsonl"])
def test_lines_in_another_order(stopped: Path, cli: Cli, log: str) -> None:
    path = stopped / log
    first, *rest = path.read_bytes().splitlines(keepends=True)
    moved = b"".join(rest) + first
    path.write_bytes(moved)
    assert_refused(cli("train", "--resume", stopped), f"{path}, line {len(rest) + 1}", "do not increase")
    assert path.read_bytes() == moved


def test_a_link_to_nowhere(stopped: Path, cli: Cli) -> None:
    """As where a disk is not mounted: the link stays."""
    (stopped / "metrics.jsonl").unlink()
    (stopped / "metrics.jsonl").symlink_to("/nowhere/metrics.jsonl")
    assert_refused(cli("train", "--resume", stopped), "metrics.jsonl must be a file")
    assert (stopped / "metrics.jsonl").is_symlink()


def test_no_file(stopped: Path, cli: Cli) -> None:
    (stopped / "metrics.jsonl").unlink()
    (stopped / "metrics.jsonl").mkdir()
    assert_refused(cli("train", "--resume", stopped), "metrics.jsonl must be a file")


def test_steps_in_words() -> None:
    assert describe_steps([10, 20]) == "10, 20"
    assert describe_steps(range(10, 60, 10)) == "10 to 50 (5 of them)"


@pytest.mark.parametrize("step", [41, 999, 2**62])
def test_times_beyond_the_end_do_not_count(finished: Path, cli: Cli, step: int) -> None:
    with (finished / "timing.jsonl").open("a") as file:
        file.write(json.dumps({"step": step, "seconds": 9.0, "steps_per_second": 1e-3}) + "\n")
    result = cli("report", finished)
    assert result.code == 0
    assert f"There are no times of {finished}: timing.jsonl goes to step" in result.err
