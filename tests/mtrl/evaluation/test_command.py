"""`mtrl evaluate` as users call it: what it prints, what it writes, what it refuses."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from envs import VectorEnv
from mtrl.config.build import make_evaluation_env
from mtrl.config.train import TrainConfig
from mtrl.storage import checkpoint, checkpoints
from tests.mtrl.cli.test_cli import assert_refused
from tests.mtrl.conftest import Result, forget_logs, read_metrics

Cli = Callable[..., Result]
Train = Callable[..., Path]
FAKE = ("--engine", "reference")


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory: what a refused command leaves behind is seen there."""
    directory = tmp_path / "elsewhere"
    directory.mkdir()
    monkeypatch.chdir(directory)
    return directory


def test_evaluation_of_a_run(train: Train, cli: Cli, tmp_path: Path) -> None:
    run = train("run", seeds="3,5", total_steps=60)
    result = cli("evaluate", run, "--episodes", 5, "--engine", "reference")
    assert result.code == 0
    for word in ("drawer-close-v3", "seed 3", "seed 5", "mean", "step 60", "mean over the tasks"):
        assert word in result.out
    (path,) = (run / "evaluation").iterdir()
    found = json.loads(path.read_text())
    success = np.array(found["episodes"]["success"])
    assert success.shape == (2, 3, 5)
    assert found["step"] == 60
    assert found["seeds"] == [3, 5]
    np.testing.assert_allclose(found["mean_success"], success.mean((1, 2)))
    other = tmp_path / "other.json"
    more = ["--checkpoint", "40", "--output", other, "--worlds_per_task", 2, "--seed", 7]
    assert cli("evaluate", run, "--episodes", 3, "--engine", "reference", *more).code == 0
    assert json.loads(other.read_text())["step"] == 40


def test_evaluation_is_the_one_of_training(train: Train, cli: Cli, tmp_path: Path) -> None:
    """The checkpoint of the last step, the same goals and number of episodes: the same outcomes."""
    run = train("run", seeds="3,5")
    assert (
        cli("evaluate", run, "--episodes", 4, "--engine", "reference", "--output", tmp_path / "e.json").code
        == 0
    )
    found = json.loads((tmp_path / "e.json").read_text())["episodes"]
    line = read_metrics(run)[-1]
    for name in ("success", "returns"):
        np.testing.assert_allclose(np.mean(found[name], -1), line[f"evaluation/{name}"], rtol=1e-6)


def test_evaluation_changes_nothing_of_the_run(finished: Path, cli: Cli) -> None:
    run = finished
    before = {p: p.read_bytes() for p in run.rglob("*") if p.is_file()}
    assert cli("evaluate", run, "--episodes", 2, "--engine", "reference").code == 0
    assert {
        p: p.read_bytes() for p in run.rglob("*") if p.is_file() and p.parent.name != "evaluation"
    } == before


def test_a_run_of_another_machine(finished: Path, cli: Cli) -> None:
    """Trained on a GPU, evaluated without one."""
    run = finished
    config = run / "config.yaml"
    config.write_text(config.read_text().replace("device: cpu", "device: cuda"))
    for device in ("auto", "cpu"):
        assert cli("evaluate", run, "--episodes", 1, "--engine", "reference", "--device", device).code == 0


@pytest.mark.parametrize(
    ("trained_with", "options", "expected"),
    [
        (17, [], None),
        (17, ["--num_workers", 3], 3),
        (0, [], 0),
        (0, ["--num_workers", 1], 1),
        (None, [], None),
    ],
)
def test_a_run_of_a_machine_with_other_cores(
    finished: Path,
    cli: Cli,
    monkeypatch: pytest.MonkeyPatch,
    trained_with: int | None,
    options: list[object],
    expected: int | None,
) -> None:
    """As many simulate as there are cores here, however many did in training."""
    config = finished / "config.yaml"
    options_there = yaml.safe_load(config.read_text()) | {"num_workers": trained_with}
    config.write_text(yaml.safe_dump(options_there))
    made: list[int | None] = []

    def make(config: TrainConfig, *arguments: Any) -> VectorEnv:
        made.append(config.num_workers)
        return make_evaluation_env(config, *arguments)

    monkeypatch.setattr("mtrl.evaluation.checkpoint.make_evaluation_env", make)
    assert cli("evaluate", finished, "--episodes", 1, *FAKE, *options).code == 0
    assert made == [expected]


BAD_EVALUATIONS = {
    "checkpoint": (["--checkpoint", "30"], ["no checkpoint '30'", "20, 40"]),
    "word for a checkpoint": (["--checkpoint", "newest"], ["no checkpoint 'newest'", "last, best"]),
    "no episodes": (["--episodes", "0"], ["episodes", "0"]),
    "episodes without an end": (["--episodes", "1e30"], ["below 2**31", "1" + "0" * 30]),
    "worlds without an end": (["--worlds_per_task", "1e10"], ["below 2**31", "10000000000"]),
    "negative worlds": (["--worlds_per_task", "-2"], ["worlds_per_task", "-2"]),
    "negative workers": (["--num_workers", "-1"], ["num_workers must not be negative", "-1"]),
    "workers without an end": (["--num_workers", "1e10"], ["below 2**31", "10000000000"]),
    "engine": (["--engine", "fast"], ["fast"]),
    "key": (["--episode", "3"], ["'episode'", "did you mean 'episodes'?"]),
    "seed": (["--seed", "-4"], ["seed", "-4"]),
    "another directory that is no run": (["now"], ["now"]),
    "seed of training": (["--seed", "0"], ["--seed 0", "trained with"]),
    "seed of no clips": (
        ["--video_seed", "0"],
        ["--video_seed is of clips, and without --video there are none"],
    ),
    "seed of the clips": (["--video", "clips", "--video_seed", "7"], ["video_seed", "one of 0", "7"]),
    "camera": (["--video", "clips", "--camera", "front"], ["camera", "corner2", "topview", "front"]),
    "file where clips should be": (["--video", "file/clips"], ["file/clips", "not a directory"]),
    "file where the output should be": (["--output", "file/e.json"], ["file", "not a directory"]),
    "directory for a file": (["--output", "."], ["--output must be a file"]),
    "file of something else": (["--output", "file"], ["--output must be a file, a new one", "file is not"]),
}


@pytest.mark.parametrize("case", BAD_EVALUATIONS)
def test_bad_evaluations(finished: Path, elsewhere: Path, cli: Cli, case: str) -> None:
    options, words = BAD_EVALUATIONS[case]
    (elsewhere / "file").write_text("precious")
    run = finished
    # The run comes after an option, so that "now" is beside it.
    assert_refused(cli("evaluate", *FAKE, run, *options), *words)
    assert not (run / "evaluation").exists()
    assert [p.name for p in elsewhere.iterdir()] == ["file"]
    assert (elsewhere / "file").read_text() == "precious"


@pytest.mark.parametrize("damage", ["missing", "truncated", "no checkpoints"])
def test_evaluation_of_a_damaged_checkpoint(finished: Path, cli: Cli, damage: str) -> None:
    run = finished
    path = run / "checkpoints" / "step_0000000040" / "agent.safetensors"
    if damage == "missing":
        path.unlink()
    elif damage == "truncated":
        path.write_bytes(path.read_bytes()[:100])
    else:
        (run / "checkpoints").rename(run / "elsewhere")
    assert_refused(cli("evaluate", run, "--engine", "reference"), "checkpoint")


def test_evaluation_of_no_run(cli: Cli, elsewhere: Path) -> None:
    assert_refused(cli("evaluate", "nowhere"), "nowhere is no run directory")
    assert_refused(cli("evaluate", "."), "no run directory")
    assert_refused(cli("evaluate"), "run_dir")
    assert list(elsewhere.iterdir()) == []


def test_evaluation_of_one_run_twice(finished: Path, cli: Cli) -> None:
    assert_refused(cli("evaluate", *FAKE, finished, finished / "."), "given twice")


def test_every_episode_is_written_with_its_goal(train: Train, cli: Cli) -> None:
    run = train("run", seeds="3,5")
    assert cli("evaluate", run, *FAKE, "--episodes", 7).code == 0
    found = json.loads(
        (run / "evaluation" / "step_0000000040-reference-7_episodes-seed_1000000-1_worlds.json").read_text()
    )
    goals = np.array(found["episodes"]["goal"])
    assert goals.shape == (2, 3, 7, 3)
    np.testing.assert_array_equal(goals[0], goals[1])  # the same for every trained seed
    np.testing.assert_array_equal(goals[:, :, 5:], goals[:, :, :2])  # there are five
    assert len(np.unique(goals[0, 0], axis=0)) == 5
    for name in ("success", "success_at_end", "returns", "steps_to_success"):
        assert np.shape(found["episodes"][name]) == (2, 3, 7)
    assert found["policy"] == "mean"


def test_tables_are_of_every_measure_with_sem_and_number_of_seeds(train: Train, cli: Cli) -> None:
    run = train("run", seeds="0,1,2")
    result = cli("evaluate", run, *FAKE, "--episodes", 4)
    for words in ("at any step", "at the last step", "return", "first success", "(n = 3)"):
        assert words in result.out
    found = json.loads(
        (run / "evaluation" / "step_0000000040-reference-4_episodes-seed_1000000-1_worlds.json").read_text()
    )
    of_seeds = np.mean(found["episodes"]["success"], (1, 2))
    sem = np.std(of_seeds, ddof=1) / np.sqrt(3)
    assert f"{of_seeds.mean():.3f} ± {sem:.3f} (n = 3)" in result.out


def test_runs_that_differ_in_their_seeds_share_a_table(train: Train, cli: Cli, tmp_path: Path) -> None:
    runs = [train("first", seeds="0,1"), train("second", seeds="2"), train("third", seeds="2", balancer="LS")]
    result = cli("evaluate", *runs, *FAKE, "--episodes", 4, "--output", tmp_path / "all.json")
    assert result.code == 0, result.err
    assert "(n = 3)" in result.out
    assert result.out.count("success at any step") == 3  # two methods and the summary of both
    together = json.loads((tmp_path / "all.json").read_text())
    assert [e["seeds"] for e in together] == [[0, 1], [2], [2]]
    for run, evaluation in zip(runs, together, strict=True):
        assert not (run / "evaluation").exists()
        assert cli("evaluate", run, *FAKE, "--episodes", 4).code == 0
        alone = json.loads(
            (
                run / "evaluation" / "step_0000000040-reference-4_episodes-seed_1000000-1_worlds.json"
            ).read_text()
        )
        assert alone == evaluation


def test_an_option_that_an_older_version_did_not_know_has_its_default(train: Train, cli: Cli) -> None:
    """As in `mtrl report`: a run of before that option and one of after it are of one method."""
    old, new = train("old", seeds="0"), train("new", seeds="1")
    config = yaml.safe_load((old / "config.yaml").read_text())
    del config["staggered"], config["agent"]["weight_decay"]
    (old / "config.yaml").write_text(yaml.safe_dump(config))
    path = checkpoints.find(old / "checkpoints", "last")
    manifest = checkpoint.read_manifest(path)
    stamp = json.loads((old / "stamp.json").read_text())
    for name in ("staggered", "agent.weight_decay"):
        del manifest["values"]["loop"]["experiment"][name], stamp["experiment"][name]
    (old / "stamp.json").write_text(json.dumps(stamp))
    (path / "manifest.json").write_text(checkpoint.seal(manifest))
    forget_logs(old)
    result = cli("evaluate", old, new, *FAKE, "--episodes", 1)
    assert result.code == 0, result.err
    assert "(n = 2)" in result.out


def test_sampled_actions_are_those_of_the_evaluations_seed(train: Train, cli: Cli, tmp_path: Path) -> None:
    """Other actions than the mean ones, the same each time, whatever training drew and whoever is evaluated beside."""

    def episodes(run: Path, *options: object) -> dict[str, list]:
        path = tmp_path / "e.json"
        result = cli("evaluate", run, *FAKE, "--episodes", 4, "--output", path, *options)
        assert result.code == 0, result.err
        return json.loads(path.read_text())["episodes"]

    pair, alone = train("pair", seeds="3,5"), train("alone", seeds="5")
    mean, sampled = episodes(pair), episodes(pair, "--sampled")
    assert sampled["returns"] != mean["returns"]
    assert sampled["goal"] == mean["goal"]
    assert episodes(pair, "--sampled") == sampled
    np.testing.assert_allclose(episodes(alone, "--sampled")["returns"][0], sampled["returns"][1], rtol=1e-5)
    assert episodes(pair, "--sampled", "--seed", 9)["returns"] != sampled["returns"]


def test_sampled_actions_do_not_overwrite_the_mean_action(finished: Path, cli: Cli) -> None:
    for options in ([], ["--sampled"], []):
        assert cli("evaluate", finished, *FAKE, "--episodes", 1, *options).code == 0
    found = {
        path.name: json.loads(path.read_text())["policy"] for path in (finished / "evaluation").iterdir()
    }
    assert found == {
        "step_0000000040-reference-1_episodes-seed_1000000-1_worlds.json": "mean",
        "step_0000000040-reference-1_episodes-seed_1000000-1_worlds-sampled.json": "sampled",
    }


def test_no_evaluation_replaces_another(finished: Path, cli: Cli) -> None:
    """The report takes the one with the most episodes, and says so."""
    settings: list[list[object]] = [
        ["--episodes", 4],
        ["--episodes", 5],
        ["--episodes", 4, "--seed", 7],
        ["--episodes", 4, "--worlds_per_task", 2],
        ["--episodes", 4, "--sampled"],
        ["--episodes", 4, "--checkpoint", 20],
    ]
    kept: dict[Path, bytes] = {}
    for number, options in enumerate(settings, start=1):
        assert cli("evaluate", finished, *FAKE, *options).code == 0
        found = {path: path.read_bytes() for path in (finished / "evaluation").iterdir()}
        assert len(found) == number
        assert kept.items() <= found.items()
        kept = found
    assert cli("evaluate", finished, *FAKE, *settings[0]).code == 0
    assert {path: path.read_bytes() for path in (finished / "evaluation").iterdir()} == kept
    result = cli("report", finished, "--source", "evaluation")
    assert result.code == 0, result.err
    assert (
        "its evaluations with 5 episodes, mean action, reference engine, goal seed 1000000, 1 worlds"
        in result.err
    )
    assert (
        "those with 4 episodes, mean action, reference engine, goal seed 1000000, 2 worlds per task;"
        in result.err
    )


def test_best_checkpoint(train: Train, cli: Cli) -> None:
    run = train("run", total_steps=60)
    best = max(
        (line for line in read_metrics(run) if "evaluation/success" in line),
        key=lambda line: (np.mean(line["evaluation/success"]), -line["step"]),
    )["step"]
    assert cli("evaluate", run, *FAKE, "--episodes", 1, "--checkpoint", "best").code == 0
    assert (
        run / "evaluation" / f"step_{best:010d}-reference-1_episodes-seed_1000000-1_worlds.json"
    ).is_file()
