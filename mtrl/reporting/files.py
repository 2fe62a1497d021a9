"""Reading the files of a run.

What is missing, damaged or of another version raises a ValueError that says so in a sentence.
"""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from mtrl.storage.json_lines import read_lines
from mtrl.system.files import read_file


def read_json_lines(path: Path, notes: list[str]) -> list[dict[str, Any]]:
    """The lines of a log, each with a step; that a last one was cut off is added to the notes."""
    if not path.exists():
        raise ValueError(f"it has no {path.name}.")
    if not read_file("log", path).endswith(b"\n") and path.stat().st_size:
        notes.append(f"The last line of {path} was cut off while it was written, and was left out.")
    return read_lines(path)


def mapping_in(content: dict[str, Any], name: str, path: Path) -> dict[str, Any]:
    """A mapping in what was read from a file."""
    value = content.get(name)
    if not isinstance(value, dict):
        written_by = _written_by(content) or "an unknown version"
        raise ValueError(f"{path.name} has no {name!r}; it is of {written_by}, and this is {_version()}.")
    return value


def version_notes(path: Path, stamp: dict[str, Any]) -> list[str]:
    """A sentence if another version of the toolkit wrote the run."""
    theirs = _written_by(stamp)
    if theirs is None or theirs == _version():
        return []
    return [f"{path} was written by {theirs}, and this is {_version()}."]


def _written_by(stamp: dict[str, Any]) -> str | None:
    versions = stamp.get("versions")
    name = versions.get("mtrl-toolkit") if isinstance(versions, dict) else None
    return None if name is None else f"mtrl-toolkit {name}"


def _version() -> str | None:
    try:
        return f"mtrl-toolkit {version('mtrl-toolkit')}"
    except PackageNotFoundError:
        return None


def list_in(content: dict[str, Any], name: str, kind: type, where: str) -> list[Any]:
    """A list of one type, not empty, in what was read from `where`."""
    value = content.get(name)
    if not isinstance(value, list) or not value or not all(type(v) is kind for v in value):
        raise ValueError(f"{where} must have a list of {name}, got {value!r}.")
    return value
