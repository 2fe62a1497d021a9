"""`mtrl report` as users call it: tables on stdout, files on request, a sentence for what is wrong with a run."""

import csv
import json
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pytest
import yaml

from tests.mtrl.conftest import Result
from tests.mtrl.reporting.conftest import TASKS, Write
from tests.mtrl.system.test_terminal import NAMES

Cli = Callable[..., Result]

# [n, S, T]: means over tasks 0.1, 0.2 | 0.5, 0.9 | 0.4, 0.8 of the two seeds
SUCCESS = [[[0.0, 0.2], [0.2, 0.2]], [[0.4, 0.6], [0.8, 1.0]], [[0.3, 0.5], [0.6, 1.0]]]
BETTER = np.minimum(np.array(SUCCESS) + 0.1, 1.0)


@pytest.fixture(autouse=True)
def wide(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "250")


def refused(result: Result) -> str:
    """The one sentence on stderr of a refused command."""
    assert result.code == 2, result
    assert result.out == ""
    assert result.err.startswith("mtrl: ")
    assert result.err.count("\n") == 1
    assert "Traceback" not in result.err
    return result.err


def records(directory: Path, table: str) -> list[dict[str, str]]:
    with (directory / f"{table}.csv").open() as file:
        return list(csv.DictReader(file))


def test_tables_and_files(write_run: Write, cli: Cli, tmp_path: Path) -> None:
    write_run("ls", SUCCESS)
    write_run("pcgrad", BETTER, balancer="PCGrad")
    result = cli("report", tmp_path / "runs", "--output", tmp_path / "out")
    assert result.code == 0, result.err
    assert "final (each seed's last evaluation)" in result.out
    assert "0.600 ± 0.200" in result.out
    names = {path.name for path in (tmp_path / "out").iterdir()}
    tables = {"methods", "seeds", "statistics", "tasks", "reached", "improvement"}
    figures = {"learning_curves", "tasks", "heat_map", "condition_number", "cosine"}
    assert names == {"report.md", "report.json"} | {f"{t}.csv" for t in tables} | {
        f"{f}.png" for f in figures
    }

    ls, pcgrad = records(tmp_path / "out", "methods")
    assert (ls["method"], pcgrad["method"]) == ("LS", "PCGrad")
    assert float(ls["mean ± SEM"]) == pytest.approx(0.6)
    assert float(ls["mean ± SEM_sem"]) == pytest.approx(0.2)
    assert float(ls["IQM [95%]_low"]) < float(ls["IQM [95%]"]) < float(ls["IQM [95%]_high"])
    content = json.loads((tmp_path / "out" / "report.json").read_text())
    assert content["statistic"] == "final"
    assert content["notes"] == []
    assert [row["success"] for row in content["tables"]["seeds"][:2]] == pytest.approx([0.4, 0.8])
    markdown = (tmp_path / "out" / "report.md").read_text()
    assert "Statistic: final" in markdown
    assert "0.600 ± 0.200" in markdown
    assert all(f"{f}.png" in markdown for f in figures)


@pytest.mark.parametrize(
    ("statistic", "expected"),
    [("final", [0.4, 0.8]), ("last_k", [0.45, 0.85]), ("paper_max", [0.5, 0.9])],
)
def test_each_statistic_is_labelled(
    write_run: Write, cli: Cli, tmp_path: Path, statistic: str, expected: list[float]
) -> None:
    run = write_run("run", SUCCESS)
    result = cli("report", run, "--statistic", statistic, "--last_k", "2", "--output", tmp_path / "out")
    assert result.code == 0
    content = json.loads((tmp_path / "out" / "report.json").read_text())
    assert [row["success"] for row in content["tables"]["seeds"]] == pytest.approx(expected)
    (side,) = content["tables"]["statistics"]
    assert side["final"] == pytest.approx(0.6)
    assert side["last_k"] == pytest.approx(0.65)
    assert side["paper_max"] == pytest.approx(0.7)
    assert f"Each seed's mean success over tasks, {statistic} (" in result.out


def test_steps_and_time_to_a_success(write_run: Write, cli: Cli, tmp_path: Path) -> None:
    run = write_run("run", SUCCESS)
    (
        run / "timing.jsonl"
    ).write_text(  # a rate of 1 and 2 steps per second: 100 s, then 50 s for each evaluation
        '{"step": 100, "seconds": 7.0, "steps_per_second": 1.0}\n'
        '{"step": 300, "seconds": 9.0, "steps_per_second": 2.0}\n'
    )
    assert cli("report", run, "--output", tmp_path / "out").code == 0
    half, most, nearly_all = records(tmp_path / "out", "reached")
    assert (half["seeds that reached it"], half["steps per task"]) == ("2 of 2", "200")
    assert float(half["minutes"]) == pytest.approx(150 / 60)
    assert (most["seeds that reached it"], most["steps per task"], most["minutes"]) == ("1 of 2", "", "")
    assert nearly_all["seeds that reached it"] == "1 of 2"


def test_published_figures_are_marked(write_run: Write, cli: Cli, tmp_path: Path) -> None:
    run = write_run("run", SUCCESS)
    result = cli("report", run, "--published")
    assert result.code == 0
    assert "no published figures for MT2" in result.err
    for name in ("config.yaml", "stamp.json"):
        (run / name).write_text((run / name).read_text().replace("MT2", "MT10"))
    assert cli("report", run, "--published", "--output", tmp_path / "out").code == 0
    rows = records(tmp_path / "out", "published")
    assert all(row["method"].endswith("(published)") for row in rows)
    aligned = next(row for row in rows if row["method"].startswith("Aligned-MTL"))
    assert (aligned["success"], aligned["success_sem"], aligned["seeds"]) == ("0.97", "0.045", "10")
    assert "impossible" in aligned["note"]
    assert "(published)" not in (tmp_path / "out" / "methods.csv").read_text()


def test_different_protocols_are_refused_in_one_table(write_run: Write, cli: Cli, tmp_path: Path) -> None:
    write_run("a", SUCCESS)
    write_run("b", BETTER, balancer="PCGrad", protocol={"name": "other", "horizon": 7})
    error = refused(cli("report", tmp_path / "runs", "--output", tmp_path / "out"))
    assert "not comparable: protocol.name is tiny and other" in error
    assert "--allow_mixed" in error
    assert not (tmp_path / "out").exists()
    result = cli("report", tmp_path / "runs", "--allow_mixed")
    assert result.code == 0
    assert "Mixed protocols" in result.err
    assert "P(X > Y)" not in result.out  # no such comparison across protocols


def test_evaluations_of_their_own(write_run: Write, cli: Cli, tmp_path: Path) -> None:
    run = write_run("run", SUCCESS)
    assert "no checkpoint for one" in refused(cli("report", run, "--source", "evaluation"))
    (run / "checkpoints").mkdir()
    assert "mtrl evaluate" in refused(cli("report", run, "--source", "evaluation"))
    evaluated = {"step": 300, "tasks": TASKS, "seeds": [0, 1]}
    episodes = {"success": [[[1, 0], [1, 1]], [[1, 1], [None, 1]]]}
    (run / "evaluation").mkdir()
    (run / "evaluation" / "a.json").write_text(json.dumps(evaluated | {"episodes": episodes}))
    result = cli("report", run, "--source", "evaluation", "--output", tmp_path / "out")
    assert result.code == 0, result.err
    assert [float(r["success"]) for r in records(tmp_path / "out", "seeds")] == [0.75, 1.0]
    (run / "evaluation" / "b.json").write_text(
        json.dumps(evaluated | {"episodes": episodes})
    )  # the same again
    assert cli("report", run, "--source", "evaluation").code == 0
    other = {"success": [[[0, 0], [1, 1]], [[1, 1], [None, 1]]]}
    (run / "evaluation" / "b.json").write_text(json.dumps(evaluated | {"episodes": other}))
    error = refused(cli("report", run, "--source", "evaluation"))
    assert "b.json and a.json evaluate step 300 with the same settings and have other outcomes" in error


def write_evaluation(run: Path, success: object, name: str = "a", **content: object) -> None:
    evaluated = {"step": 300, "tasks": TASKS, "seeds": [0, 1], "policy": "mean", "goal_seed": 7}
    path = run / "evaluation" / f"{name}.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(evaluated | {"episodes": {"success": success}} | content))


EPISODES = [[[1, 0], [1, 1]], [[1, 1], [0, 1]]]
DAMAGED_EVALUATIONS = {
    "half of it": ('{"step": 300, "epi', "a.json is not valid JSON"),
    "nothing": ("", "a.json is not valid JSON"),
    "several runs": ("[{}]", "a.json must be a mapping of names to values, and it is a list"),
    "no episodes": ({"episodes": None}, "a.json has no 'episodes'"),
    "no success": ({"episodes": {}}, "a.json must hold a step and the success"),
    "no step": ({"step": None}, "a.json must hold a step"),
    "other seeds": ({"seeds": [0, 2]}, "a.json has other seeds"),
    "words": ({"episodes": {"success": [[["yes"]]]}}, "numbers do not form an array"),
    "a seed too few": ({"episodes": {"success": EPISODES[:1]}}, "a success rate for 2 seeds and 2 tasks"),
    "rates for episodes": ({"episodes": {"success": EPISODES[0]}}, "each seed, task and episode"),
    "more than success": ({"episodes": {"success": [[[2, 2]] * 2] * 2}}, "not between 0 and 1"),
    "no outcome": ({"episodes": {"success": [[[None]] * 2] * 2}}, "no evaluation has an outcome"),
    "a step beyond any number": ({"step": 10**30}, "a.json must hold a step"),
    "a negative step": ({"step": -5}, "a.json must hold a step"),
    "a step that is true": ({"step": True}, "a.json must hold a step"),
    "episodes of one task more": ({"episodes": {"success": [[[1, 0], [1]]] * 2}}, "a.json"),
    "an engine that is no name": ({"engine": {"a": 1}}, "a.json must hold the name of an engine"),
    "an unknown policy": ({"policy": ["mean"]}, "a.json must hold the policy"),
}


@pytest.mark.parametrize("damage", DAMAGED_EVALUATIONS)
def test_a_damaged_evaluation_is_named(write_run: Write, cli: Cli, tmp_path: Path, damage: str) -> None:
    content, words = DAMAGED_EVALUATIONS[damage]
    bad, good = write_run("bad", SUCCESS), write_run("good", BETTER, balancer="PCGrad")
    write_evaluation(good, EPISODES)
    if isinstance(content, str):
        write_evaluation(bad, EPISODES)
        (bad / "evaluation" / "a.json").write_text(content)
    else:
        write_evaluation(bad, EPISODES, **content)
    assert words in refused(cli("report", bad, "--source", "evaluation"))
    result = cli("report", bad, good, "--source", "evaluation")
    assert result.code == 0
    assert f"{bad} was skipped: " in result.err
    assert words in result.err
    assert "LS" not in result.out


def test_evaluations_of_different_kinds_are_not_compared(write_run: Write, cli: Cli, tmp_path: Path) -> None:
    first, second = write_run("a", SUCCESS), write_run("b", BETTER, balancer="PCGrad")
    write_evaluation(first, EPISODES)
    write_evaluation(second, EPISODES, policy="sampled")
    command = ("report", first, second, "--source", "evaluation")
    assert "evaluation.policy is mean and sampled" in refused(cli(*command))
    assert "Mixed protocols" in cli(*command, "--allow_mixed").err
    write_evaluation(first, EPISODES, "b", step=400, goal_seed=8)
    result = cli("report", first, "--source", "evaluation")
    assert result.code == 0
    assert "with 2 episodes, mean action, batched engine, goal seed 8" in result.err
    assert (
        "those with 2 episodes, mean action, batched engine, goal seed 7, 0 worlds per task are left out"
        in result.err
    )


def test_final_is_of_the_evaluation_and_the_rest_of_training(
    write_run: Write, cli: Cli, tmp_path: Path
) -> None:
    run = write_run("run", SUCCESS)
    during = cli("report", run, "--output", tmp_path / "during")
    write_evaluation(run, EPISODES)
    result = cli("report", run, "--source", "evaluation", "--output", tmp_path / "out")
    assert result.code == during.code == 0
    (before,), (after,) = (records(tmp_path / name, "statistics") for name in ("during", "out"))
    assert float(after["final"]) == 0.75
    assert [after[name] for name in ("last_k", "paper_max")] == [
        before[name] for name in ("last_k", "paper_max")
    ]
    assert records(tmp_path / "out", "reached") == records(tmp_path / "during", "reached")
    assert float(records(tmp_path / "out", "methods")[0]["minutes"]) == pytest.approx(len(SUCCESS) / 60)


def test_the_last_step_is_that_of_the_evaluation_that_counts(
    write_run: Write, cli: Cli, tmp_path: Path
) -> None:
    """A run that was stopped between two evaluations is judged at its last checkpoint."""
    run = write_run("run", SUCCESS)
    write_evaluation(run, EPISODES, step=250)
    for statistic, last in (("final", "250"), ("last_k", "300")):
        options = ("--source", "evaluation", "--statistic", statistic, "--output", tmp_path / statistic)
        assert cli("report", run, *options).code == 0
        assert records(tmp_path / statistic, "methods")[0]["last step"] == last


def test_one_baseline(write_run: Write, cli: Cli, tmp_path: Path) -> None:
    for balancer in ("LS", "PCGrad", "CAGrad"):
        write_run(balancer, SUCCESS, balancer=balancer)
    runs = tmp_path / "runs"
    assert cli("report", runs, "--baseline", "LS", "--output", tmp_path / "out").code == 0
    rows = records(tmp_path / "out", "improvement")
    assert [(row["X"], row["Y"]) for row in rows] == [("CAGrad", "LS"), ("PCGrad", "LS")]
    assert "must be one of the methods CAGrad; LS; PCGrad" in refused(
        cli("report", runs, "--baseline", "MGDA")
    )


def test_a_trained_run_without_checkpoints(finished: Path, cli: Cli) -> None:
    for path in sorted((finished / "checkpoints").rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    (finished / "checkpoints").rmdir()
    result = cli("report", finished)
    assert result.code == 0, result.err
    assert "MultiHead, AlignedMTL" in result.out


# ------------------------------------------------------------------------------------------------ bad input


def test_bad_arguments(write_run: Write, cli: Cli, tmp_path: Path) -> None:
    run = write_run("run", SUCCESS)
    empty = tmp_path / "empty"
    empty.mkdir()
    (tmp_path / "file").write_text("")
    assert "There is no run in" in refused(cli("report", empty))
    assert f"{tmp_path / 'nowhere'} is none" in refused(cli("report", tmp_path / "nowhere"))
    for last_k in ("0", "-1e30", "1e30"):
        assert "last_k must be at least 1 and below" in refused(cli("report", run, "--last_k", last_k))
    assert "one of final, last_k, paper_max" in refused(cli("report", run, "--statistic", "best"))
    assert "did you mean 'statistic'?" in refused(cli("report", run, "--statistics", "final"))
    assert "is a file" in refused(cli("report", run, "--output", tmp_path / "file"))
    assert "something else than a report" in refused(cli("report", run, "--output", run))
    (tmp_path / "new" / ".being_written").mkdir(parents=True)  # by another process
    assert cli("report", run, "--output", tmp_path / "new").code == 0
    assert "among the files of the run" in refused(cli("report", run, "--output", run / "evaluation"))
    refused(cli("report"))


def test_a_report_is_written_again(write_run: Write, cli: Cli, tmp_path: Path) -> None:
    run = write_run("run", SUCCESS)
    for _ in range(2):
        assert cli("report", run, "--output", tmp_path / "out").code == 0


def test_a_report_that_fails_leaves_the_last_one(
    write_run: Write, cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, output = write_run("run", SUCCESS), tmp_path / "report"
    assert cli("report", run, "--output", output).code == 0
    before = {path.name: path.read_bytes() for path in output.iterdir()}

    def fail(*arguments: Any) -> None:
        raise OSError("No space left on device")

    monkeypatch.setattr("mtrl.reporting.figures.write_figures", fail)
    assert cli("report", run, "--statistic", "paper_max", "--output", output).code == 1
    assert {path.name: path.read_bytes() for path in output.iterdir()} == before


def test_figures_have_one_style(write_run: Write, cli: Cli, tmp_path: Path) -> None:
    """Whatever matplotlib read of the working directory's when it was imported."""
    run = write_run("run", SUCCESS)
    with matplotlib.rc_context({"text.usetex": True, "figure.facecolor": "red"}):
        assert cli("report", run, "--output", tmp_path / "red").code == 0
    assert cli("report", run, "--output", tmp_path / "report").code == 0
    red, white = (tmp_path / name / "tasks.png" for name in ("red", "report"))
    assert red.read_bytes() == white.read_bytes()


def test_names_are_shown_as_they_are(
    write_run: Write, cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those of classes, options and directories: on the terminal, in the files, and in the figures."""
    monkeypatch.setenv("COLUMNS", "1000")
    names = [name for name in NAMES if "." not in name and "/" not in name]
    for number, name in enumerate(names):
        of_class = {"balancer": name} if number % 2 else {"config": {"agent": {"gamma": name}}}
        write_run(f"run {name}", [[[0.5, 0.5]]], **of_class)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a glyph that matplotlib's font lacks
        result = cli("report", tmp_path / "runs", "--output", tmp_path / "out")
    assert result.code == 0, result.err
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    for number, name in enumerate(names):
        label = f"{name}, agent.gamma=0.99" if number % 2 else f"LS, agent.gamma={name}"
        assert f" {label} " in result.out
        assert f"runs/run {name} " in result.out
        assert f"mtrl: {label} has one seed" in result.err
        assert label in {row["method"] for row in report["tables"]["methods"]}
        assert label in {row["method"] for row in records(tmp_path / "out", "methods")}
    markdown = (tmp_path / "out" / "report.md").read_text()
    assert "\\_\\_bold\\_\\_ \\*x\\* \\`y\\` \\<b\\> a\\|b [t\\](u) \\&amp; \\~~s\\~~" in markdown


def test_a_half_written_last_line_is_named_and_left_out(write_run: Write, cli: Cli) -> None:
    run = write_run("run", SUCCESS)
    lines = (run / "metrics.jsonl").read_text().splitlines()
    (run / "metrics.jsonl").write_text("\n".join([*lines[:2], lines[2][:30]]))
    result = cli("report", run)
    assert result.code == 0
    assert "metrics.jsonl was cut off" in result.err
    assert "not finished: its last evaluation is of step 200 of 300" in result.err
    assert "0.700 ± 0.200" in result.out  # of step 200


def test_a_missing_seed_is_named(write_run: Write, cli: Cli, tmp_path: Path) -> None:
    write_run("ls", SUCCESS)
    write_run("pcgrad", np.array(SUCCESS)[:, 1:], seeds=[1], balancer="PCGrad")
    result = cli("report", tmp_path / "runs")
    assert result.code == 0
    assert "PCGrad has no seed 0" in result.err
    assert "PCGrad has one seed: no standard error and no interval" in result.err


def test_a_run_of_another_version_is_named(write_run: Write, cli: Cli) -> None:
    result = cli("report", write_run("run", SUCCESS, written_by="0.0.1"))
    assert result.code == 0
    assert "was written by mtrl-toolkit 0.0.1" in result.err


def test_a_frozen_seed_is_named(write_run: Write, cli: Cli) -> None:
    run = write_run("run", SUCCESS)
    (run / "frozen.json").write_text(json.dumps({"0": {"step": 150, "reason": "a loss is not finite"}}))
    result = cli("report", run)
    assert result.code == 0
    assert f"Seed 0 of {run} was trained to step 150 only: a loss is not finite." in result.err


def test_a_run_that_is_just_being_made_is_none(write_run: Write, cli: Cli, tmp_path: Path) -> None:
    write_run("run", SUCCESS)
    write_run(".other.new", SUCCESS)
    result = cli("report", tmp_path / "runs")
    assert result.code == 0
    assert ".other.new" not in result.out + result.err


def test_a_trainings_times_may_be_missing(write_run: Write, cli: Cli) -> None:
    run = write_run("run", SUCCESS)
    (run / "timing.jsonl").unlink()
    result = cli("report", run)
    assert result.code == 0
    assert "There are no times of" in result.err


def _edit_line(run: Path, number: int, text: str) -> None:
    lines = (run / "metrics.jsonl").read_text().splitlines()
    lines[number] = text
    (run / "metrics.jsonl").write_text("\n".join(lines) + "\n")


def _evaluation(success: object, step: object = 200) -> str:
    return json.dumps({"step": step, "evaluation/success": success})


def _drop_from_stamp(run: Path) -> None:
    (run / "stamp.json").write_text(json.dumps({"versions": {"mtrl-toolkit": "0.0.1"}}))


def _missing_seed(run: Path) -> None:
    config = yaml.safe_load((run / "config.yaml").read_text())
    (run / "config.yaml").write_text(yaml.safe_dump(config | {"seeds": [0, 1, 2]}))


def _reconfigure(run: Path, **options: object) -> None:
    config = yaml.safe_load((run / "config.yaml").read_text())
    (run / "config.yaml").write_text(yaml.safe_dump(config | options))


DAMAGE: dict[str, tuple[Callable[[Path], object], str]] = {
    "no metrics": (lambda run: (run / "metrics.jsonl").unlink(), "it has no metrics.jsonl"),
    "no evaluation": (lambda run: (run / "metrics.jsonl").write_text('{"step": 1}\n'), "holds no evaluation"),
    "empty metrics": (lambda run: (run / "metrics.jsonl").write_text(""), "holds no evaluation"),
    "only a cut line": (lambda run: (run / "metrics.jsonl").write_text('{"step": 1, "ev'), "no evaluation"),
    "a broken line": (
        lambda run: _edit_line(run, 1, '{"step": 200, "eva'),
        "metrics.jsonl, line 2, must be a JSON",
    ),
    "a line without a step": (
        lambda run: _edit_line(run, 1, "[]"),
        "line 2, must be a JSON object with a step",
    ),
    "a step that is no number": (lambda run: _edit_line(run, 1, _evaluation([], "x")), "line 2, must be"),
    "metrics that are no text": (
        lambda run: (run / "metrics.jsonl").write_bytes(b"\xff\n"),
        "line 1, must be",
    ),
    "a row too few": (
        lambda run: _edit_line(run, 1, _evaluation([[0.1, 0.2]])),
        "evaluation of step 200 in metrics.jsonl: it must have a success rate for 2 seeds",
    ),
    "words for numbers": (
        lambda run: _edit_line(run, 1, _evaluation([["a", 1], [1, 1]])),
        "array of one shape",
    ),
    "success above one": (lambda run: _edit_line(run, 1, _evaluation([[0.1, 2], [1, 1]])), "between 0 and 1"),
    "a step twice": (lambda run: _edit_line(run, 1, _evaluation(SUCCESS[1], 100)), "do not increase"),
    "a step beyond any number": (lambda run: _edit_line(run, 1, _evaluation([], 10**30)), "line 2, must be"),
    "steps in another order": (
        lambda run: _edit_line(run, 0, _evaluation(SUCCESS[0], 201)),
        "do not increase",
    ),
    "a number for all": (lambda run: _edit_line(run, 1, _evaluation(0.5)), "success rate for 2 seeds"),
    "a number for a task": (
        lambda run: _edit_line(run, 1, _evaluation({"reach-v3": 0.5, "push-v3": 1})),
        "evaluation of step 200 in metrics.jsonl",
    ),
    "a seed too few of a task": (
        lambda run: _edit_line(run, 1, _evaluation({"reach-v3": [0.5, 0.5], "push-v3": [1]})),
        "evaluation of step 200 in metrics.jsonl",
    ),
    "a task that the run has not": (
        lambda run: _edit_line(run, 1, _evaluation({"reach-v3": [0, 0], "pull-v3": [1, 1]})),
        "of the tasks reach-v3, pull-v3, and the run has reach-v3, push-v3",
    ),
    "a number beyond any": (
        lambda run: _edit_line(run, 1, _evaluation([[10**400, 1], [1, 1]])),
        "array of one shape",
    ),
    "a word for a condition number": (
        lambda run: _edit_line(run, 3, '{"step": 300, "critic/condition_number": ["x", 1]}'),
        "critic/condition_number in metrics.jsonl",
    ),
    "a word for a group": (
        lambda run: _reconfigure(run, evaluation="often"),
        "config.yaml must have a mapping",
    ),
    "a list for a group": (lambda run: _reconfigure(run, agent=[1]), "config.yaml must have a mapping"),
    "a configuration in itself": (
        lambda run: (run / "config.yaml").write_text("agent: &a {gamma: *a}"),
        "config.yaml is not valid YAML: it refers to itself",
    ),
    "a deep configuration": (
        lambda run: (run / "config.yaml").write_text("[" * 5000),
        "config.yaml is not valid YAML: it is nested too deeply",
    ),
    "a stamp of two numbers": (
        lambda run: (run / "stamp.json").write_text("[1, 2]"),
        "must be a mapping of names to values, and it is a list",
    ),
    "a missing seed": (_missing_seed, "success rate for 3 seeds and 2 tasks"),
    "no stamp": (lambda run: (run / "stamp.json").unlink(), "stamp.json cannot be read: No such file"),
    "half a stamp": (lambda run: (run / "stamp.json").write_text('{"proto'), "stamp.json is not valid JSON"),
    "another version's stamp": (_drop_from_stamp, "it is of mtrl-toolkit 0.0.1"),
    "a broken configuration": (
        lambda run: (run / "config.yaml").write_text("{a: "),
        "config.yaml is not valid YAML",
    ),
    "no configuration": (
        lambda run: (run / "config.yaml").write_text("- 1"),
        "must be a mapping of names to values, and it is a list",
    ),
    "steps as text": (lambda run: _reconfigure(run, total_steps="300"), "a positive number of total_steps"),
    "no steps to make": (lambda run: _reconfigure(run, total_steps=0), "a positive number of total_steps"),
    "more evaluations than any run has": (
        lambda run: (
            _reconfigure(run, total_steps=10**12, evaluation={"interval": 1}, worlds_per_task=1),
            _edit_line(run, 3, f'{{"step": {10**12}}}'),
        ),
        "it made 1000000000000 steps, with an evaluation every 1",
    ),
    "no seeds": (lambda run: (run / "config.yaml").write_text("benchmark: MT2"), "a list of seeds"),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_run_is_refused_alone_and_skipped_among_others(
    write_run: Write, cli: Cli, tmp_path: Path, damage: str
) -> None:
    apply, words = DAMAGE[damage]
    bad = write_run("bad", SUCCESS)
    apply(bad)
    error = refused(cli("report", bad))
    assert words in error
    assert str(bad) in error
    write_run("good", BETTER, balancer="PCGrad")
    result = cli("report", tmp_path / "runs")
    assert result.code == 0
    assert f"{bad} was skipped: " in result.err
    assert words in result.err
    assert "Shared, PCGrad" in result.out
    assert "LS" not in result.out


def test_tasks_are_found_by_name(write_run: Write, cli: Cli, tmp_path: Path) -> None:
    """Whoever writes a line again may have sorted its keys."""
    run = write_run("run", SUCCESS)
    by_task = np.array(SUCCESS).swapaxes(1, 2).tolist()
    lines = [
        {"step": 100 * i, "evaluation/success": dict(zip(TASKS[::-1], of_tasks[::-1], strict=True))}
        for i, of_tasks in enumerate(by_task, start=1)
    ]
    (run / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert cli("report", run, "--output", tmp_path / "out").code == 0
    rates = {r["task"]: float(r["Shared, LS"]) for r in records(tmp_path / "out", "tasks")}
    assert rates == pytest.approx({"reach-v3": 0.45, "push-v3": 0.75})


def test_what_was_skipped_stands_in_the_report(write_run: Write, cli: Cli, tmp_path: Path) -> None:
    (write_run("bad", SUCCESS) / "stamp.json").unlink()
    write_run("good", BETTER, balancer="PCGrad")
    assert cli("report", tmp_path / "runs", "--output", tmp_path / "out").code == 0
    assert "stamp.json cannot be read: No such file" in (tmp_path / "out" / "report.md").read_text()


def test_an_evaluation_without_outcomes_is_left_out(write_run: Write, cli: Cli, tmp_path: Path) -> None:
    run = write_run("run", SUCCESS)
    _edit_line(run, 2, _evaluation([[0.1, None], [1, 1]], 300))
    result = cli("report", run, "--output", tmp_path / "out")
    assert result.code == 0
    assert "the evaluations of steps 300 lack outcomes" in result.err
    assert [float(r["success"]) for r in records(tmp_path / "out", "seeds")] == pytest.approx([0.5, 0.9])


def test_other_commands_do_not_load_matplotlib() -> None:
    code = "import sys, mtrl.reporting.command; sys.exit('matplotlib' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
