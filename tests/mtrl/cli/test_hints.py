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


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ("train --resume got got", "mtrl train takes no 'got' here: see `mtrl train --help`."),
        ("train a b", "mtrl train takes no 'a b' here: see `mtrl train --help`."),
        (
            "benchmark learner q[/b]",
            "mtrl benchmark learner takes no 'q[/b]' here: see `mtrl benchmark learner --help`.",
        ),
        ("export run other", "mtrl export takes no 'other' here: see `mtrl export --help`."),
        ("sweep", "mtrl sweep needs file: see `mtrl sweep --help`."),
        ("report", "mtrl report needs runs: see `mtrl report --help`."),
        ("train --resume", "--resume needs a value: see `mtrl train --help`."),
        ("train --seeds", "--seeds needs a value: see `mtrl train --help`."),
        ("train --config", "--config needs a value: see `mtrl train --help`."),
        ("train --batch_size 8 --config", "--config needs a value: see `mtrl train --help`."),
        ("train --config --batch_size 8", "--config needs a value: see `mtrl train --help`."),
        ("benchmark learner --network.width many", "network.width must be an integer, got many."),
        (
            "toy --balancer LS --balancer.class_path os.abort",
            "There is no option or key 'balancer.class_path': did you mean 'balancer'?",
        ),
        ("toy --balancer.c 0.4", "There is no option or key 'balancer.c': did you mean 'balancer'?"),
        ("toy --steps.x 3", "There is no option or key 'steps.x': did you mean 'steps'?"),
    ],
)
def test_arguments_that_a_command_does_not_take(cli: Cli, arguments: str, sentence: str) -> None:
    result = cli(*arguments.split())
    assert (result.code, result.out, result.err) == (2, "", f"mtrl: {sentence}\n")
