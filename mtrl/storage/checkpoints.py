"""The checkpoints in a run's directory: which there are, which is meant, and which are deleted."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Collection, Mapping
from pathlib import Path

from mtrl.config.keep import KEPT, kept_by
from mtrl.config.spelling import whole_number
from mtrl.storage.checkpoint import NAME, CheckpointError, DamagedError, check_file, path_of, read_manifest
from mtrl.storage.scores import Scores, evaluated_at
from mtrl.system.files import read_mapping
from mtrl.system.terminal import message


def steps(directory: Path) -> list[int]:
    """The steps of the checkpoints in a directory, ascending."""
    if not directory.is_dir():
        return []
    matches = (NAME.fullmatch(path.name) for path in directory.iterdir())
    return sorted(int(match[1]) for match in matches if match)


def find(directory: Path, which: str) -> Path:
    """The checkpoint called "last", "best" or by its step.

    Raises:
        CheckpointError: there is none of that name; the sentence lists those there are.
    """
    available = steps(directory)
    if not available:
        raise CheckpointError(
            f"There is no checkpoint in {directory}; was the run stopped before its first one?"
        )
    if which == "last":
        return path_of(directory, available[-1])
    if which == "best":
        config = directory.parent / "config.yaml"
        is_due = evaluated_at(read_mapping("configuration", config) if config.exists() else {})
        scores = Scores.read(directory.parent / "metrics.jsonl", is_due=is_due)
        best = scores.best(available.__contains__)
        if best is None:
            raise CheckpointError(f"No checkpoint in {directory} was evaluated yet; use --checkpoint last.")
        return path_of(directory, best)
    step = whole_number(which)
    if step not in available:
        raise CheckpointError(
            f"There is no checkpoint {which!r} in {directory}: use last, best or one of "
            f"{', '.join(map(str, available))}."
        )
    return path_of(directory, step)


def newest_readable(directory: Path) -> Path | None:
    """The newest checkpoint whose manifest this version can read, if there is one."""
    for step in reversed(steps(directory)):
        path = path_of(directory, step)
        with contextlib.suppress(CheckpointError):
            read_manifest(path)
            return path
    return None


def find_intact(directory: Path) -> tuple[Path, dict[Path, DamagedError]]:
    """The newest checkpoint of which every file is whole, and what is wrong with the newer ones.

    Raises:
        CheckpointError: there is none, and the error is that of the newest; or the newest that is as it was written
            is of another format or program.
    """
    newest = find(directory, "last")
    damaged: dict[Path, DamagedError] = {}
    for step in reversed(steps(directory)):
        path = path_of(directory, step)
        try:
            manifest = read_manifest(path)
            for name in manifest["files"]:
                check_file(path / name, manifest)
        except DamagedError as error:
            damaged[path] = error
        else:
            return path, damaged
    raise damaged[newest]


def set_aside(damaged: Mapping[Path, DamagedError], intact: Path) -> None:
    """Says what is wrong with checkpoints newer than the intact one, and renames them: nothing takes them for good ones
    and nothing is deleted."""
    for path, damage in damaged.items():
        message(f"{damage} Going on from {intact.name}, the one before.")
        target, number = path.with_name(f"damaged_{path.name}"), 1
        while target.exists():
            number += 1
            target = path.with_name(f"damaged_{path.name}_{number}")
        path.rename(target)


def prune(directory: Path, keep: Collection[int | None] = (), rule: int | str = KEPT) -> None:
    """Deletes all checkpoints but the newest two, those of a rule (see `kept_by`) and those to be kept besides, and
    what a killed process left half-written."""
    keep = {*steps(directory)[-KEPT:], *kept_by(rule, steps(directory)), *keep}
    for step in steps(directory):
        if step not in keep:
            _remove(path_of(directory, step))
    for path in directory.glob(".writing_*"):
        _remove(path)


def _remove(path: Path) -> None:
    """Deletes a directory; of a link to a place with more room, the link."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink()
