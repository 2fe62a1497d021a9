"""Whole numbers and `none` as people write them, on the command line and in files, and what stays as it is."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from mtrl.balancers import CAGrad
from mtrl.config.loading import configure
from mtrl.config.spelling import whole_number
from mtrl.config.train import TrainConfig
from tests.mtrl.conftest import Result, train_arguments

Cli = Callable[..., Result]


def configured(*arguments: str) -> TrainConfig:
    return configure(["--device", "cpu", *arguments])[0]


NUMBERS = [
    ("100000", 100_000),
    ("1e5", 100_000),
    ("1E+5", 100_000),
    ("300_000", 300_000),
    ("2.5e3", 2_500),
    ("1_0e1", 100),
    ("0100", 100),
    ("0080", 80),
]
NO_NUMBERS = ["1:20", "1e-5", "1.25e1", "1e400", "e5", "1.5", "", "ten", "1e"]


@pytest.mark.parametrize(("text", "number"), NUMBERS)
def test_a_whole_number(text: str, number: int, tmp_path: Path) -> None:
    assert whole_number(text) == number
    assert configured("--total_steps", text).total_steps == number
    assert configured(f"--evaluation.interval={text}").evaluation.interval == number
    assert configured("--evaluation", f"{{interval: {text}}}").evaluation.interval == number
    assert configured("--network.width", text).network == configured("--network.width", str(number)).network
    assert configured("--seeds", f"{text},3").seeds == configured(f"--seeds=[{text}, 3]").seeds == [number, 3]
    path = tmp_path / "c.yaml"
    path.write_text(
        f"{{total_steps: {text}, seeds: [{text}], checkpoint: {{interval: {text}}}, evaluation.interval: {text}, "
        f"network: {{class_path: multi_head, init_args: {{width: {text}}}}}}}"
    )
    config = configured("--config", str(path))
    assert config.total_steps == config.checkpoint.interval == config.evaluation.interval == number
    assert config.seeds == [number]
    assert config.network == configured("--network.width", str(number)).network


@pytest.mark.parametrize("seeds", ["[0.0]", "[1.0e+3]", "[1, 2.0]", "[true]", "0.0"])
def test_a_seed_is_written_in_digits(finished: Path, cli: Cli, seeds: str) -> None:
    path = finished / "config.yaml"
    path.write_text(path.read_text().replace("seeds:\n- 0\n", f"seeds: {seeds}\n"))
    for command in (
        ["evaluate", finished, "--episodes", 1],
        ["train", "--resume", finished],
        ["export", finished],
    ):
        result = cli(*command)
        assert result.code == 2
        assert "seeds" in result.err
        assert len(result.err.splitlines()) == 1


def test_a_whole_number_that_yaml_reads_as_another(tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text("total_steps: 1.0e+5\nagent: {learning_rate: 1.0e+0}\n")
    config = configured("--config", str(tmp_path / "c.yaml"))
    assert type(config.total_steps) is int
    assert type(config.agent.learning_rate) is float


@pytest.mark.parametrize("text", NO_NUMBERS)
def test_no_whole_number(text: str, cli: Cli, fake: object, tmp_path: Path) -> None:
    assert whole_number(text) is None
    result = cli(*train_arguments(tmp_path / "run", total_steps=text))
    assert result.code == 2
    expected = "total_steps must be an integer, got " if text else "--total_steps needs a value, got nothing"
    assert result.err.startswith(f"mtrl: {expected}")


@pytest.mark.parametrize("none", ["none", "None", "null"])
def test_none(none: str, tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(
        f"{{balancer: {none}, critic_network: {none}, num_threads: {none}, agent: {{max_grad_norm: {none}}}}}"
    )
    for config in (
        configured("--config", str(path)),
        configured(
            "--balancer",
            none,
            "--critic_network",
            none,
            "--num_threads",
            none,
            f"--agent.max_grad_norm={none}",
        ),
    ):
        assert config.balancer is config.critic_network is config.num_threads is None
        assert config.agent.max_grad_norm == configured().agent.max_grad_norm


def test_what_is_no_number_and_no_none_stays(tmp_path: Path) -> None:
    assert configured("--run_dir", "1e5").run_dir == "1e5"
    assert configured("--run_dir", "{a}").run_dir == "{a}"
    config = configured("--balancer", "CAGrad", "--balancer.rescale", "none", "--balancer.c", "1e1")
    assert isinstance(config.balancer, CAGrad)
    assert config.balancer.c == 10.0
    (tmp_path / "c.yaml").write_text(
        "{balancer: {class_path: CAGrad, init_args: {rescale: none}}, run_dir: 1e5}"
    )
    again = configured("--config", str(tmp_path / "c.yaml"))
    assert isinstance(again.balancer, CAGrad)
    assert again.balancer.divisor == config.balancer.divisor
    assert again.run_dir == "1e5"


def test_through_every_command(finished: Path, cli: Cli, tmp_path: Path) -> None:
    longer = shutil.copytree(finished, tmp_path / "longer")
    assert cli("train", "--resume", longer, "--total_steps", "5e1", "--device", "none").code == 0
    assert yaml.safe_load((longer / "config.yaml").read_text())["total_steps"] == 50
    result = cli("evaluate", finished, "--checkpoint", "4e1", "--episodes", "1e0", "--output", "none")
    assert result.code == 0, result.err
    assert list((finished / "evaluation").glob("step_0000000040-*-1_episodes-*.json"))


def test_a_sweep(cli: Cli, fake: object, tmp_path: Path) -> None:
    (tmp_path / "base.yaml").write_text(
        yaml.safe_dump({"benchmark": "MT3", "device": "cpu", "balancer": "none"})
    )
    (tmp_path / "sweep.yaml").write_text(
        "{base: base.yaml, axes: {total_steps: [1e3, 2_000], balancer: [none, LS]}, seeds: [1e1], seeds_per_run: 1e0, "
        f"cores: none, sweep_dir: {tmp_path / 'sweep'}}}"
    )
    result = cli("sweep", tmp_path / "sweep.yaml", "--dry_run", "--retries", "1e1")
    assert result.code == 0, result.err
    assert "4 runs" in result.out, result.out


def test_which_checkpoints_are_kept(train: Callable[..., Path]) -> None:
    run = train("run", total_steps=60, checkpoint__interval=10, checkpoint__keep="every:2e1")
    kept = {int(path.name[5:]) for path in (run / "checkpoints").iterdir()}
    assert {20, 40, 60} <= kept
    assert 30 not in kept or 10 not in kept
