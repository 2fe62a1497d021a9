"""Files that are whole or absent, also when the process is killed or the machine stops; reading mappings."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import yaml


def write_text(path: Path, text: str) -> None:
    """Replaces a file by one step: under a temporary name, synced and renamed."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.new")  # another process may write the same file
    temporary.write_text(text, encoding="utf-8")
    sync(temporary)
    temporary.replace(path)
    sync(path.parent)


def sync(path: Path) -> None:
    """Has the system write a file or directory out."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def read_mapping(kind: str, path: Path) -> dict[str, Any]:
    """A YAML file that holds a mapping of names to values.

    Args:
        kind: what the file is, for the errors.

    Raises:
        ValueError: it cannot be read, or holds something else.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ValueError(f"The {kind} {path} cannot be read: {error.strerror}.") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"The {kind} {path} is not valid YAML: {error}.") from error
    if not isinstance(content, dict):
        found = "empty" if content is None else f"a {type(content).__name__}"
        raise ValueError(f"The {kind} {path} must be a mapping of names to values, and it is {found}.")
    return content
