"""The commands as functions of `mtrl`."""

import importlib.metadata
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import mtrl
from tests.mtrl.conftest import SMALL_RUN, Result, assert_same_state, read_state

Cli, Train = Callable[..., Result], Callable[..., Path]


def test_the_names_are_documented_and_there() -> None:
    for name in mtrl.__all__:
        assert name in dir(mtrl)
        assert getattr(mtrl, name).__doc__ or name == "__version__"
    assert mtrl.__version__ == importlib.metadata.version("mtrl-toolkit")
    with pytest.raises(AttributeError, match="has no attribute 'trian'"):
        _ = mtrl.trian


def test_version_and_module(cli: Cli) -> None:
    assert cli("--version").out == f"mtrl {mtrl.__version__}\n"
    result = subprocess.run([sys.executable, "-m", "mtrl", "--version"], capture_output=True, text=True)
    assert (result.returncode, result.stdout) == (0, f"mtrl {mtrl.__version__}\n")


def test_train_is_the_command(train: Train, tmp_path: Path, fake: Any) -> None:
    """From a file, from a mapping, and with options that override both: the same run."""
    expected = read_state(train("command", seeds="0,1"))
    options = {**SMALL_RUN, "seeds": [0, 1]}
    first = mtrl.train(options, run_dir=tmp_path / "mapping")
    assert first == tmp_path / "mapping"
    assert_same_state(read_state(first), expected)
    file = tmp_path / "mapping" / "config.yaml"
    second = mtrl.train(file, total_steps=40, balancer="AlignedMTL", run_dir=tmp_path / "file")
    assert_same_state(read_state(second), expected)
    third = mtrl.train(
        {
            "network": {"class_path": "shared", "init_args": {"width": 8}},
            "evaluation": {"episodes": 1},
        },
        **{k: v for k, v in options.items() if not k.startswith("network")},
        run_dir=str(tmp_path / "nested"),
    )
    assert "Shared" in (third / "config.yaml").read_text()
    assert "episodes: 1" in (third / "config.yaml").read_text()


def test_resume_evaluate_and_report(
    finished: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert mtrl.resume(finished) == finished
    evaluation = mtrl.evaluate(finished, episodes=3, engine="reference", output=str(tmp_path / "e.json"))
    assert evaluation.success().shape == (1, 3)
    assert evaluation.tasks[0] == "drawer-close-v3"
    assert (tmp_path / "e.json").is_file()
    sampled = mtrl.evaluate(str(finished), episodes=3, engine="reference", sampled=True)
    assert (sampled.episodes.returns != evaluation.episodes.returns).any()
    tables = mtrl.report(finished, output=str(tmp_path / "report"))
    assert (tmp_path / "report" / "report.md").is_file()
    assert np.isfinite(tables[0].records()[0]["mean ± SEM"])
    assert [t.name for t in mtrl.report([finished])] == [t.name for t in tables]
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (
            lambda run: mtrl.train({"benchmrk": "MT3"}),
            "no option or key 'benchmrk': did you mean 'benchmark'",
        ),
        (lambda run: mtrl.train(total_steps="many"), "total_steps must be an integer, got many"),
        (lambda run: mtrl.train("nowhere.yaml"), "nowhere.yaml cannot be read"),
        (lambda run: mtrl.train(SMALL_RUN, run_dir=run), "exists already and is never overwritten"),
        (lambda run: mtrl.resume(run / "nowhere"), "no run directory"),
        (lambda run: mtrl.evaluate(run, checkpoint="7"), "no checkpoint '7'"),
        (lambda run: mtrl.evaluate(run, episodes=0), "must be positive"),
        (lambda run: mtrl.report(run / "nowhere"), "nowhere"),
    ],
)
def test_bad_input_is_the_commands_sentence(finished: Path, call: Any, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        call(finished)
