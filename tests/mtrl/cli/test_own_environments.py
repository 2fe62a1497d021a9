"""Environments of the user's through every command."""

import json
import math
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import imageio.v3 as imageio
import numpy as np
import pytest
import yaml

import mtrl
import tests.envs.own_environments  # noqa: F401  (what is imported needs no allowance)
from envs.custom import episode_seed
from mtrl.cli import main
from mtrl.config import imports
from mtrl.evaluation.background import BackgroundEvaluator
from mtrl.reporting.runs import read_run
from mtrl.storage.scores import Scores
from mtrl.sweep.config import SweepConfig
from mtrl.sweep.plan import make_run, methods
from mtrl.sweep.process import allowances
from mtrl.training import trainer
from tests.mtrl.cli.test_cli import assert_refused
from tests.mtrl.conftest import SMALL_RUN, Result, read_metrics, read_state

Cli, Train = Callable[..., Result], Callable[..., Path]
LINE = "tests.envs.own_environments:Line"
SAYS: dict[str, Any] = {"says": "is_success", "successes": [2, 3]}
ROOT = Path(__file__).parents[3]


def described(*kwargs: dict[str, Any], **options: Any) -> dict[str, Any]:
    tasks = [{"name": name, "env": LINE, "kwargs": k} for name, k in zip("ab", kwargs, strict=True)]
    return {"name": "lines", "horizon": 5, "tasks": tasks, **options}


@pytest.fixture
def benchmark_file(tmp_path: Path) -> Callable[..., Path]:
    def write(*kwargs: dict[str, Any], **options: Any) -> Path:
        path = tmp_path / "lines.yaml"
        path.write_text(yaml.safe_dump(described(*kwargs, **options)))
        return path

    return write


@pytest.fixture
def own(train: Train, benchmark_file: Callable[..., Path]) -> Callable[..., Path]:
    """A small run on two lines, of which the first one ends at its third step."""

    def run(*kwargs: dict[str, Any], name: str = "run", success: str = "any", **options: Any) -> Path:
        path = benchmark_file(*(kwargs or (SAYS | {"ends": 3}, SAYS)), success=success)
        chosen = {"engine": None, "protocol": None, "evaluation__interval": 20, "evaluation__episodes": 3}
        return train(name, benchmark=path, **(chosen | options))

    return run


def test_it_is_kept_and_goes_through_every_command(own, cli: Cli, tmp_path: Path) -> None:
    run = own(seeds="0,1")
    config = yaml.safe_load((run / "config.yaml").read_text())
    assert config["benchmark"] == described(SAYS | {"ends": 3}, SAYS, success="any")
    assert (config["protocol"], config["engine"]) == ("custom", "gymnasium")
    stamp = json.loads((run / "stamp.json").read_text())
    assert stamp["protocol"]["name"] == "custom"
    assert stamp["protocol"]["horizon"] == 5
    assert (stamp["observation_size"], stamp["action_size"]) == (3, 1)
    assert stamp["benchmark"]["tasks"] == ["a", "b"]

    result = cli("evaluate", run, "--episodes", 4)
    assert result.code == 0, result.err
    assert "success at any step" in result.out
    assert "gymnasium engine, protocol custom" in result.out
    (path,) = (run / "evaluation").iterdir()
    judged = json.loads(path.read_text())
    assert judged["episodes"]["reset_seed"][1][0] == [episode_seed(1_000_000, "a", k) for k in range(4)]
    lengths = judged["episodes"]["steps_to_success"]
    assert np.array(lengths).tolist() == np.full((2, 2, 4), 2).tolist()
    many = cli("evaluate", run, "--episodes", 4, "--worlds_per_task", 4, "--output", tmp_path / "four.json")
    assert many.code == 0
    returns = [json.loads(p.read_text())["episodes"]["returns"] for p in (path, tmp_path / "four.json")]
    np.testing.assert_allclose(*returns)

    report = cli("report", run, "--source", "evaluation", "--output", tmp_path / "report")
    assert report.code == 0, report.err
    assert "lines, custom" in report.out
    assert "1.000" in report.out

    policy = mtrl.load_policy(run, seed=1)
    assert policy.tasks == ("a", "b")
    assert policy(np.zeros(3), "b").shape == (1,)
    assert cli("export", run, "--format", "torch").code == 0

    again = cli("train", "--config", run / "config.yaml", "--run_dir", tmp_path / "again")
    assert again.code == 0, again.err
    assert (run / "metrics.jsonl").read_bytes() == (tmp_path / "again" / "metrics.jsonl").read_bytes()
    further = cli(
        "train", "--config", run / "config.yaml", "--init_from", run, "--run_dir", tmp_path / "further"
    )
    assert further.code == 0, further.err
    assert "Tasks of both, with what each owns: a, b" in further.err


def test_terminations_do_not_bootstrap_and_truncations_do(own) -> None:
    """In the replay of the first task each third step is an end; the second is cut off, which is none."""
    run = own(seeds="0")
    rows = read_state(run)["replay:state.storage"][0]  # [T, capacity, 3 + 1 + 1 + 3 + 1]
    steps, terminated = rows[..., 7], rows[..., 8]
    np.testing.assert_array_equal(terminated[0], steps[0] == 3)
    assert steps[1].max() == 5  # the last observation before the cut, not the first one of the next episode
    assert not terminated[1].any()


def test_returns_decide_where_nothing_is_said(own, cli: Cli, tmp_path: Path) -> None:
    run = own({}, SAYS)
    evaluations = [line for line in read_metrics(run) if "evaluation/returns" in line]
    assert [line["step"] for line in evaluations] == [20, 40]
    assert all(line["evaluation/success"][0][0] is None for line in evaluations)
    means = [np.mean(line["evaluation/returns"]) for line in evaluations]
    scores = Scores.read(run / "metrics.jsonl")
    assert scores.measure == "return"
    assert scores[scores.best()] == pytest.approx(max(means))
    result = cli("evaluate", run, "--episodes", 2)
    assert "return" in result.out
    assert read_run(run).measure == "return"
    for source in ("metrics", "evaluation"):
        report = cli("report", run, "--source", source, "--output", tmp_path / source)
        assert report.code == 0, report.err
        assert "Mean return over tasks" in report.out
        assert "success" not in report.out
    assert (tmp_path / "metrics" / "heat_map.png").is_file()


def test_success_at_the_end_where_the_protocol_says_so(own, cli: Cli) -> None:
    """Both succeed at their second step, and neither at its last one."""
    ends = {"says": "success", "successes": [2]}
    found = {}
    for rule in ("any", "final"):
        run = own(ends | {"ends": 3}, ends, name=rule, success=rule)
        found[rule] = read_metrics(run)[-1]["evaluation/success"]
        result = cli("evaluate", run, "--episodes", 2)
        assert ("success at any step" in result.out) == (rule == "any")
        assert "success at the last step" in result.out
    assert found == {"any": [[1.0, 1.0]], "final": [[0.0, 0.0]]}


def test_a_resumed_run_says_that_episodes_begin_anew(own, cli: Cli) -> None:
    run = own(agent__normalize_returns="true")
    result = cli("train", "--resume", run, "--total_steps", 60)
    assert result.code == 0, result.err
    assert "The state of environments of your own cannot be saved: their episodes begin anew." in result.err
    rows = read_state(run, 60)["replay:state.storage"][0]
    assert (rows[1, :, 2] < rows[1, :, 7]).all()  # no transition from an old episode into a new one


def test_processes_are_the_same_as_none(own) -> None:
    here, there = own(name="here"), own(name="there", num_workers=1)
    assert (here / "metrics.jsonl").read_bytes() == (there / "metrics.jsonl").read_bytes()


def test_never_in_one_table_with_meta_world(own, train: Train, cli: Cli) -> None:
    run, meta_world = own(), train("meta_world")
    for options in ([], ["--allow_mixed"]):
        assert_refused(
            cli("report", run, meta_world, *options),
            "has environments of your own and",
            "never set in one table: report them apart",
        )
    other = own({}, {}, name="other")
    assert_refused(cli("report", run, other, "--allow_mixed"), "scores by success", "scores by return")


def test_a_sweep(benchmark_file, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its processes are told what the benchmark is and that its module is allowed."""
    path = benchmark_file({}, {})
    base = {"benchmark": str(path), "total_steps": 10}
    sweep = SweepConfig(base=base, axes={"balancer": ["LS", "MGDA"]}, seeds=[0])
    first, second = methods(sweep)
    assert [method.name for method in (first, second)] == ["LS", "MGDA"]
    assert first.options["benchmark"]["horizon"] == 5
    assert make_run(first, [0]).digest != make_run(second, [0]).digest
    assert allowances(first.options) == ["--allow_import=tests.envs.own_environments"]
    axes = SweepConfig(base={}, axes={"benchmark": [str(path), "MT3"]}, seeds=[0])
    assert [method.name for method in methods(axes)] == ["lines", "MT3"]


def test_clips(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the pendulum, whose picture needs no display; a line has none, which is said before anything is judged."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(ROOT)
    pendulum = {"env": "examples.pendulum:Pendulum"}
    tasks = [{"name": "long", **pendulum, "kwargs": {"length": 1.2}}, {"name": "short", **pendulum}]
    Path("swing.yaml").write_text(yaml.safe_dump({"tasks": tasks, "horizon": 20}))
    options = {k: v for k, v in SMALL_RUN.items() if k not in ("engine", "protocol", "benchmark")}
    arguments = [f"--{name}={value}" for name, value in options.items()]
    arguments += ["--evaluation.episodes=1", "--benchmark=swing.yaml", "--allow_import=examples.pendulum"]
    assert cli("train", *arguments, "--run_dir", "swing").code == 0
    result = cli("evaluate", "swing", "--episodes", 1, "--video", "clips")
    assert result.code == 0, result.err
    assert {path.name for path in Path("clips").iterdir()} == {
        "swing-step40-seed0-long.mp4",
        "swing-step40-seed0-short.mp4",
    }
    frames = imageio.imread("clips/swing-step40-seed0-long.mp4")
    assert len(frames) == 21
    assert frames[0].std() > 10


def test_what_renders_no_picture_is_said_before_the_work(own, cli: Cli, tmp_path: Path) -> None:
    run = own({}, {})
    assert_refused(cli("evaluate", run, "--video", tmp_path / "clips"), "cannot be made with", "render_mode")
    assert not (run / "evaluation").exists()


def test_what_a_file_names_is_not_imported(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(imports, "_allowed", set(imports._allowed))
    Path("home_made.py").write_text("from tests.envs.own_environments import Line")
    tasks = [{"name": "a", "env": "home_made:Line"}]
    Path("mine.yaml").write_text(yaml.safe_dump({"tasks": tasks, "horizon": 5}))
    arguments = [
        "train",
        "--benchmark",
        "mine.yaml",
        "--total_steps",
        6,
        "--random_steps",
        1,
        "--num_workers",
        0,
    ]
    arguments += ["--evaluation.episodes", 1, "--device", "cpu", "--run_dir", "run"]
    assert_refused(
        cli(*arguments), "The environment 'home_made:Line' is not of this toolkit", "--allow_import home_made"
    )
    assert "home_made" not in sys.modules
    result = cli(*arguments, "--allow_import", "home_made")
    assert result.code == 0, result.err
    monkeypatch.setattr(imports, "_allowed", set(imports.TOOLKIT))
    del sys.modules["home_made"]
    assert_refused(cli("evaluate", "run"), "--allow_import home_made")
    assert_refused(cli("train", "--resume", "run"), "--allow_import home_made")
    assert cli("report", "run").code == 0  # neither makes an environment
    assert mtrl.load_policy("run").tasks == ("a",)
    assert "home_made" not in sys.modules
    assert cli("evaluate", "run", "--episodes", 1, "--allow_import", "home_made").code == 0


@pytest.mark.parametrize(
    ("options", "sentences"),
    [
        (
            ["--engine", "batched"],
            ["environments of your own, which the engine batched does not run: choose gymnasium"],
        ),
        (["--protocol", "paper"], ["which the protocol paper is not for: choose custom"]),
        (
            ["--benchmark", "MT3", "--protocol", "custom"],
            ["Meta-World's tasks, which the protocol custom is not for"],
        ),
        (["--benchmark", "MT3", "--engine", "gymnasium"], ["which the engine gymnasium does not run"]),
        (["--benchmark", "none.yaml"], ["The benchmark none.yaml cannot be read: No such file"]),
        (["--network", "care"], ["There is no description of a, b", "--network.context learned"]),
    ],
)
def test_what_does_not_fit(benchmark_file, cli: Cli, tmp_path: Path, options, sentences) -> None:
    path = benchmark_file({}, {})
    result = cli("train", "--benchmark", path, "--run_dir", tmp_path / "run", "--num_workers", 0, *options)
    assert_refused(result, *sentences)
    assert not (tmp_path / "run").exists()


def test_spaces_that_differ_are_one_sentence_before_there_is_a_run(cli: Cli, tmp_path: Path) -> None:
    tasks = [{"name": "swing", "env": "Pendulum-v1"}, {"name": "car", "env": "MountainCarContinuous-v0"}]
    (tmp_path / "two.yaml").write_text(yaml.safe_dump({"tasks": tasks}))
    result = cli("train", "--benchmark", tmp_path / "two.yaml", "--run_dir", tmp_path / "run")
    assert_refused(
        result, "that of swing is Box([-1. -1. -8.], [1. 1. 8.]", "that of car is Box([-1.2  -0.07]"
    )
    assert not (tmp_path / "run").exists()


def test_code_that_fails_ends_the_run_with_its_traceback(
    own, cli: Cli, benchmark_file, tmp_path: Path
) -> None:
    path = benchmark_file({}, {"fails_at": 4})
    options = [f"--{k}={v}" for k, v in SMALL_RUN.items() if k not in ("engine", "protocol", "benchmark")]
    result = cli("train", "--benchmark", path, "--run_dir", tmp_path / "run", *options)
    assert result.code == 1
    assert "own_environments.py" in result.err
    assert result.err.strip().splitlines()[-1] == (
        "mtrl: The environment of task b, world 0, seed 0 failed: IndexError: the point is lost"
    )


def pendulums(run_dir: Path, *options: object) -> list[object]:
    config = ["--config", ROOT / "configs" / "pendulums.yaml", "--allow_import", "examples.pendulum"]
    return ["train", *config, "--run_dir", run_dir, *options]


def test_a_sample_of_the_pendulums(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The shipped configuration, for a short time: it learns something already."""
    monkeypatch.syspath_prepend(ROOT)
    short = ["--total_steps", 1200, "--evaluation.interval", 400, "--evaluation.episodes", 2]
    assert cli(*pendulums(tmp_path / "run", *short)).code == 0
    first, *_, last = [line for line in read_metrics(tmp_path / "run") if "evaluation/returns" in line]
    assert np.mean(last["evaluation/returns"]) > np.mean(first["evaluation/returns"]) + 200


def test_evaluations_beside_training_end_without_a_word(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """As with a GPU: the environments' processes are closed before the process that evaluates ends."""
    monkeypatch.syspath_prepend(ROOT)
    monkeypatch.setattr(trainer, "ForegroundEvaluator", lambda config, *_: BackgroundEvaluator(config))
    short = [
        "--total_steps",
        20,
        "--random_steps",
        10,
        "--evaluation.interval",
        20,
        "--evaluation.episodes",
        1,
    ]
    assert main([str(word) for word in pendulums(tmp_path / "run", "--num_workers", 1, *short)]) == 0
    time.sleep(1)  # what a process that lost its connection prints comes later
    assert "Error" not in capfd.readouterr().err


@pytest.mark.slow
def test_the_pendulums_learn(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All four stand upright at the end of nearly every episode; at random the return is about -1,200."""
    monkeypatch.syspath_prepend(ROOT)
    assert cli(*pendulums(tmp_path / "run")).code == 0
    last = read_metrics(tmp_path / "run")[-1]
    assert (np.array(last["evaluation/returns"]) > -300).all()
    assert (np.array(last["evaluation/success"]) >= 0.9).all()
    scores = Scores.read(tmp_path / "run" / "metrics.jsonl")
    assert not math.isnan(scores[scores.best()])
