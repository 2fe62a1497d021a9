"""Which value wins: the command line over files wherever they stand, a later file over one before."""

import itertools
import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from mtrl.config.loading import configure, train_config, train_parser
from mtrl.config.lookup import CLASS_OPTIONS, balancers, find_class, networks
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
DOTTED = {
    "balancer.c": 0.3,
    "network.depth": 1,
    "balancer": "CAGrad",
    "network": {"class_path": "shared", "init_args": {"width": 8, "depth": 2}},
    "critic_network.init_args": {"width": 5},
    "critic_network.class_path": "residual",
    "critic_network.init_args.depth": 4,
    "agent.gamma": 0.6,
    "agent": {"gamma": 0.5, "tau": 0.1},
}
OTHERS = {  # classes of modules that are not there
    "network": "absent.Own",
    "critic_network": {"class_path": "absent.Own", "init_args": {"layers": 3}},
    "balancer.class_path": "absent.Own",
    "balancer.c": 0.2,
}

#: Parts of a command line that may stand in any order, and what comes out of it.
CASES: dict[str, tuple[list[list[str]], dict[str, Any]]] = {
    "number": ([["--config", "1"], ["--batch_size", "5"]], {"batch_size": 5, "seeds": [4]}),
    "list of words": ([["--config", "1"], ["--seeds", "7", "6"]], {"seeds": [7, 6]}),
    "negative numbers": (
        [["--agent.target_entropy", "-2.5"], ["--agent.log_std_min", "-1e1"]],
        {"agent.target_entropy": -2.5, "agent.log_std_min": -10.0},
    ),
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
    "options of the file's class as YAML": (
        [["--config", "1"], ["--network", "{init_args: {width: 8}}"], ["--balancer={init_args: {scale_mode: min}}"]],
        {"network": "Residual", "network.width": 8, "network.depth": 1, "balancer.scale_mode": "min"},
    ),
    "path of a class": (
        [["--config", "1"], ["--network.class_path", "shared"], ["--network.task_id", "true"]],
        {"network": "Shared", "network.task_id": True},
    ),
    "path of another class": (
        [["--config", "1"], ["--network.class_path", "shared"]],
        {"network": "Shared", "network.width": 400, "network.depth": 3},
    ),
    "dotted options of a file": (
        [["--config", "dotted"], ["--critic_network.depth", "2"]],
        {"balancer.c": 0.3, "network": "Shared", "network.depth": 1, "network.width": 8, "critic_network": "Residual"}
        | {"critic_network.depth": 2, "critic_network.width": 5, "agent.gamma": 0.6, "agent.tau": 0.1},
    ),
    "another class than that of dotted options": (
        [["--config", "dotted"], ["--network", "residual"], ["--balancer", "LS"]],
        {"network": "Residual", "network.width": 400, "network.depth": 2, "balancer": "LS"},
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
    for name, content in (("1", FIRST), ("2", SECOND), ("dotted", DOTTED), ("others", OTHERS)):
        (tmp_path / name).write_text(yaml.safe_dump(content, sort_keys=False))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def read(config: TrainConfig, name: str) -> Any:
    value: Any = config
    for part in name.split("."):
        value = getattr(value, part)
    return type(value).__name__ if name in CLASS_OPTIONS else value


PARSER = train_parser()  # to make one takes as long as to parse


def from_arguments(*arguments: str) -> TrainConfig:
    return train_config(PARSER, parse(PARSER, ["--device", "cpu", *arguments]))


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


#: Words that name another class, or none, of each kind.
REPLACED = {
    "network": (["--network", "shared"], ["--network=Shared"], ["--network.class_path", "shared"]),
    "critic_network": (
        ["--critic_network", "{class_path: shared, init_args: {width: 8}}"],
        ["--critic_network=null"],
        ["--critic_network.class_path=shared"],
    ),
    "balancer": (["--balancer", "LS"], ["--balancer.class_path", "LS"], ["--balancer", "none"]),
}


EACH = list(zip(*REPLACED.values(), strict=True))


@pytest.mark.parametrize(
    "words",
    [
        pytest.param(words, marks=() if words in EACH else pytest.mark.slow)
        for words in itertools.product(*REPLACED.values())
    ],
)
def test_a_class_that_is_replaced_is_not_looked_at(directory: Path, words: tuple[list[str], ...]) -> None:
    for parts in itertools.permutations([["--config", "others"], *words]):
        config = from_arguments(*itertools.chain.from_iterable(parts))
        assert read(config, "network") == "Shared"
        assert read(config, "critic_network") in ("Shared", "NoneType")
        assert read(config, "balancer") in ("LS", "NoneType")


def test_of_what_a_later_file_replaces_nothing_is_looked_at(directory: Path) -> None:
    Path("3").write_text("{critic_network: null, balancer: LS, network.class_path: shared}")
    config = from_arguments("--config", "others", "--config", "3")
    assert [read(config, kind) for kind in CLASS_OPTIONS] == ["Shared", "NoneType", "LS"]
    assert (
        read(from_arguments("--config=others", "--config", "1", "--critic_network=shared"), "network")
        == "Residual"
    )


@pytest.mark.parametrize("kind", CLASS_OPTIONS)
def test_a_class_that_stays_is_looked_at(directory: Path, kind: str) -> None:
    """What is only an option of the class replaces nothing."""
    words = [word for other, (first, *_) in REPLACED.items() if other != kind for word in first]
    for option in ([], [f"--{kind}.width=3"], [f"--{kind}.init_args", "{width: 3}"]):
        with pytest.raises(ValueError, match=rf"^The {kind} 'absent\.Own' is not of this toolkit"):
            from_arguments("--config", "others", *words, *option)


@pytest.mark.parametrize("options", [{"balancer.c": 0.2}, {"balancer": {"init_args": {"scale_mode": "min"}}}])
def test_options_of_a_class_that_an_earlier_file_made_null(directory: Path, options: dict[str, Any]) -> None:
    """They do not bring the default class back."""
    Path("3").write_text("balancer: null")
    Path("4").write_text(yaml.safe_dump(options))
    described = [f"--{name}={json.dumps(value)}" for name, value in options.items()]
    for words in (["--config", "4"], described):
        with pytest.raises(
            ValueError, match=r"^balancer\.\w+ is an option of balancer, and balancer is null: "
        ):
            from_arguments("--config", "3", *words)


def test_options_of_a_class_as_a_mapping_and_one_by_one(directory: Path) -> None:
    Path("3").write_text(
        "{network.width: 9, network.init_args: {width: 8, depth: 7}, network: {class_path: residual, init_args: "
        "{embedding_width: 6}}}"
    )
    network = from_arguments("--config", "3").network
    assert (network.width, network.depth, network.embedding_width) == (9, 7, 6)


def test_options_of_a_class_that_is_not_there(directory: Path) -> None:
    Path("3").write_text("{balancer: null, balancer.c: 0.2}")
    with pytest.raises(ValueError, match=r"^balancer\.c is an option of balancer, and balancer is None\.$"):
        from_arguments("--config", "3")
    Path("3").write_text("{agent.gamma: 0.2, agent: 0.1}")
    with pytest.raises(ValueError, match=r"^agent in .* must be a mapping"):
        from_arguments("--config", "3")


@pytest.mark.parametrize("kind", CLASS_OPTIONS)
def test_a_class_has_its_own_defaults_wherever_it_is_named(directory: Path, kind: str) -> None:
    """Not those of the class that is the default."""
    for name in balancers() if kind == "balancer" else networks():
        Path("3").write_text(yaml.safe_dump({kind: name}))
        given = [from_arguments(f"--{kind}", name), from_arguments(f"--{kind}.class_path={name}")]
        read, _ = configure({kind: name, "device": "cpu"})
        for config in (*given, from_arguments("--config", "3"), read):
            assert vars(getattr(config, kind)) == vars(find_class(kind, name)()), name


def test_a_mapping_in_python(directory: Path) -> None:
    config, _ = configure({**DOTTED, "device": "cpu"})
    assert read(config, "network.depth") == 1
    assert read(config, "balancer.c") == 0.3


def test_an_option_without_its_value_takes_no_other(directory: Path) -> None:
    with pytest.raises(ValueError, match="config"):
        from_arguments("--seeds", "7", "--config")
