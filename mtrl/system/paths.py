"""Finding out before the work, not after it, what cannot be written."""

from __future__ import annotations

import os
from pathlib import Path


def check_writable(directory: Path) -> None:
    """Checks that files can be written to a directory, which need not exist.

    Raises:
        ValueError: they cannot, or it or what is above it is no directory.
    """
    nearest = next(path for path in (directory, *directory.absolute().parents) if os.path.lexists(path))
    if not nearest.is_dir() or not os.access(nearest, os.W_OK | os.X_OK):
        reason = "not writable" if nearest.is_dir() else "not a directory"
        raise ValueError(
            f"Nothing can be written to {directory}: {nearest} is {reason}; choose another place."
        )
