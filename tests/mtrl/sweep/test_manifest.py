"""Runs that are there are kept, and never taken for another configuration's."""

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from mtrl.storage import checkpoint
from mtrl.sweep import manifest
from mtrl.sweep.config import SweepConfig
from mtrl.sweep.plan import PlannedRun, methods
from tests.mtrl.sweep.conftest import BASE


def plan(
    root: Path, seeds: list[int], size: int = 2, keep_packs: bool = False, **changes: Any
) -> list[PlannedRun]:
    found = methods(SweepConfig(base=BASE | changes, axes={"balancer": ["LS", "PCGrad"]}))
    runs = manifest.plan(root, found, seeds, lambda _: size, keep_packs)
    manifest.write(root, runs)
    return runs


def begin(run: PlannedRun, root: Path, step: int = 0) -> None:
    checkpoint.save(run.directory(root) / "checkpoints", step, {"loop": {"step": step}})


def names(runs: list[PlannedRun]) -> list[str]:
    return [run.name for run in runs]


def test_seeds_in_packs(tmp_path: Path) -> None:
    assert names(plan(tmp_path, [0, 1, 2])) == ["LS-seed0-1", "LS-seed2", "PCGrad-seed0-1", "PCGrad-seed2"]


def test_further_seeds_leave_runs_as_they_are(tmp_path: Path) -> None:
    begin(plan(tmp_path, [0, 1])[0], tmp_path)
    assert names(plan(tmp_path, [0, 1, 2, 3], size=4)) == ["LS-seed0-1", "LS-seed2-3", "PCGrad-seed0-3"]


def test_measured_packs_are_kept_before_they_are_started(tmp_path: Path) -> None:
    plan(tmp_path, [0, 1, 2, 3])
    assert names(plan(tmp_path, [0, 1, 2, 3], size=4, keep_packs=True))[:2] == ["LS-seed0-1", "LS-seed2-3"]
    assert names(plan(tmp_path, [0, 1, 2, 3], size=4))[:1] == ["LS-seed0-3"]


def test_another_configuration_is_refused(tmp_path: Path) -> None:
    runs = plan(tmp_path, [0, 1])
    plan(tmp_path, [0, 1], total_steps=300)  # nothing was started
    plan(tmp_path, [0, 1])
    begin(runs[0], tmp_path, step=400)
    evaluation = '{"step": 400, "evaluation/success": [[1.0], [1.0]]}\n'
    (runs[0].directory(tmp_path) / "metrics.jsonl").write_text(evaluation)
    before = (tmp_path / "manifest.json").read_bytes()
    with pytest.raises(ValueError, match=r"LS-seed0-1 is finished with another configuration"):
        plan(tmp_path, [0, 1], batch_size=9)
    assert (tmp_path / "manifest.json").read_bytes() == before
    begin(runs[1], tmp_path, step=50)
    plan(tmp_path, [0, 1], num_workers=2)  # the same experiment


def test_a_run_of_unknown_origin_is_refused(tmp_path: Path) -> None:
    begin(plan(tmp_path, [0, 1])[0], tmp_path)
    (tmp_path / "manifest.json").unlink()
    with pytest.raises(ValueError, match="not in the sweep's manifest"):
        plan(tmp_path, [0, 1])


def test_a_damaged_manifest_is_refused(tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_text("{")
    with pytest.raises(ValueError, match="cannot be read"):
        plan(tmp_path, [0, 1])


def test_a_run_of_two_names_is_one(tmp_path: Path) -> None:
    """It would be trained twice at once."""
    runs = plan(tmp_path, [0, 1])
    begin(runs[0], tmp_path)
    content = json.loads((tmp_path / "manifest.json").read_text())
    content["runs"]["other"] = content["runs"]["LS-seed0-1"]
    (tmp_path / "manifest.json").write_text(json.dumps(content))
    assert names(plan(tmp_path, [0, 1])) == names(runs)


def test_sweeps_that_collect_at_once_lose_no_entry(tmp_path: Path) -> None:
    names = [f"run{i}" for i in range(60)]
    entry = {"method": "LS", "seeds": [0], "digest": "0"}
    (tmp_path / "manifest.json").write_text(json.dumps({"format": 2, "runs": dict.fromkeys(names, entry)}))
    with ThreadPoolExecutor(6) as pool:
        list(pool.map(lambda name: manifest.copy(tmp_path, tmp_path / "results", [name]), names))
    assert set(json.loads((tmp_path / "results" / "manifest.json").read_text())["runs"]) == {*names}
