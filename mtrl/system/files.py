"""Files that are whole or absent, also when the process is killed or the machine stops; reading mappings."""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from mtrl.system.terminal import one_line

_MOST_VALUES = 100_000  # of a file that is written by hand; a few lines of aliases can stand for billions


def write_text(path: Path, text: str) -> None:
    """Replaces a file by one step: under a temporary name, synced and renamed."""
    # Another process, perhaps on another machine, or another thread may write the same file.
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.new")
    try:
        with writing(path):
            temporary.write_text(text, encoding="utf-8")
            sync(temporary)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
    temporary.replace(path)
    sync(path.parent)


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Names what is written in the error of a full disk, which does not say it."""
    try:
        yield
    except OSError as error:
        if error.filename is None and error.errno is not None:
            error.filename = str(path)
        raise


def reason(error: OSError) -> str:
    """What the system says of a file, in words."""
    name = error.filename2 or error.filename
    text = error.strerror or str(error).rstrip(".")
    return f"{name}: {text}" if name else text


def sync(path: Path) -> None:
    """Has the system write a file or directory out."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def read_file(kind: str, path: Path, *, may_be_pipe: bool = False) -> bytes:
    """
    Args:
        kind: what the file is, for the error.
        may_be_pipe: for a file that the user names; anywhere else nobody would ever write to the pipe.

    Raises:
        ValueError: it cannot be read.
    """
    exists = path.exists() or path.is_symlink()
    if not may_be_pipe and exists and not path.is_file():
        found = "Is a directory" if path.is_dir() else "a pipe, a device or a link to nowhere"
        raise ValueError(
            f"The {kind} {path} must be a file, and it is something else ({found}): move it away."
        )
    try:
        return path.read_bytes()
    except OSError as error:
        raise ValueError(f"The {kind} {path} cannot be read: {error.strerror}.") from error


def read_mapping(kind: str, path: Path, *, may_be_pipe: bool = False) -> dict[str, Any]:
    """A file of YAML, or of JSON if it is called so, that holds a mapping of names to values.

    Args:
        kind, may_be_pipe: see `read_file`.

    Raises:
        ValueError: it cannot be read, or holds something else.
    """
    language, parse_text = ("JSON", parse_json) if path.suffix == ".json" else ("YAML", parse_yaml)
    text = read_file(kind, path, may_be_pipe=may_be_pipe)
    try:
        content = parse_text(text.decode())
    except ValueError as error:
        raise ValueError(f"The {kind} {path} is not valid {language}: {error}.") from error
    if not isinstance(content, dict):
        found = "empty" if content is None else f"a {type(content).__name__}"
        raise ValueError(f"The {kind} {path} must be a mapping of names to values, and it is {found}.")
    return content


def parse_json(text: str) -> Any:
    """What a text in JSON holds.

    Raises:
        ValueError: it is no JSON.
    """
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise ValueError(f"it is no JSON from line {error.lineno}, column {error.colno} on") from error
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
    except ValueError as error:  # Python reads 4,300 digits at most
        raise ValueError("a number in it has too many digits") from error


def parse_yaml(text: str) -> Any:
    """What a text in YAML holds, a tree of values.

    Raises:
        ValueError: it is no YAML, or no tree that can be gone through.
    """
    try:
        content = yaml.load(text, _Loader)
    except yaml.YAMLError as error:
        raise ValueError(one_line(str(error))) from error
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
    except Exception as error:  # what PyYAML's constructors of numbers, dates, ... say of other text
        raise ValueError("a number or a date in it cannot be read") from error
    if _count(content, {}) > _MOST_VALUES:
        raise ValueError(f"with what it refers to it has more than {_MOST_VALUES} values")
    return content


class _Loader(yaml.SafeLoader):
    """Refuses a name that is there twice, of which YAML would take the last, and reads whole numbers in decimal."""

    def construct_yaml_int(self, node: yaml.ScalarNode) -> int:
        """YAML would take 010 for 8 and 1:10 for 70."""
        based = node.value.lstrip("+-").startswith(("0x", "0b"))
        return int(node.value, 0 if based else 10)

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        node = super().compose_mapping_node(anchor)
        found = set()
        for name in [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]:
            if name in found and name != "<<":
                raise yaml.YAMLError(f"{name!r} is there twice")
            found.add(name)
        return node


_Loader.add_constructor("tag:yaml.org,2002:int", _Loader.construct_yaml_int)


def _count(value: Any, counted: dict[int, int]) -> int:
    """How many values a tree has, those that YAML's aliases repeat each time.

    Args:
        counted: of the parts that were gone through, by id; 0 while one is.
    """
    if not isinstance(value, (dict, list)):
        return 1
    if id(value) not in counted:
        counted[id(value)] = 0
        parts = value.values() if isinstance(value, dict) else value
        counted[id(value)] = 1 + sum(_count(part, counted) for part in parts)
    elif counted[id(value)] == 0:
        raise ValueError("it refers to itself")
    return counted[id(value)]
