"""The files of a run say the same of it, wherever they are read."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

import mtrl
from mtrl.storage import checkpoint, checkpoints
from mtrl.storage.check_run import DisagreementError, check_run
from mtrl.storage.checkpoint import seal
from mtrl.storage.json_lines import read_experiment
from tests.mtrl.cli.test_cli import assert_refused
from tests.mtrl.conftest import Result, forget_logs

Cli = Callable[..., Result]
Train = Callable[..., Path]
Edit = Callable[[dict[str, Any]], Any]

#: What is edited in config.yaml, and the name that the sentence has.
CONFIGURATIONS: dict[str, tuple[str, Edit]] = {
    "seeds": ("seeds", lambda c: c.update(seeds=[1])),
    "a seed that is no whole number": ("seeds", lambda c: c.update(seeds=[0.0])),
    "a further seed": ("seeds", lambda c: c.update(seeds=[0, 1])),
    "an option": ("agent.tau", lambda c: c["agent"].update(tau=0.5)),
    "an option that is gone": ("agent.tau", lambda c: c["agent"].pop("tau")),
    "an option that was not there": ("agent.new", lambda c: c["agent"].update(new=1)),
    "a class": ("balancer", lambda c: c.update(balancer={"class_path": "mtrl.balancers.ls.LS"})),
    "no class": ("balancer", lambda c: c.update(balancer=None)),
    "an option of a class": ("network.width", lambda c: c["network"]["init_args"].update(width=9)),
    "the protocol": ("protocol", lambda c: c.update(protocol="paper")),
    "the tasks": ("benchmark", lambda c: c.update(benchmark="MT10")),
    "the engine": ("engine", lambda c: c.update(engine="batched")),
}
#: The same in stamp.json.
STAMPS: dict[str, tuple[str, Edit]] = {
    "the horizon": ("protocol.horizon", lambda s: s["protocol"].update(horizon=7)),
    "no horizon": ("protocol.horizon", lambda s: s["protocol"].pop("horizon")),
    "a rule that was not there": ("protocol.new", lambda s: s["protocol"].update(new=1)),
    "no protocol's name": ("protocol.name", lambda s: s["protocol"].pop("name")),
    "a task": ("benchmark.tasks", lambda s: s["benchmark"]["tasks"].__setitem__(0, "reach-v3")),
    "goals": ("benchmark.joint_goals", lambda s: s["benchmark"].update(joint_goals=True)),
    "the benchmark": ("benchmark.name", lambda s: s["benchmark"].update(name="MT10")),
    "the engine": ("engine", lambda s: s.update(engine="batched")),
    "no engine": ("engine", lambda s: s.pop("engine")),
    "the size of observations": ("observation_size", lambda s: s.update(observation_size=40)),
    "no size of observations": ("observation_size", lambda s: s.pop("observation_size")),
    "the size of actions": ("action_size", lambda s: s.update(action_size=5)),
    "an option": ("agent.tau", lambda s: s["experiment"].update({"agent.tau": 0.5})),
    "seeds": ("seeds", lambda s: s["experiment"].update(seeds=[1])),
    "a number for the options": ("experiment", lambda s: s.update(experiment=3)),
}


def edit(run: Path, name: str, change: Edit) -> None:
    path = run / name
    read, write = (json.loads, json.dumps) if name == "stamp.json" else (yaml.safe_load, yaml.safe_dump)
    content = read(path.read_text())
    change(content)
    path.write_text(write(content))


def forget(run: Path) -> None:
    """Makes the files what an older version wrote: nothing but the configuration says what the options were."""
    edit(run, "stamp.json", lambda s: s.pop("experiment"))
    forget_logs(run)
    for step in checkpoints.steps(run / "checkpoints"):
        path = run / "checkpoints" / f"step_{step:010d}"
        manifest = checkpoint.read_manifest(path)
        loop = manifest["values"]["loop"]
        loop["tasks"] = loop["benchmark"]["tasks"]
        for name in ("experiment", "protocol", "benchmark", "engine", "observation_size", "action_size"):
            del loop[name]
        (path / "manifest.json").write_text(seal(manifest))


EDITS = [
    *(("config.yaml", case, *edited) for case, edited in CONFIGURATIONS.items()),
    *(("stamp.json", case, *edited) for case, edited in STAMPS.items()),
]


@pytest.mark.parametrize(("file", "case", "name", "change"), EDITS, ids=[f"{f}: {c}" for f, c, *_ in EDITS])
def test_an_edited_copy_is_no_other_run(
    finished: Path, cli: Cli, tmp_path: Path, file: str, case: str, name: str, change: Edit
) -> None:
    """By every command: the copy is no further seed, no other method, and nothing is computed with it."""
    copy = shutil.copytree(finished, tmp_path / "copy")
    edit(copy, file, change)
    result = cli("report", finished, copy, "--allow_mixed", "--output", tmp_path / "report")
    assert_refused(result, f"{copy} disagree", f"{name} is", file)
    assert not (tmp_path / "report").exists()
    for command in (
        ["evaluate", copy, "--episodes", 1, "--engine", "reference"],
        ["train", "--resume", copy, "--total_steps", 60],
        ["export", copy, "--format", "torch"],
    ):
        assert_refused(cli(*command))
    with pytest.raises(ValueError, match=r"\.$"):
        mtrl.load_policy(copy)
    shutil.rmtree(copy / "checkpoints")  # as `mtrl sweep --collect` leaves it
    if file == "config.yaml" or name in ("benchmark.name", "engine", "agent.tau", "seeds", "experiment"):
        assert_refused(cli("report", finished, copy, "--allow_mixed"), f"{copy} disagree", f"{name} is", file)


@pytest.mark.parametrize("size", ["observation_size", "action_size"])
@pytest.mark.parametrize("value", [1, 38, 40, 48])
def test_sizes_that_are_not_meta_worlds(finished: Path, cli: Cli, size: str, value: int) -> None:
    """Inputs are padded, so weights do not tell; nor do the checkpoints of older versions."""
    forget(finished)
    edit(finished, "stamp.json", lambda s: s.update({size: value}))
    for command in (
        ["evaluate", finished, "--episodes", 1, "--engine", "reference"],
        ["train", "--resume", finished, "--total_steps", 60],
        ["report", finished],
        ["export", finished, "--format", "torch"],
    ):
        assert_refused(cli(*command), size, str(value))
    with pytest.raises(DisagreementError, match=size):
        mtrl.load_policy(finished)


def test_runs_of_older_versions_are_held_to_what_they_say(finished: Path, cli: Cli) -> None:
    forget(finished)
    assert cli("report", finished).code == 0
    assert cli("evaluate", finished, "--episodes", 1, "--engine", "reference").code == 0
    mtrl.load_policy(finished)
    edit(finished, "stamp.json", lambda s: [s.pop(n) for n in ("observation_size", "action_size")])
    mtrl.load_policy(finished)
    assert cli("train", "--resume", finished, "--total_steps", 60).code == 0
    check_run(finished)
    edit(finished, "config.yaml", lambda c: c.update(seeds=[1]))  # the new checkpoint says what they were
    assert_refused(cli("report", finished), "seeds is [1] in config.yaml and [0] in its checkpoint")


def test_a_longer_run_agrees(finished: Path, cli: Cli) -> None:
    assert cli("train", "--resume", finished, "--total_steps", 60).code == 0
    assert cli("report", finished).code == 0


def test_a_checkpoint_beyond_the_end(finished: Path, cli: Cli) -> None:
    """Whose evaluation is gone, or never was: nothing else tells."""
    edit(finished, "config.yaml", lambda c: c.update(total_steps=39))
    path = finished / "metrics.jsonl"
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(line for line in lines if '"step": 40' not in line))
    for command in (
        ["evaluate", finished, "--episodes", 1, "--engine", "reference"],
        ["train", "--resume", finished],
        ["report", finished],
    ):
        assert_refused(cli(*command), "ends at step 39", "step_0000000040", "Restore the total_steps")


@pytest.mark.parametrize("content", ["{", ""])
def test_a_report_needs_no_checkpoint_that_can_be_read(finished: Path, cli: Cli, content: str) -> None:
    for path in finished.glob("checkpoints/*/manifest.json"):
        path.write_text(content)
    assert cli("report", finished).code == 0


def test_many_differences_are_one_sentence(finished: Path, cli: Cli) -> None:
    edit(finished, "config.yaml", lambda c: c.pop("agent"))
    assert_refused(cli("report", finished), "and 15 more differ")


# ------------------------------------------------------------------------------------------------ copies


def collected(run: Path, name: str) -> Path:
    """A copy without checkpoints, by a version whose stamps and logs did not say what the options were."""
    copy = shutil.copytree(run, run.with_name(name), ignore=shutil.ignore_patterns("checkpoints"))
    edit(copy, "stamp.json", lambda s: s.pop("experiment"))
    forget_logs(copy)
    return copy


def test_a_copy_with_another_seed_is_no_further_seed(train: Train, cli: Cli) -> None:
    """Nothing but the losses tells."""
    first, second = train("first", seeds="0,1"), train("second", seeds="2")
    copies = [collected(run, f"{run.name}_copy") for run in (first, second)]
    assert cli("report", *copies).code == 0
    edit(copies[0], "config.yaml", lambda c: c.update(seeds=[3, 4]))
    assert cli("report", *copies).code == 0
    assert_refused(cli("report", first, *copies), "Seed 0", "seed 3", "same losses to the last digit")
    path = copies[0] / "metrics.jsonl"  # also where lines of it are gone, and seeds in another order
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(lines[len(lines) // 2 :]))
    edit(copies[0], "config.yaml", lambda c: c.update(seeds=[4, 3]))
    assert_refused(cli("report", first, copies[0]), "Seed 1", "seed 3", "same losses")
    edit(copies[0], "config.yaml", lambda c: c.update(seeds=[0, 1]))
    assert_refused(cli("report", first, copies[0]), "Seed 0", "counted twice")


def test_a_copy_as_another_method_is_named(train: Train, cli: Cli) -> None:
    first = train("first")
    copy = collected(first, "copy")
    edit(copy, "config.yaml", lambda c: c["agent"].update(tau=0.5))
    result = cli("report", first, copy)
    assert result.code == 0
    assert f"{first} and {copy} have the same losses to the last digit in every line" in result.err
    other = train("other", agent__tau=0.5)
    assert "same losses" not in cli("report", first, other).err


# ------------------------------------------------------------------------------------------------ other runs' files


@pytest.fixture
def three(train: Train, cli: Cli) -> dict[str, Path]:
    """Three runs that differ in the method or the seed, each evaluated."""
    runs = {"run": train("run"), "LS": train("LS", balancer="LS"), "seed": train("seed", seeds="7")}
    for path in runs.values():
        assert cli("evaluate", path, "--episodes", 1, "--engine", "reference").code == 0
    return runs


@pytest.mark.parametrize(("other", "name"), [("LS", "balancer"), ("seed", "seeds")])
@pytest.mark.parametrize("file", ["metrics.jsonl", "timing.jsonl", "evaluation"])
def test_a_file_of_another_run_counts_nowhere(
    three: dict[str, Path], cli: Cli, other: str, name: str, file: str
) -> None:
    run = three["run"]
    shutil.rmtree(run / "evaluation")
    assert cli("report", run).code == 0
    if file == "evaluation":
        shutil.copytree(three[other] / file, run / file)
        result = cli("report", run, "--source", "evaluation")
        assert result.code == 2
        assert ("has other seeds" if other == "seed" else "balancer is 'mtrl.balancers.aligned") in result.err
        return
    shutil.copy(three[other] / file, run / file)
    for command in (
        ["report", run],
        ["evaluate", run, "--episodes", 1, "--engine", "reference"],
        ["train", "--resume", run, "--total_steps", 60],
    ):
        assert_refused(cli(*command), f"{run} disagree", f"{name} is", f"in {file}")


def test_a_file_says_of_which_run_it_is(three: dict[str, Path], cli: Cli) -> None:
    """Also of a longer run, and of one that was stopped and goes on; what older versions wrote says nothing."""
    run = three["LS"]
    assert cli("train", "--resume", run, "--total_steps", 60).code == 0
    expected = json.loads((run / "stamp.json").read_text())["experiment"]
    assert [read_experiment(run / name) for name in ("metrics.jsonl", "timing.jsonl")] == [expected] * 2
    (path,) = (run / "evaluation").iterdir()
    content = json.loads(path.read_text())
    assert content.pop("experiment") == expected
    path.write_text(json.dumps(content))
    forget_logs(run)
    assert cli("report", run, "--source", "evaluation").code == 0


@pytest.mark.parametrize("first", [b'{"step": 0, "experiment": 3}\n', b'{"step": 0, "experiment": {}}\n'])
def test_a_first_line_that_nothing_wrote(finished: Path, cli: Cli, first: bytes) -> None:
    path = finished / "metrics.jsonl"
    path.write_bytes(first + path.read_bytes().partition(b"\n")[2])
    assert_refused(cli("report", finished), f"{finished} disagree", "in metrics.jsonl")


def test_an_evaluation_of_the_same_run_made_longer(train: Train, cli: Cli) -> None:
    run, longer = train("run"), train("longer", total_steps=60)
    assert cli("evaluate", longer, "--episodes", 1, "--engine", "reference").code == 0
    shutil.copytree(longer / "evaluation", run / "evaluation")
    result = cli("report", run, "--source", "evaluation")
    assert_refused(result, "an evaluation of step 60", "ends at step 40", "out of the evaluation directory")


def test_an_evaluation_is_not_written_into_another_run(train: Train, cli: Cli) -> None:
    run, other = train("run"), train("other", seeds="7")
    (other / "evaluation").mkdir()
    (run / "evaluation").symlink_to(other / "evaluation")
    result = cli("evaluate", run, "--episodes", 1, "--engine", "reference")
    assert_refused(result, f"{run / 'evaluation'} is a link into another run")
    assert list((other / "evaluation").iterdir()) == []
