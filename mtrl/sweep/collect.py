"""Results that travel: what a report needs of finished runs, without checkpoints and event files.

The directory is laid out as a sweep's own: `manifest.json` and `runs/<name>`.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path

from mtrl.storage.check_run import check_run
from mtrl.storage.run_directory import FROZEN
from mtrl.sweep import manifest
from mtrl.sweep.plan import PlannedRun
from mtrl.sweep.state import is_finished, last_step, what_lacks
from mtrl.system.paths import check_writable

_FILES = ("config.yaml", "stamp.json", "metrics.jsonl", "timing.jsonl", FROZEN)


def fetch(source: Path, root: Path) -> None:
    """Brings runs that were finished elsewhere into a sweep's directory; what is there stays as it is.

    Raises:
        ValueError: nothing can be written there later, a run is not in its manifest, or its files disagree; none was
            copied.
    """
    check_writable(source / "runs")
    found = [
        run
        for run in sorted((source / "runs").glob("*"))
        if (run / "config.yaml").is_file() and not run.name.startswith(".")
    ]
    new = [run for run in found if not (root / "runs" / run.name).exists()]
    for run in new:
        check_run(run)
    manifest.copy(source, root, [run.name for run in new])
    for run in new:
        _copy(run, root / "runs" / run.name)


def collect(runs: Sequence[PlannedRun], root: Path, target: Path) -> None:
    """Adds finished runs of a sweep's directory to the results; those that are there stay as they are."""
    new = [run for run in runs if not (target / "runs" / run.name).exists()]
    manifest.copy(root, target, [run.name for run in new])  # a run that is there and not recorded is refused
    for run in new:
        _copy(run.directory(root), target / "runs" / run.name)


def check_collected(run: PlannedRun, root: Path, target: Path) -> None:
    """Refuses to train a run that could not be collected, as something else is in its place.

    Raises:
        ValueError: what is collected of it is not the whole run, or another one.
    """
    collected, own = run.directory(target), run.directory(root)
    if not os.path.lexists(collected):
        return
    if not manifest.is_same(run, target):
        lacks = "its files cannot be read, or are of another configuration"
    elif not is_finished(run, target):
        lacks = f"{what_lacks(run, target)}, and its checkpoints are gone"
    else:
        return
    is_copy = own.exists() and last_step(run, root) is None and not is_finished(run, root)
    raise ValueError(
        f"The collected run {collected} is not {run.name} of this sweep: {lacks}. Restore it, or delete it"
        f"{f' and its copy {own}' * is_copy} to have the run collected again."
    )


def files(run_dir: Path) -> list[Path]:
    """The files of a run that a report needs."""
    found = [run_dir / name for name in _FILES] + sorted((run_dir / "evaluation").glob("*.json"))
    return [path for path in found if path.is_file()]


def _copy(run_dir: Path, target: Path) -> None:
    """Copies what a report needs of a run, as a whole or not at all."""
    temporary = target.with_name(f".{target.name}.{os.getpid()}")
    for path in files(run_dir):
        copy = temporary / path.relative_to(run_dir)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, copy)
    temporary.rename(target)
