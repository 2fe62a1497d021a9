"""Configurations: what is filled in, what is refused, and that what a run keeps repeats it."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

import envs
from agents.networks import MultiHead
from envs.benchmarks import PROTOCOLS
from mtrl.balancers import AlignedMTL
from mtrl.config.loading import configure, load_config
from mtrl.config.resolve import TRAINING_PRESETS
from mtrl.config.train import TrainConfig
from tests.mtrl.conftest import Result, assert_same_state, read_state, train_arguments

CONFIGS = Path(__file__).parents[3] / "configs"


def from_arguments(*arguments: str) -> TrainConfig:
    return configure(["--device", "cpu", *arguments])[0]


def comparable(config: TrainConfig) -> dict[str, Any]:
    values = {f.name: getattr(config, f.name) for f in dataclasses.fields(config)}
    balancer = values.pop("balancer")
    return values | {"balancer": None if balancer is None else (type(balancer), balancer._given_preference)}


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.yaml")), ids=lambda p: p.stem)
def test_every_configuration_file_resolves(path: Path) -> None:
    own = ["--allow_import", "examples.pendulum"] if path.stem == "pendulums" else []
    config = from_arguments("--config", str(path), *own)
    given = yaml.safe_load(path.read_text())
    if own:
        assert config.get_benchmark() == envs.CustomBenchmark.from_mapping(given["benchmark"])
    else:
        assert config.benchmark == given["benchmark"]
    assert config.protocol == given["protocol"]
    assert config.run_dir is not None
    assert config.random_steps is not None


def test_there_are_configuration_files() -> None:
    assert {"quickstart", "mt10", "mt10_paper"} <= {p.stem for p in CONFIGS.glob("*.yaml")}


@pytest.mark.parametrize("protocol", ["metaworld_plus", "paper"])
def test_the_protocols_values_are_filled_in(protocol: str) -> None:
    config = from_arguments("--protocol", protocol)
    rules, preset = PROTOCOLS[protocol], TRAINING_PRESETS[protocol]
    assert config.evaluation.interval == config.checkpoint.interval == rules.evaluation_interval
    assert config.evaluation.episodes == rules.evaluation_episodes
    assert config.random_steps == preset.random_steps
    assert config.agent.max_grad_norm == preset.max_grad_norm
    assert config.num_workers is None  # the cores of whichever machine goes on with the run


def test_given_values_win_over_the_protocols() -> None:
    config = from_arguments(
        "--random_steps", "0", "--evaluation.interval", "7", "--agent.max_grad_norm", "2.5"
    )
    assert config.random_steps == 0
    assert config.evaluation.interval == config.checkpoint.interval == 7
    assert config.agent.max_grad_norm == 2.5


def test_options_win_over_the_file_wherever_they_stand(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text("{seeds: [4], batch_size: 32, network: {class_path: multi_head, init_args: {width: 16}}}")
    config = from_arguments("--config", str(path), "--batch_size", "64", "--network.depth", "2")
    assert config.seeds == [4]
    assert config.batch_size == 64
    assert config.network == MultiHead(width=16, depth=2)


def test_a_nameless_run_is_named_after_what_it_is() -> None:
    config = from_arguments("--benchmark", "MT1:reach", "--seeds", "0,4")
    assert config.run_dir == "runs/MT1_reach-v3-MultiHead-AlignedMTL-seed0_4"


@pytest.mark.parametrize("spelling", [["0,1,4"], ["[0,1,4]"], ["0", "1", "4"], ["0,", "1", ",4"]])
def test_spellings_of_seeds(spelling: list[str]) -> None:
    assert from_arguments("--seeds", *spelling).seeds == [0, 1, 4]
    assert from_arguments(f"--seeds={spelling[0]}").seeds == ([0, 1, 4] if len(spelling) == 1 else [0])


def test_balancers_with_options() -> None:
    config = from_arguments(
        "--benchmark", "MT3", "--balancer", "AlignedMTL", "--balancer.scale_mode", "rmse",
        "--balancer.preference", "[1, 2, 1]",
    )  # fmt: skip
    assert isinstance(config.balancer, AlignedMTL)
    assert config.balancer.scale_mode == "rmse"
    assert config.balancer._given_preference == [1.0, 2.0, 1.0]
    assert from_arguments("--balancer", "null").balancer is None


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["--benchmark", "MT1:reach", "--seeds", "3,1", "--balancer", "null", "--balance", "critic"],
        [
            "--protocol",
            "paper",
            "--network",
            "shared",
            "--network.task_id",
            "true",
            "--checkpoint.replay",
            "false",
        ],
        ["--benchmark", "MT3", "--balancer", "CAGrad", "--balancer.preference", "[0.2, 0.3, 0.5]"],
        ["--agent.learning_rate", "1e-3", "--agent.gamma", "0.95", "--agent.max_grad_norm", "3"],
    ],
)
def test_what_is_dumped_reads_back_as_the_same(tmp_path: Path, arguments: list[str]) -> None:
    config, text = configure(["--device", "cpu", *arguments])
    (tmp_path / "config.yaml").write_text(text)
    assert comparable(load_config(tmp_path)) == comparable(config)
    assert comparable(from_arguments("--config", str(tmp_path / "config.yaml"))) == comparable(config)


def test_what_a_run_keeps_repeats_it(
    train: Callable[..., Path], cli: Callable[..., Result], tmp_path: Path
) -> None:
    first = train("first", balancer__scale_mode="median", seeds="0,2", agent__tau=0.01)
    second = tmp_path / "second"
    assert cli("train", "--config", first / "config.yaml", "--run_dir", second).code == 0
    assert (first / "metrics.jsonl").read_bytes() == (second / "metrics.jsonl").read_bytes()
    assert_same_state(read_state(first), read_state(second))
    one, other = ((run / "config.yaml").read_text().splitlines() for run in (first, second))
    assert [line for line in one if "run_dir" not in line] == [
        line for line in other if "run_dir" not in line
    ]


def test_training_arguments_of_the_tests_are_a_configuration(fake: object, tmp_path: Path) -> None:
    config, _ = configure(train_arguments(tmp_path)[1:])
    assert config.network == MultiHead(width=8, depth=1, head_width=8)
