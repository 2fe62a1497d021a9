"""Which value wins: the command line over files wherever they stand, a later file over one before."""

import itertools
from pathlib import Path
from typing import Any

import pytest
import yaml

from mtrl.config.loading import train_config, train_parser
from mtrl.config.parsing import parse
from mtrl.config.train import TrainConfig

FIRST = {
    "seeds": [4],
    "batch_size": 32,
    "network": {"class_path": "residual", "init_args": {"width": 64, "depth": 1}},
    "balancer": {"class_path": "AlignedMTL", "init_args": {"scale_mode": "rmse"}},
    "agent": {"gamma": 0.9, "tau": 0.1},
    "evaluation": {"interval": 7},
}
SECOND = {"seeds": [8, 9], "network": "shared", "agent": {"gamma": 0.8}, "balancer": "PCGrad"}

#: Parts of a command line that may stand in any order, and what comes out of it.
CASES: dict[str, tuple[list[list[str]], dict[str, Any]]] = {
    "number": ([["--config", "1"], ["--batch_size", "5"]], {"batch_size": 5, "seeds": [4]}),
    "list of words": ([["--config", "1"], ["--seeds", "7", "6"]], {"seeds": [7, 6]}),
    "list with =": ([["--config=1"], ["--seeds=7"]], {"seeds": [7]}),
    "nested": ([["--config", "1"], ["--agent.gamma", "0.5"]], {"agent.gamma": 0.5, "agent.tau": 0.1}),
    "whole group": ([["--config", "1"], ["--agent", "{gamma: 0.5}"]], {"agent.gamma": 0.5}),
    "group and its option": (
        [["--agent", "{gamma: 0.5, tau: 0.2}"], ["--agent.tau", "0.3"]],
        {"agent.gamma": 0.5, "agent.tau": 0.3},
    ),
    "option of the file's class": (
        [["--config", "1"], ["--network.width", "16"]],
        {"network": "Residual", "network.width": 16, "network.depth": 1},
    ),
    "another class": (
        [["--config", "1"], ["--network", "multi_head"]],
        {"network": "MultiHead", "network.depth": 3},
    ),
    "another class and its option": (
        [["--config", "1"], ["--network", "multi_head"], ["--network.head_width", "9"]],
        {"network": "MultiHead", "network.head_width": 9},
    ),
    "class as YAML": (
        [["--config", "1"], ["--network", "{class_path: shared, init_args: {width: 8}}"]],
        {"network": "Shared", "network.width": 8},
    ),
    "path of a class": (
        [["--config", "1"], ["--network.class_path", "shared"], ["--network.task_id", "true"]],
        {"network": "Shared", "network.task_id": True},
    ),
    "no balancer": ([["--config", "1"], ["--balancer", "null"]], {"balancer": "NoneType"}),
    "another balancer": ([["--config", "1"], ["--balancer", "CAGrad"], ["--balancer.c", "0.3"]], {"balancer.c": 0.3}),
    "option of the file's balancer": (
        [["--config", "1"], ["--balancer.scale_mode", "median"]],
        {"balancer.scale_mode": "median"},
    ),
    "two groups": (
        [["--evaluation.episodes", "3"], ["--config", "1"], ["--checkpoint.replay=false"]],
        {"evaluation.interval": 7, "evaluation.episodes": 3, "checkpoint.replay": False},
    ),
}  # fmt: skip


@pytest.fixture
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name, content in (("1", FIRST), ("2", SECOND)):
        (tmp_path / name).write_text(yaml.safe_dump(content))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def read(config: TrainConfig, name: str) -> Any:
    value: Any = config
    for part in name.split("."):
        value = getattr(value, part)
    return type(value).__name__ if name in ("network", "balancer") else value


def from_arguments(*arguments: str) -> TrainConfig:
    parser = train_parser()
    return train_config(parser, parse(parser, ["--device", "cpu", *arguments]))


@pytest.mark.parametrize("case", CASES)
def test_the_command_line_wins_in_any_order(directory: Path, case: str) -> None:
    parts, expected = CASES[case]
    for order in itertools.permutations(parts):
        config = from_arguments(*(argument for part in order for argument in part))
        assert {name: read(config, name) for name in expected} == expected, order


def test_of_two_files_the_later_one_wins(directory: Path) -> None:
    config = from_arguments("--config", "1", "--config", "2")
    assert config.seeds == [8, 9]
    assert config.batch_size == 32
    assert config.agent.gamma == 0.8
    assert config.agent.tau == 0.1
    assert read(config, "network") == "Shared"
    assert config.network.width == 400
    assert read(config, "balancer") == "PCGrad"
    config = from_arguments("--config", "2", "--seeds", "1", "--config=1")
    assert config.seeds == [1]
    assert config.agent.gamma == 0.9
    assert config.network.width == 64


def test_an_option_without_its_value_takes_no_other(directory: Path) -> None:
    with pytest.raises(ValueError, match="config"):
        from_arguments("--seeds", "7", "--config")
