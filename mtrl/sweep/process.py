"""A run as a process of `mtrl train`, of `mtrl train --resume` where there is a checkpoint, or of `mtrl evaluate`."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from mtrl.config.lookup import users_modules
from mtrl.sweep.plan import PlannedRun
from mtrl.sweep.state import is_trained, last_step
from mtrl.system.files import write_text
from mtrl.system.lock import locked


def start(
    run: PlannedRun, root: Path, environment: Mapping[str, str] | None = None
) -> subprocess.Popen[bytes]:
    """Starts a run, goes on with it, or evaluates it once it is trained; its messages are appended to the run's log.

    Args:
        root: the sweep's directory.
        environment: variables beside those of this process.

    Raises:
        ValueError: another process trains it.
    """
    directory = run.directory(root)
    if directory.exists():
        _clear_unstarted(run, root)
    if run.evaluate.engine is not None and is_trained(run, root):
        arguments = ["evaluate", str(directory), "--engine", run.evaluate.engine]
        arguments += ["--episodes", str(run.evaluate.episodes), "--device", run.device]
        arguments += ["--num_workers", str(run.options["num_workers"])]
    elif last_step(run, root) is not None:
        arguments = ["train", "--resume", str(directory)]
    else:
        path = run.config_path(root)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_text(path, yaml.safe_dump({**run.options, "run_dir": str(directory)}, sort_keys=False))
        arguments = ["train", "--config", str(path)]
    return spawn([*arguments, *allowances(run.options)], run.log_path(root), environment)


def allowances(options: Mapping[str, Any]) -> list[str]:
    """Arguments that allow a process the user's own classes of a configuration that was allowed them here."""
    return [f"--allow_import={module}" for module in users_modules(options)]


def _clear_unstarted(run: PlannedRun, root: Path) -> None:
    """Removes a run that was stopped before there was anything to go on from.

    A process that lost its sweep or its node ends within a second: it is waited for.
    """
    for attempt in range(20):
        try:
            with locked(run.directory(root)):
                if last_step(run, root) is None:
                    shutil.rmtree(run.directory(root))
                return
        except ValueError:
            if attempt == 19:
                raise
            time.sleep(0.5)


def spawn(
    arguments: Sequence[str], log: Path, environment: Mapping[str, str] | None = None
) -> subprocess.Popen[bytes]:
    """`mtrl ARGUMENTS` in a process that ends with this one, in a session of its own: a Ctrl-C does not reach it.

    Raises:
        ValueError: the log is a link, which in a run of somebody else's may lead to any file of the user's.
    """
    if log.is_symlink():
        raise ValueError(f"The log {log} must be a file, and it is a link: put a copy in its place.")
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as file:
        file.write(f"$ mtrl {' '.join(arguments)}\n".encode())
        file.flush()
        return subprocess.Popen(
            [sys.executable, "-P", "-m", "mtrl.cli.child", str(os.getpid()), *arguments],
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=file,
            env={**os.environ, **(environment or {})},
            start_new_session=True,
        )


def was_killed(code: int) -> bool:
    """Whether an exit code is a signal's, as Python or a shell tells it; otherwise the process ended by itself."""
    return code < 0 or code > 128


def last_words(log: Path) -> str:
    """The last line of a log."""
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines() if log.exists() else []
    return next((line.strip() for line in reversed(lines) if line.strip()), "no message")
