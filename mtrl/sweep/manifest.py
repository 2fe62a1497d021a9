"""Which runs a sweep has, and what they were started with, so that no result passes for another configuration's.

`manifest.json` in the sweep's directory maps each run's name to its method, its seeds and the digest of its
experiment.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from mtrl.storage.check_run import DisagreementError, check_run
from mtrl.sweep.plan import Method, PlannedRun, digest_of, make_run
from mtrl.sweep.state import is_finished
from mtrl.system.files import parse_json, read_file, write_text
from mtrl.system.lock import locked

_FORMAT = 2  # of 1, the digest was of other options


def plan(
    root: Path,
    methods: Sequence[Method],
    seeds: Sequence[int],
    size: Callable[[Method], int],
    keep_packs: bool,
) -> list[PlannedRun]:
    """The runs of a sweep: those of the manifest, and new ones for the seeds that they do not cover.

    Args:
        root: the sweep's directory.
        size: the most seeds that a new run of a method may have; asked only where there is a new one.
        keep_packs: keep to the manifest also where a run was not started yet.

    Raises:
        ValueError: a run was started with another configuration, or is not in the manifest, or its files disagree.
    """
    recorded = _read(root)
    runs = []
    for method in methods:
        kept = []
        for name, entry in recorded.items():
            if entry["method"] != method.name or not set(entry["seeds"]) & set(seeds):
                continue
            run = make_run(method, entry["seeds"])
            if run.name != name:  # an entry that no sweep made; the run would be trained twice at once
                continue
            started = run.directory(root).exists()
            has_config = (run.directory(root) / "config.yaml").is_file()
            same = is_same(run, root) if has_config else run.digest == entry["digest"]
            if started and not same:
                state = "is finished" if is_finished(run, root) else "was started"
                raise ValueError(
                    f"The run {run.directory(root)} {state} with another configuration than {name} has now: restore "
                    "that, choose another sweep_dir, or delete the run."
                )
            if started or (same and keep_packs):
                kept.append(run)
        covered = {seed for run in kept for seed in run.seeds}
        missing = [seed for seed in seeds if seed not in covered]
        most = size(method) if missing else 1
        new = [make_run(method, missing[i : i + most]) for i in range(0, len(missing), most)]
        for run in new:
            if run.directory(root).exists():
                raise ValueError(
                    f"The run {run.directory(root)} is not in the sweep's manifest, so it may be another "
                    "configuration's: choose another sweep_dir, or delete the run."
                )
        runs += sorted(kept + new, key=lambda run: min(map(list(seeds).index, set(run.seeds) & set(seeds))))
    return runs


def recorded_seeds(root: Path) -> list[int]:
    """The seeds of all runs in the manifest, ascending; none before there is one."""
    return sorted({seed for entry in _read(root).values() for seed in entry["seeds"]})


def is_same(run: PlannedRun, root: Path) -> bool:
    """Whether a run that was begun, perhaps by another version, is this experiment.

    Raises:
        DisagreementError: its files do not say the same of it.
    """
    try:
        check_run(run.directory(root))
        return digest_of(run.directory(root)) == run.digest
    except DisagreementError:
        raise
    except ValueError:  # its configuration cannot be read, or does not fit this version
        return False


def write(root: Path, runs: Sequence[PlannedRun]) -> None:
    """Adds runs to the manifest, which is replaced at once."""
    _add(
        root,
        {run.name: {"method": run.method, "seeds": list(run.seeds), "digest": run.digest} for run in runs},
    )


def copy(source: Path, target: Path, names: Sequence[str]) -> None:
    """Records runs in another directory as they are recorded in this one.

    Raises:
        ValueError: one is not, or a manifest cannot be read.
    """
    recorded = _read(source)
    for name in names:
        if name not in recorded:
            raise ValueError(
                f"The run {source / 'runs' / name} is not in {source / 'manifest.json'}, so it may be another "
                "configuration's: delete it, or choose another directory."
            )
    if not names:
        return
    target.mkdir(parents=True, exist_ok=True)
    with locked(target, wait=True):  # another sweep may collect there, too
        _add(target, {name: recorded[name] for name in names})


def _add(root: Path, entries: dict[str, dict[str, Any]]) -> None:
    recorded = _read(root)
    if recorded | entries == recorded:
        return
    root.mkdir(parents=True, exist_ok=True)
    content = {"format": _FORMAT, "runs": recorded | entries}
    write_text(root / "manifest.json", json.dumps(content, indent=1) + "\n")


def _read(root: Path) -> dict[str, dict[str, Any]]:
    path = root / "manifest.json"
    if not path.exists():
        return {}
    try:
        content = parse_json(read_file("manifest", path).decode())
        runs: dict[str, dict[str, Any]] = content["runs"]
        if content["format"] != _FORMAT:
            raise ValueError(f"format {content['format']} instead of {_FORMAT}")
        for name, entry in runs.items():
            if not (
                isinstance(entry["method"], str)
                and isinstance(entry["digest"], str)
                and _are_seeds(entry["seeds"])
            ):
                raise ValueError(f"its entry of {name} is {entry}")
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(
            f"The manifest {path} cannot be read ({error}): choose another sweep_dir."
        ) from error
    return runs


def _are_seeds(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(seed, int) for seed in value)
