"""The command line: results on stdout, one sentence on stderr for bad input, exit codes 0, 1 and 2."""

import contextlib
import errno
import os
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from mtrl.balancers import available
from mtrl.cli import main
from mtrl.cli.commands import COMMANDS
from mtrl.training.replay import Replay
from tests.mtrl.conftest import Result, read_metrics, train_arguments

Cli = Callable[..., Result]
Train = Callable[..., Path]
ROOT = Path(__file__).resolve().parents[3]


def assert_refused(result: Result, *words: str) -> None:
    """Exit code 2 and one sentence on stderr, with these words in it."""
    assert result.code == 2, result
    assert result.out == ""
    assert result.err.startswith("mtrl: ")
    assert result.err.count("\n") == 1, result.err
    for internal in ("Traceback", "<class", "Union", "NestedArg", "Parser key"):
        assert internal not in result.err
    for word in words:
        assert word in result.err


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory: what a refused command leaves behind is seen there."""
    directory = tmp_path / "elsewhere"
    directory.mkdir()
    monkeypatch.chdir(directory)
    return directory


# ------------------------------------------------------------------------------------------------ help and lists


def test_overview(cli: Cli) -> None:
    for arguments in ([], ["--help"], ["-h"]):
        result = cli(*arguments)
        assert result.code == (0 if arguments else 2)
        for command in COMMANDS:
            assert command in result.out


@pytest.mark.parametrize("command", sorted(COMMANDS))
def test_every_command_explains_itself(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    try:
        code = main([command, "--help"])
    except SystemExit as stop:
        code = stop.code
    assert code == 0
    captured = capsys.readouterr()
    assert captured.out.startswith("usage: ")
    assert f"mtrl {command}" in captured.out
    assert captured.err == ""


def test_help_of_training_explains_every_option(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["train", "--help"])
    text = capsys.readouterr().out
    for option in (
        "--config",
        "--resume",
        "--benchmark",
        "--total_steps",
        "--agent.learning_rate",
        "--checkpoint.replay",
    ):
        assert option in text
    assert "environment steps per task and seed" in " ".join(text.split())


@pytest.mark.parametrize("name", ["mtrl.balancers.AlignedMTL", "aligned_mtl"])
@pytest.mark.parametrize("join", ["=", " "])
def test_help_of_a_balancer(name: str, join: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["train", *f"--balancer.help{join}{name}".split()])
    assert stop.value.code == 0
    assert "scale_mode" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("kind", "names"),
    [
        ("networks", ["multi_head", "shared"]),
        ("balancers", list(available())),
        ("benchmarks", ["MT3", "MT10", "MT25", "MT50", "MT1:<task>"]),
        ("protocols", ["metaworld_plus", "paper"]),
    ],
)
def test_lists(cli: Cli, kind: str, names: list[str]) -> None:
    result = cli("list", kind)
    assert result.code == 0
    assert result.err == ""
    lines = dict(line.split(": ", 1) for line in result.out.splitlines())
    assert set(names) <= lines.keys()
    assert all(lines.values())
    assert "='" not in result.out  # no representation of an object


def test_unknown_things_to_list(cli: Cli) -> None:
    assert_refused(cli("list", "balancer"), "'balancer'", "did you mean 'balancers'?")
    assert_refused(cli("list"), "networks, balancers, benchmarks, protocols")
    assert_refused(cli("list", "networks", "balancers"), "networks balancers")


def test_unknown_command(cli: Cli) -> None:
    assert_refused(cli("trian"), "There is no command 'trian'", "did you mean 'train'?")


# ------------------------------------------------------------------------------------------------ bad input to train

BAD_OPTIONS: dict[str, tuple[list[str], list[str]]] = {
    "benchmark": (["--benchmark", "MT11"], ["no benchmark 'MT11'", "did you mean 'MT1"]),
    "task": (["--benchmark", "MT1:drawer-opne"], ["no task 'drawer-opne-v3'", "did you mean 'drawer-open-v3'?"]),
    "no task": (["--benchmark", "MT1:"], ["needs the name of a task, such as MT1:reach"]),
    "protocol": (["--protocol", "papr"], ["no protocol 'papr'", "did you mean 'paper'?"]),
    "network": (["--network", "mutli_head"], ["no network 'mutli_head'", "did you mean 'multi_head'?"]),
    "balancer": (["--balancer", "AlignMTL"], ["no balancer 'AlignMTL'", "did you mean 'AlignedMTL'?"]),
    "key": (["--totl_steps", "3"], ["'totl_steps'", "did you mean 'total_steps'?"]),
    "key with =": (["--totl_steps=3"], ["'totl_steps'", "did you mean 'total_steps'?"]),
    "nested key": (["--agent.gama", "0.9"], ["'agent.gama'", "did you mean 'agent.gamma'?"]),
    "option of the network": (["--network.widht", "8"], ["did you mean", "width"]),
    "option of the balancer": (["--balancer.scale_mod", "min"], ["did you mean", "scale_mode"]),
    "value of an option": (
        ["--balancer.scale_mode", "least"],
        ["balancer.scale_mode must be one of min, median, rmse, got least."],
    ),
    "engine": (["--engine", "fast"], ["engine must be one of batched, reference, gymnasium, got fast."]),
    "option of what has none, in a class": (
        ["--balancer.scale_mode.x", "3"],
        ["There is no option or key 'balancer.scale_mode.x'"],
    ),
    "option of what has none": (["--agent.tau.x", "1"], ["There is no option or key 'agent.tau.x'", "'agent.tau'"]),
    "word for a number": (["--total_steps", "many"], ["total_steps must be an integer, got many."]),
    "fraction for an integer": (["--batch_size", "1.5"], ["batch_size must be an integer, got 1.5."]),
    "negative steps": (["--total_steps", "-1"], ["total_steps must be a positive number", "got -1"]),
    "zero steps": (["--total_steps", "0"], ["total_steps must be a positive number", "got 0"]),
    "huge buffer": (["--buffer_size", str(10**30)], ["buffer_size", "below 2**31"]),
    "zero batch": (["--batch_size", "0"], ["batch_size"]),
    "negative buffer": (["--buffer_size", "-5"], ["buffer_size"]),
    "buffer smaller than a step": (["--buffer_size", "2", "--worlds_per_task", "4"], ["buffer_size", "2", "4"]),
    "width beyond all memory": (["--network.width", str(2**63)], ["width", "in [1, 1048576] (no GPU"]),
    "batch beyond all memory": (["--batch_size", str(2**62)], ["batch_size", "below 2**31"]),
    "zero worlds": (["--worlds_per_task", "0"], ["worlds_per_task"]),
    "zero updates": (["--updates_per_step", "0"], ["updates_per_step"]),
    "negative random steps": (["--random_steps", "-1"], ["random_steps must not be negative"]),
    "endless random steps": (["--random_steps", "1e30"], ["random_steps must", "below 2**63"]),
    "negative workers": (["--num_workers", "-1"], ["num_workers must not be negative"]),
    "zero interval": (["--evaluation.interval", "0"], ["evaluation.interval"]),
    "zero log interval": (["--log_interval", "0"], ["log_interval"]),
    "zero episodes": (["--evaluation.episodes", "0"], ["evaluation.episodes"]),
    "negative goal seed": (["--evaluation.seed", "-1"], ["seed", "-1"]),
    "zero width": (["--network.width", "0"], ["width", "0"]),
    "no width": (["--network.width", "null"], ["network.width must have a value"]),
    "no scale": (["--balancer.scale_mode", "null"], ["balancer.scale_mode must have a value"]),
    "no number of the balancer": (
        ["--balancer", "CAGrad", "--balancer.c", ".nan"],
        ["CAGrad needs c to be a number in [0, 1e+12], got nan."],
    ),
    "infinite length": (
        ["--balancer", "NashMTL", "--balancer.max_norm", ".inf"],
        ["NashMTL needs max_norm to be a number in", "got inf."],
    ),
    "a class of nothing": (["--balancer", "{}"], ["class_path of balancer must be a name", "got nothing"]),
    "a class of null": (["--balancer", "{class_path: null}"], ["class_path of balancer must be a name", "got None"]),
    "options as a number": (
        ["--network", "{class_path: shared, init_args: 3}"],
        ["init_args of network must be a mapping of options to values, got 3."],
    ),
    "options beside the class": (
        ["--network", "{class_path: shared, width: 3}"],
        ["network is described by class_path and init_args, and it has 'width'"],
    ),
    "options without init_args": (["--network", "{width: 3}"], ["class_path and init_args, and it has 'width'"]),
    "options of jsonargparse": (
        ["--balancer", "{class_path: LS, dict_kwargs: {x: 1}}"],
        ["class_path and init_args, and it has 'dict_kwargs'"],
    ),
    "options beside those of a class": (["--network.dict_kwargs.x", "3"], ["is no option of a network: leave it out"]),
    "options as a number of their own": (["--network.init_args", "3"], ["init_args of network must be a mapping"]),
    "a class in itself": (
        ["--balancer", "{class_path: LS, init_args: &a {preference: *a}}"],
        ["balancer must be valid YAML", "refers to itself"],
    ),
    "half a class": (["--balancer", "{class_path: [C"], ["balancer must be valid YAML"]),
    "a benchmark in itself": (["--benchmark", "{tasks: &a [*a]}"], ["benchmark must be valid YAML, got", "itself"]),
    "a group in itself": (["--agent", "{gamma: &a [*a]}"], ["agent must be valid YAML", "refers to itself"]),
    "deep seeds": (["--seeds", "[" * 3000], ["seeds must be valid YAML", "nested too deeply"]),
    "a group as a number": (["--agent", "3"], ["agent must be a mapping of options to values, got 3."]),
    "a group as a class": (
        ["--evaluation", "{class_path: subprocess.Popen}"],
        ["evaluation must be a mapping of options to values, got subprocess.Popen."],
    ),
    "a group as a file": (["--evaluation", "no.yaml"], ["evaluation must be a mapping of options to values"]),
    "a number of 5000 digits": (["--total_steps", "9" * 5000], ["total_steps must be a number of fewer digits"]),
    "a float of 400 digits": (["--agent.gamma", "9" * 400], ["must be a number of fewer digits"]),
    "a float for an integer or null": (["--random_steps", "5."], ["random_steps must be an integer, got 5."]),
    "no preference": (["--balancer.preference", ""], ["--balancer.preference needs a value"]),
    "negative width": (["--network.width", "-8"], ["width", "-8"]),
    "negative depth": (["--network.depth", "-1"], ["depth", "-1"]),
    "zero rate": (["--agent.learning_rate", "0"], ["learning_rate"]),
    "rate that is no number": (["--agent.learning_rate", "nan"], ["learning_rate"]),
    "infinite rate": (["--agent.learning_rate", "inf"], ["learning_rate"]),
    "decay of another form": (
        ["--agent.learning_rate_decay", "cosine"],
        ["agent.learning_rate_decay must be one of none, linear, got cosine."],
    ),
    "discount above 1": (["--agent.gamma", "1.01"], ["gamma"]),
    "bounds the wrong way round": (["--agent.log_std_min", "3"], ["log_std_min"]),
    "negative seed": (["--seeds", "0,-1"], ["seeds"]),
    "seed twice": (["--seeds", "1,1"], ["seeds", "different"]),
    "no seed": (["--seeds", "[]"], ["seeds"]),
    "nothing as seeds": (["--seeds", ""], ["--seeds needs a value"]),
    "braces as a seed": (["--seeds", "{0}"], ["seeds cannot be read: write its values as in [1, 2]"]),
    "text in a group": (["--agent", "{gamma: x}"], ["agent.gamma must be a number, got x"]),
    "mapping in a group": (["--agent", "{gamma: {a: 1}}"], ["agent.gamma must be a number, got {'a': 1}"]),
    "text for a number or null": (["--evaluation", "{interval: x}"], ["evaluation.interval must be an integer"]),
    "two dashes": (["--"], ["mtrl train takes no '--' here"]),
    "three dashes": (["---seeds", "1"], ["mtrl train takes no '---seeds 1' here"]),
    "a name twice": (["--network", "{class_path: shared, class_path: residual}"], ["'class_path' is there twice"]),
    "an option of no balancer": (
        ["--balancer.c", "0.4", "--balancer", "none"],
        ["balancer.c is an option of balancer, and balancer is null"],
    ),
    "an option of no critic network": (
        ["--critic_network.width", "4"],
        ["critic_network.width is an option of critic_network, and critic_network is null"],
    ),
    "seed that is no number": (["--seeds", "a"], ["seeds must be an integer, got a."]),
    "the goals of training": (
        ["--seeds", "0,7", "--evaluation.seed", "7"],
        ["evaluation.seed must be none of the seeds that are trained, got 7"],
    ),
    "huge seed": (["--seeds", str(2**40)], ["seed"]),
    "preference of wrong length": (["--balancer.preference", "[0.5, 0.5]"], ["preference of 3 numbers", "got 2"]),
    "word for a width": (["--network.width", "wide"], ["network.width must be an integer, got wide."]),
    "word for a switch": (["--sync", "maybe"], ["sync must be true or false, got maybe."]),
    "word for a choice": (["--compile", "fast"], ["compile must be true or false or autotune, got fast."]),
    "preference that is no list": (["--balancer.preference", "1,2,3"], ["balancer.preference must be a list"]),
    "word in a preference": (["--balancer.preference", "[1, x]"], ["balancer.preference must be a number, got x."]),
    "negative preference": (["--balancer.preference", "[1, -1, 1]"], ["non-negative"]),
    "preference of zeros": (["--balancer.preference", "[0, 0, 0]"], ["positive sum"]),
    "loss ratios of the actor": (["--balancer", "DWA"], ["DWA", "positive losses", "--balance critic"]),
    "no module": (["--balancer", "no_such_module.Mine"], ["balancer", "No module named 'no_such_module'"]),
    "no class": (["--balancer", "mtrl.balancers.Mine"], ["balancer", "has no attribute 'Mine'"]),
    "class of another kind": (
        ["--balancer", "collections.OrderedDict"],
        ["a subclass of Balancer, got collections.OrderedDict."],
    ),
    "one atom": (["--agent.num_atoms", "1"], ["agent needs num_atoms to be a whole number in [2, 65536], got 1."]),
    "support that is empty": (
        ["--agent.value_min", "1", "--agent.value_max", "1"],
        ["agent.value_min must be below agent.value_max", "got 1.0 and 1.0"],
    ),
    "support that is reversed": (
        ["--agent.value_min", "2", "--agent.value_max", "-2"],
        ["agent.value_min must be below agent.value_max", "got 2.0 and -2.0"],
    ),
    "support without an end": (["--agent.value_max", ".inf"], ["agent needs value_max to be a number in [", "inf"]),
    "unknown ensemble": (["--agent.ensemble", "median"], ["agent.ensemble must be one of min, mean, got median."]),
    "unknown critic": (["--agent.critic", "c51"], ["agent.critic must be one of squared, categorical, hl_gauss"]),
    "negative decay": (["--agent.weight_decay", "-0.1"], ["agent needs weight_decay to be a", "got -0.1."]),
    "decay that is no number": (["--agent.weight_decay", ".nan"], ["agent needs weight_decay", "nan"]),
    "entropy without a bound": (["--agent.target_entropy=-.inf"], ["agent needs target_entropy to be a number in"]),
    "returns without a bound": (
        ["--agent.normalize_returns", "true", "--agent.gamma", "1"],
        ["agent.normalize_returns needs agent.gamma below 1"],
    ),
    "returns scaled to nothing": (
        ["--agent.normalize_returns", "true", "--agent.value_max", "0"],
        ["agent.value_max, which must be a positive number", "got 0"],
    ),
    "unknown critic network": (
        ["--critic_network", "residul"],
        ["There is no critic_network 'residul': did you mean 'residual'?"],
    ),
    "option of another critic network": (
        ["--critic_network", "residual", "--critic_network.head_width", "8"],
        ["option of Residual 'head_width'"],
    ),
    "a temperature of nothing": (["--agent.initial_temperature", "1e-320"], ["initial_temperature to be a number in"]),
    "a deviation beyond any": (["--agent.log_std_max", "1e30"], ["log_std_max to be a number in [-80, 80]"]),
    "a checkpoint of no run": (["--init_checkpoint", "best"], ["init_from names, and none is named"]),
    "more threads than can be": (["--num_threads", "100000"], ["num_threads must be a number of threads from 1"]),
    "missing value": (["--total_steps"], ["total_steps"]),
    "stray argument": (["quickly"], ["quickly"]),
    "missing file": (["--config", "nowhere.yaml"], ["nowhere.yaml"]),
    "directory for a file": (["--config", "."], ["directory"]),
}  # fmt: skip


@pytest.mark.parametrize("name", ["export", "evaluate", "toy", "benchmark learner", "benchmark balancers"])
def test_a_configuration_file_where_none_is_read(cli: Cli, elsewhere: Path, name: str) -> None:
    (elsewhere / "some.yaml").write_text("batch_size: 3\n")
    runs = ["run"] if name in ("export", "evaluate") else []
    for words in (["--config=some.yaml"], ["--config", "some.yaml"], ["--config={a"]):
        assert_refused(cli(*name.split(), *runs, *words), "There is no option or key 'config'")


@pytest.mark.parametrize("case", BAD_OPTIONS)
def test_bad_options(cli: Cli, fake: object, elsewhere: Path, case: str) -> None:
    options, words = BAD_OPTIONS[case]
    assert_refused(cli(*train_arguments(elsewhere / "run"), *options), *words)
    assert list(elsewhere.iterdir()) == []


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_cuda_without_a_gpu(cli: Cli, fake: object, elsewhere: Path) -> None:
    assert_refused(cli(*train_arguments(elsewhere / "run", device="cuda")), "GPU", "--device cpu")
    assert list(elsewhere.iterdir()) == []


BAD_FILES = {
    "no YAML": ("seeds: [1, 2", ["not valid YAML"]),
    "a list": ("[1, 2, 3]", ["must be a mapping", "list"]),
    "a word": ("benchmark", ["must be a mapping", "str"]),
    "empty": ("", ["must be a mapping", "empty"]),
    "a tab": ("seeds:\n\t- 1", ["not valid YAML"]),
    "python": ("seeds: !!python/object/apply:os.system ['touch executed']", ["not valid YAML"]),
    "unknown key": ("totl_steps: 3", ["'totl_steps'", "did you mean 'total_steps'?"]),
    "unknown nested key": ("agent: {gama: 0.9}", ["gama", "did you mean"]),
    "unknown balancer": ("balancer: AlignMTL", ["did you mean 'AlignedMTL'?"]),
    "unknown network": ("network: {class_path: mutli_head}", ["did you mean 'multi_head'?"]),
    "unknown option of the network": (
        "network: {class_path: multi_head, init_args: {widht: 3}}",
        ["did you mean 'width'?"],
    ),
    "word for a number": ("total_steps: many", ["total_steps", "many"]),
    "negative size": ("batch_size: -4", ["batch_size"]),
    "null for a size": ("batch_size: null", ["batch_size"]),
    "mapping for a number": ("batch_size: {a: 1}", ["batch_size"]),
    "number for a mapping": ("agent: 3", ["agent"]),
    "list for a balancer": ("balancer: [1, 2]", ["balancer"]),
}


@pytest.mark.parametrize("case", BAD_FILES)
def test_bad_configuration_files(cli: Cli, elsewhere: Path, case: str) -> None:
    text, words = BAD_FILES[case]
    Path("bad.yaml").write_text(text)
    assert_refused(cli("train", "--config", "bad.yaml", "--device", "cpu"), *words)
    assert [p.name for p in elsewhere.iterdir()] == ["bad.yaml"]


def test_binary_configuration_file(cli: Cli, elsewhere: Path) -> None:
    Path("bad.yaml").write_bytes(bytes(range(256)))
    assert_refused(cli("train", "--config", "bad.yaml"), "not valid YAML")


def test_an_existing_run_directory_is_never_touched(cli: Cli, fake: object, tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    (run / "precious.txt").write_text("a year's work")
    assert_refused(cli(*train_arguments(run)), str(run), "exists already", "choose another --run_dir.")
    assert [(p.name, p.read_text()) for p in run.iterdir()] == [("precious.txt", "a year's work")]


def test_out_of_gpu_memory(cli: Cli, fake: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def allocate(*_: object, **__: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 3.13 GiB.\nGPU 0 has 78 GiB.")

    monkeypatch.setattr("mtrl.training.loop.Replay", allocate)
    result = cli(*train_arguments(tmp_path / "run"))
    assert result.code == 1
    assert result.err.startswith(
        "mtrl: The GPU is out of memory: lower --buffer_size, --batch_size, --network.width"
    )
    assert "--seeds" in result.err
    assert result.err.endswith("Tried to allocate 3.13 GiB. GPU 0 has 78 GiB.\n")
    assert not (tmp_path / "run").exists()


def test_memory_that_an_evaluation_lacks(cli: Cli, finished: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is lowered are options of the command."""

    def allocate(*_: object, **__: object) -> None:
        raise MemoryError

    monkeypatch.setattr("mtrl.evaluation.command.evaluate", allocate)
    result = cli("evaluate", finished)
    assert (result.code, result.err) == (
        1,
        "mtrl: The machine is out of memory: lower --worlds_per_task or --episodes. MemoryError\n",
    )


@pytest.mark.parametrize("command", ["toy", "benchmark balancers", "benchmark learner"])
def test_nothing_as_a_list_of_names(cli: Cli, elsewhere: Path, command: str) -> None:
    for nothing in ("", ","):
        assert_refused(cli(*command.split(), "--balancer", nothing), "--balancer needs a value")
    assert_refused(cli("benchmark", "learner", "--network", ","), "--network needs a value")
    assert not list(elsewhere.iterdir())


@pytest.mark.parametrize("command", ["report", "evaluate", "export"])
def test_a_full_disk(
    cli: Cli, finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    """Says what could not be written, and leaves nothing of it."""

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    output = tmp_path / "output"
    for name in ("write_text", "write_bytes"):
        monkeypatch.setattr(Path, name, full)
    options = {"export": ["--format", "torch"], "evaluate": ["--episodes", "1"], "report": []}
    result = cli(command, finished, "--output", output, *options[command])
    assert result.code == 1
    words = f"The disk is full ({output}: No space left on device). What was written whole before is kept"
    assert words in result.err.splitlines()[-1]
    assert "Errno" not in result.err
    assert not output.is_file()
    assert not (output.is_dir() and list(output.iterdir()))


@pytest.mark.parametrize("command", ["evaluate", "report", "train --resume", "sweep", "export"])
def test_a_name_that_is_too_long(cli: Cli, command: str) -> None:
    assert_refused(cli(*command.split(), "x" * 300), "xxx")


@pytest.mark.parametrize(
    "arguments",
    [
        ["train", "--resume", ""],
        ["train", "--resume="],
        ["train", "--run_dir", "", "--device", "cpu"],
        ["evaluate", ""],
        ["evaluate", ".", "--output="],
        ["report", ""],
        ["export", ""],
        ["sweep", ""],
    ],
)
def test_an_empty_path_is_not_the_working_directory(cli: Cli, finished: Path, arguments: list[str]) -> None:
    """As that of a variable that is not set."""
    before = sorted(finished.rglob("*"))
    with contextlib.chdir(finished):
        result = cli(*arguments)
    option = next((a.rstrip("=") for a in arguments if a.startswith("--")), None)
    assert_refused(
        result, f"{option} needs a value, got nothing" if option else "name of a run or a file is empty"
    )
    assert sorted(finished.rglob("*")) == before


@pytest.mark.parametrize(
    "options",
    [
        "env --seconds .nan",
        "env --seconds 1e400",
        "env --repetitions 1e30",
        "evaluation --period .inf",
        "evaluation --wait .nan",
        "evaluation --num_workers -1",
        "checkpoint --repetitions 0",
        "logging --steps 1e30",
    ],
)
def test_numbers_of_a_benchmark_that_cannot_be_meant(cli: Cli, options: str) -> None:
    kind, option, _ = options.split()
    name = option.removeprefix("--")
    assert_refused(cli("benchmark", *options.split()), f"benchmark {kind} needs {name} to be", "in [", "got ")


def test_what_the_file_system_refuses_is_named(cli: Cli) -> None:
    result = cli("toy", "--balancer", "LS", "--steps", "1", "--output", "/proc/x")
    assert_refused(result, "/proc/x: No such file or directory.")


def test_a_file_where_the_run_directory_should_be(cli: Cli, fake: object, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    (tmp_path / "empty").mkdir()
    (tmp_path / "link").symlink_to("nowhere")
    for name in ("file", "empty", "link"):
        result = cli(*train_arguments(tmp_path / name))
        assert_refused(result, "exists already", "choose another --run_dir.")
        assert "--resume" not in result.err  # it is no run
    assert_refused(cli(*train_arguments(tmp_path / "file" / "run")), "file")
    assert (tmp_path / "file").read_text() == "x"


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (
            torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB."),
            ["The GPU is out of memory"],
        ),
        (
            RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes."),
            ["machine"],
        ),
        (MemoryError(), ["The machine is out of memory"]),
    ],
    ids=["gpu", "tensors", "python"],
)
def test_out_of_memory(
    cli: Cli,
    fake: object,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    error: Exception,
    words: list[str],
) -> None:
    """In the middle of training: what to lower, and a run that can be gone on with."""

    def fail(*_: object) -> None:
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(Replay, "sample", fail)
        result = cli(*train_arguments(tmp_path / "run"))
    assert result.code == 1
    (line,) = (line for line in result.err.splitlines() if line.startswith("mtrl: "))
    for word in (*words, "--buffer_size", "--batch_size", "--network.width", "--seeds"):
        assert word in line
    assert cli("train", "--resume", tmp_path / "run").code == 0


# ------------------------------------------------------------------------------------------------ a user's own class

OWN_BALANCER = """
    from mtrl.balancers import Balancer

    class LargestLoss(Balancer):
        '''All weight on the task that does worst.'''

        def __init__(self, softness: float = 1.0, preference: list[float] | None = None) -> None:
            super().__init__(preference)
            self.softness = softness

        def weights(self, gramian, losses):
            return (losses / self.softness).softmax(-1)
"""


def test_a_users_own_balancer_in_one_file(
    fake: object, cli: Cli, elsewhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("own_balancer.py").write_text(textwrap.dedent(OWN_BALANCER))
    monkeypatch.syspath_prepend(str(elsewhere))
    run = elsewhere / "run"
    name = "own_balancer.LargestLoss"
    result = cli(*train_arguments(run, balancer=name), "--balancer.softness", "1e-4")
    assert result.code == 0, result.err
    config = yaml.safe_load((run / "config.yaml").read_text())
    assert config["balancer"]["class_path"] == name
    assert config["balancer"]["init_args"]["softness"] == 1e-4
    weights = np.array(next(line for line in read_metrics(run) if line["step"] == 30)["critic/weights"])
    np.testing.assert_allclose(weights.sum(-1), 1.0, rtol=1e-5)
    np.testing.assert_allclose(
        10 * weights, np.round(10 * weights), atol=0.01
    )  # all or nothing, in 10 updates
    assert cli("evaluate", run, "--episodes", 1, "--engine", "reference").code == 0
    result = cli(*train_arguments(elsewhere / "other", balancer=name), "--balancer.sofness", "1")
    assert_refused(result, "LargestLoss", "did you mean 'softness'?")


FAULTY_BALANCERS = """
    from mtrl.balancers import LS

    class WithoutPreference(LS):
        def __init__(self, softness: float = 1.0) -> None:
            super().__init__()

    class Demanding(LS):
        def __init__(self, softness: float) -> None:
            super().__init__()

    class Faulty(LS):
        def __init__(self, softness: float = 0.0) -> None:
            1 / softness
"""


@pytest.mark.parametrize(
    ("command", "name", "words"),
    [
        ("toy --output new --balancer", "WithoutPreference", "with preference alone, as it"),
        ("toy --output new --balancer", "Demanding", "a required argument: 'softness'"),
        ("benchmark balancers --balancer", "Demanding", "without options, as it is here: missing a required"),
        ("benchmark learner --device cpu --balancer", "Demanding", "a required argument: 'softness'"),
        ("train --device cpu --run_dir new --balancer", "Faulty", "cannot be made: ZeroDivisionError"),
    ],
)
def test_a_users_own_balancer_that_cannot_be_made(
    cli: Cli, elsewhere: Path, monkeypatch: pytest.MonkeyPatch, command: str, name: str, words: str
) -> None:
    Path("faulty_balancers.py").write_text(textwrap.dedent(FAULTY_BALANCERS))
    monkeypatch.syspath_prepend(str(elsewhere))
    assert_refused(cli(*command.split(), f"faulty_balancers.{name}"), words)
    assert not Path("new").exists()


# ------------------------------------------------------------------------------------------------ as a process


def run_process(*arguments: object, cwd: Path) -> subprocess.CompletedProcess[str]:
    """As the console script does it: the working directory is not put on the path by Python."""
    code = "import sys; from mtrl.cli import main; sys.exit(main())"
    return subprocess.run(
        [sys.executable, "-P", "-c", code, *map(str, arguments)],
        check=False,
        capture_output=True,
        text=True,
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
    )


@pytest.mark.parametrize(
    ("engine", "library"),
    [
        ("batched", "egl"),
        ("reference", "crayons"),
        *(
            pytest.param(*case, marks=pytest.mark.slow)
            for case in [
                ("batched", "osmesa"),
                ("batched", "crayons"),
                ("reference", "osmesa"),
                ("reference", "egl"),
            ]
        ),
    ],
)
def test_training_needs_no_opengl(
    engine: str, library: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """MUJOCO_GL may name a library that this machine does not have: a variable of PyOpenGL's makes it so on every
    machine."""
    monkeypatch.setenv("MUJOCO_GL", library)
    monkeypatch.setenv("PYOPENGL_PLATFORM", "none")
    options = {
        "benchmark": "MT1:reach",
        "protocol": "paper",
        "engine": engine,
        "num_workers": 1,
        "total_steps": 6,
        "evaluation__episodes": 1,
    }
    result = run_process(*train_arguments(Path("run"), **options), cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert "Traceback" not in result.stderr


def test_from_training_to_evaluation_on_meta_world(elsewhere: Path, cli: Cli) -> None:
    """Meta-World in a worker process, and a balancer that lies in the working directory."""
    Path("own_balancer.py").write_text(textwrap.dedent(OWN_BALANCER))
    options = {
        "benchmark": "MT1:reach",
        "protocol": "paper",
        "balancer": "own_balancer.LargestLoss",
        "num_workers": 1,
        "total_steps": 12,
        "evaluation__episodes": 1,
    }
    result = run_process(*train_arguments(Path("run"), **options), cwd=elsewhere)
    assert result.returncode == 0, result.stderr
    assert result.stdout == ""
    assert "mtrl evaluate run" in result.stderr
    result = cli("evaluate", "run", "--episodes", 1, "--engine", "reference")
    assert result.code == 0, result.err
    assert "reach-v3" in result.out


@pytest.mark.slow
def test_bad_input_to_a_process_with_workers(elsewhere: Path) -> None:
    """Found after the environments were started: no traceback, nothing left behind, and it ends."""
    result = run_process(
        *train_arguments(Path("run"), benchmark="MT1:reach", protocol="paper", num_workers=1, balancer="DWA"),
        cwd=elsewhere,
    )
    assert_refused(Result(result.returncode, result.stdout, result.stderr), "DWA")
    assert list(elsewhere.iterdir()) == []


# ------------------------------------------------------------------------------------------------ anything at all

NAMES = [
    "benchmark", "protocol", "network", "balancer", "balance", "seeds", "total_steps", "batch_size", "buffer_size",
    "random_steps", "worlds_per_task", "updates_per_step", "log_interval", "device", "engine", "num_workers", "sync",
    "agent", "agent.gamma", "agent.tau", "agent.learning_rate", "agent.max_grad_norm", "evaluation.interval",
    "evaluation.seed", "checkpoint.replay", "checkpoint", "network.width", "balancer.scale_mode",
    "balancer.preference", "config", "nonsense", "",
]  # fmt: skip
SNIPPETS = st.sampled_from(
    ["", "0", "-1", "nan", "inf", "1e9", "null", "true", "[]", "[1, 2", "{}", "{a: 1}", "{'class_path': 3}", "MT1:",
     "a.b", "..", ".a", "a.", "mtrl.balancers", "os.system", "!!python/none", "&a *a", "0,1", ",", "--", "-", "~", "\\"]
)  # fmt: skip
PLAIN = st.text(
    st.characters(codec="utf-8", exclude_characters="\x00", exclude_categories=["Cs"]), max_size=12
)


COUNTS = pytest.mark.parametrize("count", [25, pytest.param(1_000, marks=pytest.mark.slow)])
FUZZ = settings(suppress_health_check=list(HealthCheck))


@COUNTS
def test_no_value_gives_a_traceback(elsewhere: Path, cli: Cli, count: int) -> None:
    """Whatever is given, `total_steps 0` at the end makes the run impossible: one sentence, and no trace of it."""

    @settings(FUZZ, max_examples=count)
    @given(options=st.lists(st.tuples(st.sampled_from(NAMES), SNIPPETS | PLAIN), min_size=1, max_size=3))
    @example(options=[("balancer.preference", "-")])  # YAML for [None]
    @example(options=[("num_workers", "a")])  # the parser's message loses every "a "
    def check(options: list[tuple[str, str]]) -> None:
        arguments = [x for name, value in options for x in (f"--{name}", value)]
        assert_refused(cli("train", *arguments, "--total_steps", "0"))
        assert list(elsewhere.iterdir()) == []

    check()


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_subnormal=False) | SNIPPETS | PLAIN,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(NAMES) | PLAIN, inner, max_size=3)
    ),
    max_leaves=6,
)


@COUNTS
def test_no_configuration_file_gives_a_traceback(
    tmp_path: Path, elsewhere: Path, cli: Cli, count: int
) -> None:
    @settings(FUZZ, max_examples=count)
    @given(content=VALUES | st.dictionaries(st.sampled_from(NAMES), VALUES, max_size=3))
    def check(content: object) -> None:
        (tmp_path / "any.yaml").write_text(yaml.safe_dump(content, allow_unicode=True))
        assert_refused(cli("train", "--config", tmp_path / "any.yaml", "--total_steps", "0"))
        assert list(elsewhere.iterdir()) == []

    check()
