"""The figures of docs/results.md are those of the runs in results."""

import csv
import json
from pathlib import Path

import numpy as np

from mtrl.cli import main
from mtrl.reporting.runs import read_run

ROOT = Path(__file__).parent.parent
DOCUMENT = (ROOT / "docs" / "results.md").read_text()
BALANCERS = {"AlignedMTL": "Aligned-MTL", "PCGrad": "PCGrad", "CAGrad": "CAGrad", "NashMTL": "Nash-MTL"}
PAPER = {name: ROOT / "results" / "mt10_paper" / name for name in ("aligned_mtl", "ls")}


def row(label: str) -> list[float]:
    """The figures of our two runs in the row of the paper's setting that begins with the label."""
    (line,) = (line for line in DOCUMENT.splitlines() if line.startswith(f"| {label}"))
    return [float(cell) for cell in line.split("|")[2:4]]


def test_the_papers_setting_in_training() -> None:
    success = [read_run(path).scores[:, 0].mean(-1) for path in PAPER.values()]
    assert [len(s) for s in success] == [200, 200]
    np.testing.assert_allclose(row("`final`"), [s[-1] for s in success])
    np.testing.assert_allclose(row("`last_k`"), [s[-5:].mean() for s in success])
    np.testing.assert_allclose(row("`paper_max`"), [s.max() for s in success])
    np.testing.assert_allclose(row("mean of the hundred"), [s[100:].mean() for s in success])


def test_the_papers_setting_in_meta_world_itself() -> None:
    (any_step, last_step) = [], []
    for path in PAPER.values():
        (file,) = (path / "evaluation").iterdir()
        episodes = json.loads(file.read_text())["episodes"]
        any_step.append(np.mean(episodes["success"]))
        last_step.append(np.mean(episodes["success_at_end"]))
    np.testing.assert_allclose(row("last checkpoint"), any_step)
    text = " ".join((ROOT / "README.md").read_text().split())
    assert "Aligned-MTL {:.2f} and multi-head SAC {:.2f} at the last checkpoint".format(*any_step) in text
    np.testing.assert_allclose(row("the same"), last_step)


def cells(label: str, columns: slice) -> list[str]:
    """Of the row of the document that begins with the label."""
    (line,) = (line for line in DOCUMENT.splitlines() if line.startswith(f"| {label} |"))
    return [cell.strip() for cell in line.split("|")[1:-1]][columns]


def test_fifty_tasks() -> None:
    path = ROOT / "results" / "mt50_fast" / "seed0"
    run = read_run(path)
    success, (steps, seconds) = run.scores[:, 0].mean(-1), run.timing
    minutes = np.interp(run.steps, steps, seconds) / 60
    for label, i in (
        ("first evaluation above 0.8", int(np.argmax(success > 0.8))),
        ("last evaluation in training", -1),
    ):
        assert cells(label, slice(1, None)) == [f"{run.steps[i]:,}", f"{minutes[i]:.1f}", f"{success[i]:.3f}"]
    (file,) = (path / "evaluation").iterdir()
    episodes = json.loads(file.read_text())["episodes"]
    tasks = np.mean(episodes["success"], axis=(0, 2))  # [seeds, tasks, episodes]
    assert cells("the last checkpoint, by Meta-World itself on 50 unseen goals per task", slice(3, None)) == [
        f"{tasks.mean():.3f}"
    ]
    at_end = cells("its success at the episode's last step", slice(3, None))
    assert at_end == [f"{np.mean(episodes['success_at_end']):.3f}"]
    assert f"below {tasks.min():.2f} (faucet-close)" in DOCUMENT
    assert f"{(tasks == 1).sum()} of 50 succeed on all fifty goals" in DOCUMENT


def test_fifty_tasks_with_a_balancer() -> None:
    for label, name, zeros in (
        ("no balancer", "null_600k", "without it {}"),
        ("Aligned-MTL", "aligned_mtl_600k", "{} tasks are at 0"),
    ):
        run = read_run(ROOT / "results" / "mt50_fast" / name)
        success, (_, seconds) = run.scores[:, 0], run.timing
        table = DOCUMENT[DOCUMENT.index("With Aligned-MTL on critic and actor") :]
        (line,) = [line for line in table.splitlines() if line.startswith(f"| {label} |")][:1]
        expected = [f"{success[run.steps == step].mean():.3f}" for step in (200_000, 400_000, 600_000)]
        assert [cell.strip() for cell in line.split("|")[2:-1]] == [*expected, f"{seconds[-1] / 60:.1f}"]
        assert zeros.format((success[-1] == 0).sum()) in table


def report(output: Path, results: str, *options: str) -> dict[str, list[dict[str, str]]]:
    """The tables of `mtrl report` by their names."""
    command = ["report", str(ROOT / "results" / results), "--source", "evaluation", "--output", str(output)]
    assert main([*command, *options]) == 0
    return {path.stem: list(csv.DictReader(path.open())) for path in output.glob("*.csv")}


def interval(figures: dict[str, str], name: str) -> str:
    return "{:.3f} [{:.3f}, {:.3f}]".format(*(float(figures[name + end]) for end in ("", "_low", "_high")))


def mean(figures: dict[str, str], name: str) -> str:
    return f"{float(figures[name]):.3f} ± {float(figures[f'{name}_sem']):.3f}"


def each_seed(tables: dict[str, list[dict[str, str]]], method: str) -> str:
    return " ".join(f"{float(s['success']):.3f}" for s in tables["seeds"] if s["method"] == method)


def test_the_classic_agent(tmp_path: Path) -> None:
    networks = {
        "SingleTask, no balancer": "single task",
        "Shared, no balancer": "shared",
        "TaskEncoder, no balancer": "task encoder",
        "MultiHead, no balancer": "multi-head",
        "SoftModularization, no balancer": "soft modularization",
        "Care, no balancer": "CARE",
    }
    balancers = {
        "MultiHead, LS": "LS",
        "MultiHead, PCGrad": "PCGrad",
        "MultiHead, CAGrad": "CAGrad",
        "MultiHead, NashMTL": "Nash-MTL",
        "MultiHead, AlignedMTL": "Aligned-MTL",
    }
    tables = report(tmp_path / "all", "mt10_classic")
    over_baseline = {
        pair["X"]: interval(pair, "P(X > Y) [95%]")
        for pair in report(tmp_path / "over_ls", "mt10_classic", "--baseline", "LS")["improvement"]
    }
    assert {m["method"] for m in tables["methods"]} == networks.keys() | balancers.keys()
    document = DOCUMENT[DOCUMENT.index("## The classic agent") :]
    readme = (ROOT / "README.md").read_text()
    for method in tables["methods"]:
        name = method["method"]
        success = mean(method, "mean ± SEM")
        assert (method["n"], method["last step"]) == ("5", "300,000")
        label = {**networks, **balancers}[name]
        figures = [
            success,
            interval(method, "IQM [95%]"),
            each_seed(tables, name),
            over_baseline.get(name, "–"),
        ]
        assert f"| {' | '.join([label, *figures])} |" in document
        label = f"multi-head, {label}" if name in balancers else label
        assert f"| {label.replace('single task', 'one network per task')} | {success} |" in readme
    for task in tables["tasks"]:
        for labels in networks, balancers:
            means = (mean(task, method) for method in labels)
            assert f"| {task['task'].removesuffix('-v3')} | {' | '.join(means)} |" in document
    for labels, comparison in zip((networks, balancers), document.split("| better than |")[1:], strict=False):
        lines = comparison.splitlines()
        for pair in tables["improvement"]:
            if pair["X"] in labels and pair["Y"] in labels:
                row = next(line for line in lines if line.startswith(f"| {labels[pair['X']]} |"))
                column = lines[0].split("|").index(f" {labels[pair['Y']]} ") + 1
                assert row.split("|")[column + 1] == f" {interval(pair, 'P(X > Y) [95%]')} "


def test_the_modern_agent_with_balancers(tmp_path: Path) -> None:
    none = {"no balancer": "none"}
    both = {f"{name}, balance=both": f"{label}, critic and actor" for name, label in BALANCERS.items()}
    critic = {f"{name}, balance=critic": f"{label}, critic" for name, label in BALANCERS.items()}
    labels = none | both | critic
    tables = report(tmp_path / "report", "mt10_modern", "--baseline", "no balancer")
    assert {method["method"] for method in tables["methods"]} == labels.keys()
    over_none = {pair["X"]: interval(pair, "P(X > Y) [95%]") for pair in tables["improvement"]}
    success = {method["method"]: mean(method, "mean ± SEM") for method in tables["methods"]}
    document = DOCUMENT[DOCUMENT.index("## Does a balancer help where") :]
    for method in tables["methods"]:
        name = method["method"]
        assert (method["n"], method["last step"]) == ("3", "500,000")
        figures = [
            success[name],
            interval(method, "IQM [95%]"),
            each_seed(tables, name),
            over_none.get(name, "–"),
        ]
        minutes = f"{float(method['minutes']):.1f}"
        assert f"| {' | '.join([labels[name], *figures, minutes])} |" in document
    for task in tables["tasks"]:
        for methods in none | both, critic:
            means = (mean(task, method) for method in methods)
            assert f"| {task['task'].removesuffix('-v3')} | {' | '.join(means)} |" in document
    readme = (ROOT / "README.md").read_text()
    assert f"| none | {success['no balancer']} | |" in readme
    for name, label in BALANCERS.items():
        cells = " | ".join(success[f"{name}, balance={balance}"] for balance in ("both", "critic"))
        assert f"| {label} | {cells} |" in readme


def test_condition_numbers_of_the_modern_agent() -> None:
    """Medians over seeds and lines of the first hundred thousand steps and of the last that LS made."""
    document = DOCUMENT[DOCUMENT.index("| condition number of the task gradients |") :]
    runs = ROOT / "results" / "mt10_modern" / "runs"
    paths = {
        label: runs / f"{name}-balanceboth-total_steps500000-seed0-2" for name, label in BALANCERS.items()
    }
    for label, path in {"LS": ROOT / "results" / "mt10_modern_ls", **paths}.items():
        lines = [json.loads(line) for line in (path / "metrics.jsonl").read_text().splitlines()]
        cells = []
        for part in "critic", "actor":
            for first, end in (0, 100_000), (364_000, 464_000):
                numbers = [
                    line[f"{part}/condition_number"]
                    for line in lines
                    if first < line["step"] <= end and f"{part}/condition_number" in line
                ]
                cells.append(f"{np.median(numbers):.0f}")
        assert f"| {label} | {' | '.join(cells)} |" in document


def test_what_each_ingredient_gives() -> None:
    rows = {
        "the setting": "choosing/categorical",
        "returns not normalised": "ablation/unnormalized",
        "squared error instead of the categorical critic": "ablation/squared",
        "critics of width 256 instead of 1024": "ablation/width_256",
        "target entropy -4 instead of -2": "ablation/entropy",
        "2 updates a step instead of 5": "ablation/updates_2",
        "10 updates a step instead of 5": "ablation/updates_10",
    }
    for label, name in rows.items():
        run = read_run(ROOT / "results" / "mt10_fast" / name)
        success, seconds = run.scores[:, 0].mean(-1), np.interp(run.steps, *run.timing)
        (last,) = np.flatnonzero(seconds < 225)[-1:]
        expected = [
            f"{success[list(run.steps).index(300_000)]:.3f}",
            f"{success[last]:.3f}",
            f"{seconds[last]:.0f} s",
        ]
        assert cells(label, slice(1, None)) == expected
