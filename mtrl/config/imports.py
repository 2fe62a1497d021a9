"""Whose code is imported: the toolkit's own, and what the user names on the command line.

What is only named in a file (a configuration, a run that somebody sent, a sweep's state) is imported if it is the
toolkit's, or if the user allows its module by name; nothing that lies in a run directory ever is. jsonargparse, which
imports what a value names, is held to the same list.
"""

from __future__ import annotations

import importlib
import inspect
import sys
from collections.abc import Iterable
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import TypeVar

from mtrl.system.terminal import one_line

C = TypeVar("C")

TOOLKIT = ("agents.networks", "mtrl.balancers")
"""The packages of its networks and balancers."""
_allowed = set(TOOLKIT)


def is_toolkits(module: str) -> bool:
    """Whether a module is of those with the toolkit's own networks and balancers."""
    return _is_in(module, TOOLKIT)


def _is_in(module: str, packages: Iterable[str]) -> bool:
    return any(f"{module}.".startswith(f"{name}.") for name in packages)


def import_class(kind: str, path: str, base: type[C], *, given: bool = False) -> type[C]:
    """The class at an import path, looked at before anything is called.

    Args:
        kind: of what it is a class, for the errors.
        base: what it must be a subclass of.
        given: by the user on the command line, which allows its import; not named by a file. What is imported already
            needs no allowance.

    Raises:
        ValueError: it is no such class, or its import is not allowed.
    """
    module, _, name = path.rpartition(".")
    expected = f"{kind} must be the name or import path of a subclass of {base.__name__}"
    if not all(part.isidentifier() for part in path.split(".")):
        raise ValueError(f"{expected}, got {path!r}.")
    found = getattr(import_named(kind, path, module, given=given), name, None)
    if found is None:
        raise ValueError(f"The {kind} {path!r} cannot be imported: {module} has no attribute {name!r}.")
    if not isinstance(found, type) or not issubclass(found, base) or found is base:
        raise ValueError(f"{expected}, got {path}.")
    if inspect.isabstract(found):
        missing = ", ".join(sorted(getattr(found, "__abstractmethods__", ())))
        raise ValueError(f"The {kind} {path!r} is abstract: it must define {missing}.")
    for place in (module, found.__module__):  # an allowed module may have it from another one
        _allow(place)
    return found


def import_named(kind: str, name: str, module: str, *, given: bool = False) -> ModuleType:
    """The module of what a user or a file names.

    Args:
        kind, name: what is named, for the errors.
        given: see `import_class`.

    Raises:
        ValueError: its import is not allowed, or fails.
    """
    if not given and module not in sys.modules and not _is_in(module, _allowed):
        raise ValueError(
            f"The {kind} {name!r} is not of this toolkit, and what a file names is not imported: if you trust it, "
            f"`import {module}` first in Python, or give --allow_import {module} on the command line."
        )
    try:
        if given and not is_toolkits(module):
            allow_import(module)
        return import_module(module)
    except ValueError as error:
        raise ValueError(f"The {kind} {name!r} cannot be used: {error}") from error


def _allow(module: str) -> None:
    if not _is_in(module, _allowed):
        from jsonargparse import set_parsing_settings  # which a policy alone does without

        _allowed.add(module)
        set_parsing_settings(import_path_allowlist=[module])


def allow_import(module: str) -> None:
    """Imports a module that the user names, found by Python or in the working directory, and allows what it defines.

    Raises:
        ValueError: it cannot be imported, or is in a run directory.
    """
    here = Path.cwd()
    if str(here) not in sys.path and run_around(here) is None:
        sys.path.append(str(here))
    import_module(module)
    _allow(module)


def import_module(module: str) -> ModuleType:
    """Imports a module and the packages that it is in, each after a look at where it is.

    Raises:
        ValueError: it cannot be imported, or is in a run directory.
    """
    parts = module.split(".")
    for name in (".".join(parts[: i + 1]) for i in range(len(parts))):
        if name in sys.modules:  # it has run, and the toolkit itself may lie below what looks like a run
            continue
        try:
            spec = find_spec(name)
            if spec is None:
                raise ModuleNotFoundError(
                    f"No module named {name!r} is installed, in PYTHONPATH, or in the working directory (where that is "
                    "no run)"
                )
            origin = spec.origin if spec.has_location else None  # not "frozen", which is no place
            for place in filter(None, [origin, *(spec.submodule_search_locations or ())]):
                run = run_around(Path(place).absolute()) or run_around(Path(place).resolve())
                if run is not None:
                    raise ImportError(f"it is in the run directory {run}, and no code of a run is imported")
            importlib.import_module(name)
        except (Exception, SystemExit) as error:  # it runs code of the user's
            reason = one_line(str(error)) or type(error).__name__
            raise ValueError(f"The module {module!r} cannot be imported: {reason}.") from error
    return sys.modules[module]


def run_around(path: Path) -> Path | None:
    """The run directory that a path is, or is in, if there is one."""
    return next((p for p in (path, *path.parents) if is_run_directory(p)), None)


def is_run_directory(path: Path) -> bool:
    """Whether a directory has what `mtrl train` writes first."""
    return any(
        all((path / name).exists() for name in names)
        for names in (("config.yaml", "stamp.json"), ("devices.yaml", "manifest.json"))
    )
