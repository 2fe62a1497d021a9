"""Making a run directory: as a whole, by one process, and never over something else."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

from mtrl.config.imports import run_around
from mtrl.system.lock import locked
from mtrl.system.terminal import command

#: What lies in these directories of a run counts as the run's own: it is read, or deleted with what is old.
_OF_THE_RUN = ("checkpoints", "evaluation", "tensorboard")
#: Of a run with frozen seeds: which, since when and why (`mtrl/training/frozen.py`).
FROZEN = "frozen.json"


class MovedError(RuntimeError):
    """A run directory was moved, deleted or replaced while it was trained."""


class HeldDirectory:
    """A run directory that somebody holds: another one may have its name later, or none."""

    def __init__(self, run_dir: Path) -> None:
        self._run_dir, self._found = run_dir, os.stat(run_dir)

    def check(self) -> None:
        """
        Raises:
            MovedError: the directory of this name is no longer the same.
        """
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            if os.path.samestat(self._found, os.stat(self._run_dir)):
                return
        raise MovedError(
            f"Training stopped: the run directory {self._run_dir} was moved, deleted or replaced, and nothing was "
            "written there since. One that was moved goes on by `mtrl train --resume` and its new name."
        )


def refuse_existing(run_dir: Path) -> None:
    """
    Raises:
        ValueError: the directory exists, or is among a run's own.
    """
    refuse_inside(run_dir, "run_dir")
    if run_dir.exists() or run_dir.is_symlink():
        is_run = any((run_dir / name).is_file() for name in ("config.yaml", "devices.yaml"))
        go_on = f", or go on with it by `{command('train', '--resume', run_dir)}`" if is_run else ""
        raise ValueError(
            f"The run directory {run_dir} exists already and is never overwritten: choose another --run_dir{go_on}."
        )


def refuse_inside(path: Path, option: str) -> None:
    """
    Raises:
        ValueError: what is written to a path of the user's would count as a run's own.
    """
    path = path.resolve()
    run = run_around(path)
    if run is not None and path.relative_to(run).parts[:1] in [(name,) for name in _OF_THE_RUN]:
        raise ValueError(
            f"The {option} {path} is among the files of the run {run}, which reads and deletes what is there: choose "
            "another place."
        )


def refuse_link(run_dir: Path, path: Path) -> None:
    """
    Raises:
        ValueError: what is at a path of the run is another run's.
    """
    if run_around(path.resolve()) not in (None, run_dir.resolve()):
        raise ValueError(
            f"{path} is a link into another run, {path.resolve()}, whose files this one would delete or mix with its "
            "own: put a copy in its place."
        )


@contextlib.contextmanager
def created(run_dir: Path, fill: Callable[[Path], None]) -> Iterator[None]:
    """Makes a run directory and holds it, see `locked`.

    It is filled under a name of its own beside its place. Of several processes that make the same one, the first to
    rename succeeds.

    Args:
        fill: writes the content of the directory that it is given.

    Raises:
        ValueError: the directory exists, or cannot be made.
    """
    with contextlib.ExitStack() as stack:
        try:
            run_dir.parent.mkdir(parents=True, exist_ok=True)
            _remove_leftovers(run_dir)
            new = _make_beside(run_dir, stack)
            fill(new)
            new.rename(run_dir)
        except OSError as error:
            refuse_existing(run_dir)
            raise ValueError(
                f"The run directory {run_dir} cannot be made ({error.strerror or error}): choose another --run_dir."
            ) from error
        yield


def _make_beside(run_dir: Path, stack: contextlib.ExitStack) -> Path:
    """A directory of a name of its own, which `stack` holds, and removes where it is still there."""
    while True:
        new = run_dir.with_name(f".{run_dir.name}.{uuid.uuid4().hex[:8]}.new")
        new.mkdir()
        stack.callback(shutil.rmtree, new, ignore_errors=True)
        # Another process may have taken it for a leftover before it was held.
        with contextlib.suppress(FileNotFoundError, ValueError):
            stack.enter_context(locked(new))
            if new.exists():
                return new


def _remove_leftovers(run_dir: Path) -> None:
    """Removes what killed processes left: nobody holds it."""
    leftover = re.compile(re.escape(f".{run_dir.name}.") + r"[0-9a-f]{8}\.new")
    for path in run_dir.parent.iterdir():
        if leftover.fullmatch(path.name):
            with contextlib.suppress(OSError, ValueError), locked(path):
                shutil.rmtree(path)
