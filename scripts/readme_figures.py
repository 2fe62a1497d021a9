"""Draws the learning curves of the README and of docs/report.md from the committed results.

python scripts/readme_figures.py
"""

from __future__ import annotations

from pathlib import Path

from matplotlib.figure import Figure

from mtrl.reporting.figures import DPI, gradient_measure, learning_curves
from mtrl.reporting.groups import group_runs
from mtrl.reporting.runs import find_runs, read_run

ROOT = Path(__file__).resolve().parents[1]
RUNS = {"quickstart": "quickstart", "mt10": "mt10", "mt3": "mt3"}


def main() -> None:
    for name, results in RUNS.items():
        groups = group_runs([read_run(path) for path in find_runs([ROOT / "results" / results])])
        save(learning_curves(groups), name)
        if name == "mt3":
            save(gradient_measure(groups, "condition_number"), f"{name}_condition_number")


def save(figure: Figure | None, name: str) -> None:
    assert figure is not None, f"the runs of {name} have no such metric"
    figure.savefig(ROOT / "docs" / "images" / f"{name}.png", dpi=DPI)


if __name__ == "__main__":
    main()
