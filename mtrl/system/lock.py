"""One process at a time in a directory."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def locked(directory: Path, *, wait: bool = False) -> Iterator[None]:
    """Holds a directory, of a run for instance; the system lets go of it when the process ends, however it ends.

    Args:
        wait: for another process that holds it.

    Raises:
        ValueError: another process holds it.
    """
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError as error:
            raise ValueError(
                f"Another process is training in {directory}: wait until it has ended, or stop it first."
            ) from error
        yield
    finally:
        os.close(descriptor)
