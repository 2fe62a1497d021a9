"""Files that are read: what cannot be is said in a sentence, whatever the parser makes of it, and nothing waits."""

import os
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from mtrl.system.files import read_mapping, write_text
from tests.mtrl.cli.test_cli import assert_refused
from tests.mtrl.conftest import Result

BAD = {
    "nested too deeply": ("a: " + "[" * 5000, "is not valid YAML: it is nested too deeply"),
    "itself": ("seeds: &a [*a]", "is not valid YAML: it refers to itself"),
    "itself below": ("agent: &a {critic: {x: [1, *a]}}", "it refers to itself"),
    "billions": (
        "a: &a [0, 0, 0, 0, 0, 0, 0, 0, 0, 0]\n"
        + "".join(
            f"{b}: &{b} [{', '.join([f'*{a}'] * 10)}]\n"
            for a, b in zip("abcdefghi", "bcdefghij", strict=True)
        ),
        "more than 100000 values",
    ),
    "a number of 5000 digits": ("seeds: " + "9" * 5000, "a number or a date in it cannot be read"),
    "no date": ("seeds: 2026-99-99", "a number or a date in it cannot be read"),
    "a word for a number": ("seeds: !!int many", "a number or a date in it cannot be read"),
    "a word for a truth": ("seeds: !!bool many", "a number or a date in it cannot be read"),
    "a word for a time": ("seeds: !!timestamp many", "a number or a date in it cannot be read"),
    "code": ("seeds: !!python/object/apply:os.getcwd []", "could not determine a constructor"),
    "no text": (b"seeds: \xff", "is not valid YAML"),
    "a name twice": ("seeds: [1]\nbatch_size: 8\nseeds: [2]\n", "'seeds' is there twice"),
    "a name twice below": ("agent: {tau: 0.1, gamma: 0.5, tau: 0.2}", "'tau' is there twice"),
    "two documents": ("seeds: 1\n---\nseeds: 2\n", "is not valid YAML"),
    "empty": ("", "must be a mapping of names to values, and it is empty"),
    "a line's end": ("\n", "must be a mapping of names to values, and it is empty"),
}


def test_references_are_followed(tmp_path: Path) -> None:
    (tmp_path / "file").write_text(
        "\ufeffa: &a {x: [1, 2]}\r\nb: *a\r\nc: {<<: *a, y: 3}\r\n", encoding="utf-8"
    )
    assert read_mapping("file", tmp_path / "file") == {
        "a": {"x": [1, 2]},
        "b": {"x": [1, 2]},
        "c": {"x": [1, 2], "y": 3},
    }


def test_threads_that_write_one_file(tmp_path: Path) -> None:
    """As several evaluations of one run do."""
    path, texts = tmp_path / "file", [f"{i}" * 10_000 for i in range(40)]
    with ThreadPoolExecutor(4) as threads:
        list(threads.map(write_text, [path] * 40, texts))
    assert path.read_text() in texts
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("command", ["configuration", "sweep", "run", "benchmark"])
@pytest.mark.parametrize("name", BAD)
def test_files_that_cannot_be_read(
    tmp_path: Path, cli: Callable[..., Result], name: str, command: str
) -> None:
    content, words = BAD[name]
    path = tmp_path / "config.yaml"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    arguments = {
        "configuration": ["train", "--config", path],
        "sweep": ["sweep", path, "--dry_run"],
        "run": ["evaluate", tmp_path],
        "benchmark": ["train", "--benchmark", path],
    }[command]
    assert_refused(cli(*arguments), str(path), words)


@pytest.fixture
def in_time() -> Iterator[None]:
    """Fails what waits for a pipe that nobody writes to."""

    def give_up(*_: Any) -> None:
        raise AssertionError("it waits")

    before = signal.signal(signal.SIGALRM, give_up)
    signal.alarm(60)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


READ = {
    "stamp.json": ("evaluate", "resume", "report", "export"),
    "config.yaml": ("evaluate", "resume", "report", "export"),
    "metrics.jsonl": ("resume", "report"),
    "timing.jsonl": ("resume",),
}


@pytest.mark.usefixtures("in_time")
@pytest.mark.parametrize(
    ("file", "command"), [(file, c) for file, commands in READ.items() for c in commands]
)
def test_no_command_waits_for_a_pipe_in_a_run(
    finished: Path, cli: Callable[..., Result], file: str, command: str
) -> None:
    (finished / file).unlink()
    os.mkfifo(finished / file)
    arguments = {"resume": ["train", "--resume", finished, "--total_steps", 50]}
    result = cli(*arguments.get(command, [command, finished]))
    assert_refused(result, str(finished))
    assert "must be a file" in result.err or "no config.yaml" in result.err


@pytest.mark.usefixtures("in_time")
def test_no_command_waits_for_a_pipe_among_evaluations(finished: Path, cli: Callable[..., Result]) -> None:
    path = finished / "evaluation" / "step_0000000040.json"
    path.parent.mkdir()
    os.mkfifo(path)
    assert_refused(cli("report", finished, "--source", "evaluation"), str(path), "must be a file")
    assert_refused(cli("evaluate", finished, "--output", path), str(path), "must be a file")


def test_a_configuration_comes_from_a_pipe(
    tmp_path: Path, cli: Callable[..., Result], capsys: pytest.CaptureFixture[str]
) -> None:
    """Of `--config <(command)`, say."""
    os.mkfifo(tmp_path / "pipe")
    writer = threading.Thread(target=(tmp_path / "pipe").write_text, args=["total_steps: 77\n"], daemon=True)
    writer.start()
    with pytest.raises(SystemExit):
        cli("train", "--config", tmp_path / "pipe", "--print_config")
    assert "total_steps: 77" in capsys.readouterr().out
