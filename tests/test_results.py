"""The figures of docs/results.md are those of the runs in results."""

import json
from pathlib import Path

import numpy as np

from mtrl.reporting.runs import read_run

ROOT = Path(__file__).parent.parent
DOCUMENT = (ROOT / "docs" / "results.md").read_text()
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
