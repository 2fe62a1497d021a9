"""Mappings in YAML: what cannot be read is said in a sentence, whatever the parser makes of it."""

from collections.abc import Callable
from pathlib import Path

import pytest

from mtrl.system.files import read_mapping
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
