"""Draws the README's learning curves from the committed results: `python scripts/readme_figures.py`."""

from __future__ import annotations

from pathlib import Path

from mtrl.report.figures import DPI, learning_curves
from mtrl.report.groups import group_runs
from mtrl.report.runs import read_run

ROOT = Path(__file__).resolve().parents[1]
RUNS = {"quickstart": "quickstart", "mt10": "mt10_multi_head_aligned_mtl"}


def main() -> None:
    for name, results in RUNS.items():
        groups = group_runs([read_run(ROOT / "results" / results)])
        learning_curves(groups).savefig(ROOT / "docs" / "images" / f"{name}.png", dpi=DPI)


if __name__ == "__main__":
    main()
