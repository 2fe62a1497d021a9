"""Commands that a sentence advises can be copied into a shell, whatever a run is called."""

import re
import shlex
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.mtrl.conftest import Result, train_arguments

Cli = Callable[..., Result]


@pytest.mark.parametrize(
    "name",
    [
        "it's",
        "$HOME",
        *(pytest.param(name, marks=pytest.mark.slow) for name in ("sp ace", "a;b", "*", "plain")),
    ],
)
def test_advised_commands_run(name: str, fake: object, cli: Cli, tmp_path: Path) -> None:
    run = tmp_path / name

    def advised(result: Result, *words: str) -> None:
        (command,) = re.findall(r"`(mtrl .*?)`", result.err)
        assert shlex.split(command) == ["mtrl", *words, str(run)]

    trained = cli(*train_arguments(run))
    assert trained.code == 0
    advised(trained, "evaluate")
    advised(cli(*train_arguments(run)), "train", "--resume")
    advised(cli("train", "--resume", run), "evaluate")
    advised(cli("report", run, "--source", "evaluation"), "evaluate")
    evaluated = cli("evaluate", run, "--episodes", 1)
    assert evaluated.code == 0, evaluated.err
