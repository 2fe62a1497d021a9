"""Tasks of one's own choice through every command."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

import mtrl
from envs.benchmarks import TASK_NAMES
from mtrl.sweep.config import SweepConfig
from mtrl.sweep.plan import methods
from tests.mtrl.cli.test_cli import assert_refused
from tests.mtrl.conftest import SMALL_RUN, Result

Cli, Train = Callable[..., Result], Callable[..., Path]
TASKS = ["window-close-v3", "reach-v3", "door-open-v3"]


@pytest.fixture
def run(train: Train) -> Path:
    return train("own", benchmark="window-close,reach-v3,door-open", network="care", network__head_width=None)


def test_it_is_kept_and_goes_on(run: Path, cli: Cli, tmp_path: Path) -> None:
    config = yaml.safe_load((run / "config.yaml").read_text())
    assert config["benchmark"] == "window-close,reach,door-open"
    assert json.loads((run / "stamp.json").read_text())["benchmark"]["tasks"] == TASKS
    assert cli("train", "--resume", run, "--total_steps", 60).code == 0
    result = cli("evaluate", run, "--episodes", 2, "--engine", "reference")
    assert result.code == 0
    assert all(task in result.out for task in TASKS)
    report = cli("report", run, "--output", tmp_path / "report")
    assert report.code == 0
    assert "window-close,reach,door-open" in report.out
    policy = mtrl.load_policy(run)
    assert list(policy.tasks) == TASKS
    arguments = ["--config", run / "config.yaml", "--run_dir", tmp_path / "again"]
    assert cli("train", *arguments).code == 0
    assert (tmp_path / "again" / "checkpoints" / "step_0000000060").is_dir()


def test_a_yaml_list(cli: Cli, fake: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And the directory that it has by default, also of many tasks."""
    monkeypatch.chdir(tmp_path)
    small = {name: value for name, value in SMALL_RUN.items() if "." not in name} | {
        "network": {"class_path": "shared", "init_args": {"width": 8, "depth": 1}},
        "seeds": [0],
        "total_steps": 1,
    }
    for tasks, name in (
        (["reach", "push"], "reach_push"),
        (list(reversed(TASK_NAMES)), "50_tasks"),
    ):
        Path("config.yaml").write_text(yaml.safe_dump(small | {"benchmark": tasks}))
        result = cli("train", "--config", "config.yaml")
        assert result.code == 0, result.err
        assert (tmp_path / "runs" / f"{name}-Shared-AlignedMTL-seed0").is_dir()


def test_a_sweep_over_benchmarks(fake: Callable) -> None:
    small = {name: value for name, value in SMALL_RUN.items() if "." not in name and name != "seeds"}
    axes = {"benchmark": [["reach", "push"], "MT3", "door-open,reach"]}
    found = methods(SweepConfig(base=small, axes=axes, seeds=[0], sweep_dir="unused"))
    assert [method.name for method in found] == ["reach_push", "MT3", "door-open_reach"]
    assert [method.config.benchmark for method in found] == ["reach,push", "MT3", "door-open,reach"]


@pytest.mark.parametrize(
    ("benchmark", "sentence"),
    [
        ("reach,reach", "is there twice"),
        ("reach,dor-open", "did you mean 'door-open-v3'"),
        ("MT9", "did you mean"),
    ],
)
def test_what_it_refuses(benchmark: str, sentence: str, cli: Cli, tmp_path: Path) -> None:
    assert_refused(cli("train", "--benchmark", benchmark, "--run_dir", tmp_path / "run"), sentence)
