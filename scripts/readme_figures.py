"""Draws the figures of README, docs/report.md and docs/results.md from the committed results, the hardest task first.

python scripts/readme_figures.py
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from mtrl.reporting.figures import COLORS, DPI, gradient_measure, hardest_first, learning_curves
from mtrl.reporting.groups import group_runs
from mtrl.reporting.runs import Run, find_runs, read_run

ROOT = Path(__file__).resolve().parents[1]
FAST = [ROOT / "results" / "mt10_fast" / f"seed{seed}" for seed in range(5)]
CLASSIC = ROOT / "results" / "mt10" / "aligned_mtl"
#: Results with learning curves, and whether also with condition numbers.
CURVES = {"quickstart": False, "mt3": True, "mt10_paper": True, "mt50_fast": False}


def main() -> None:
    save(front(), "mt10_fast")
    for name, with_condition_numbers in CURVES.items():
        groups = group_runs([read_run(path) for path in find_runs([ROOT / "results" / name])])
        save(learning_curves(groups, hardest_first(groups, "final", 1)), name)
        if with_condition_numbers:
            save(gradient_measure(groups, "condition_number"), f"{name}_condition_number")


def front() -> Figure:
    """Success by minutes of training for each seed, and success of each task at the end by Meta-World itself."""
    fast = [read_run(path, "evaluation") for path in FAST]
    figure = Figure(figsize=(10, 3.6), layout="constrained")
    curves, bars = figure.subplots(1, 2, width_ratios=(1, 1.15))
    for run in fast:
        curves.plot(
            *_by_minutes(run), color=COLORS[2], linewidth=1, label="modern agent" if run is fast[0] else None
        )
    curves.plot(
        *_by_minutes(read_run(CLASSIC)), color=COLORS[0], linestyle="--", label="classic agent, Aligned-MTL"
    )
    curves.set(
        xlim=(0, 10), ylim=(0, 1.02), xlabel="minutes of one H200", ylabel="mean success over MT10's tasks"
    )
    curves.set_title("during training", fontsize=10)
    curves.legend(loc="lower right", frameon=False)
    success = np.stack([run.final[0] for run in fast])  # [S, T]
    order = np.argsort(success.mean(0), kind="stable")
    success, rows = success[:, order], np.arange(len(order))
    bars.barh(rows, success.mean(0), color="0.85")
    for seed in success:
        bars.plot(seed, rows, "o", color=COLORS[2], markersize=3.5, clip_on=False)
    bars.set_yticks(rows, [fast[0].tasks[t].removesuffix("-v3") for t in order], fontsize=9)
    bars.invert_yaxis()
    bars.set(xlim=(0, 1), xlabel="success on 50 unseen goals, five seeds and their mean")
    bars.set_title("the last checkpoint, by Meta-World itself", fontsize=10)
    return figure


def _by_minutes(run: Run) -> tuple[np.ndarray, np.ndarray]:
    """Minutes of training at each evaluation [n], and mean success [n] of the run's first seed."""
    steps, seconds = run.timing
    return np.interp(run.steps, steps, seconds) / 60, run.scores[:, 0].mean(-1)


def save(figure: Figure | None, name: str) -> None:
    assert figure is not None, f"the runs of {name} have no such metric"
    figure.savefig(ROOT / "docs" / "images" / f"{name}.png", dpi=DPI)


if __name__ == "__main__":
    main()
