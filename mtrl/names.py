"""Names that users give: classes by short name, snake case or import path, and the nearest name where one is wrong."""

from __future__ import annotations

import difflib
import importlib
import inspect
import pkgutil
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import agents.networks
import mtrl.balancers
from agents.networks import Architecture
from mtrl.balancers import Balancer

CLASS_OPTIONS = ("network", "critic_network", "balancer")
"""The options of a training configuration whose value is a class with options of its own."""


def networks() -> dict[str, type[Architecture]]:
    """Every architecture of the package by its snake-case name."""
    found = {}
    for info in pkgutil.iter_modules(agents.networks.__path__):
        module = importlib.import_module(f"agents.networks.{info.name}")
        for value in vars(module).values():
            declared = isinstance(value, type) and value.__module__ == module.__name__
            if declared and issubclass(value, Architecture) and not inspect.isabstract(value):
                found[_snake_case(value.__name__)] = value
    return dict(sorted(found.items()))


def balancers() -> dict[str, type[Balancer]]:
    """Every balancer of the package by its class name."""
    return mtrl.balancers.available()


def import_path(kind: str, name: str) -> str:
    """The import path of a network or balancer given by name, in any case, or by import path.

    Args:
        kind: one of `CLASS_OPTIONS`.

    Raises:
        ValueError: there is none of that name.
    """
    if "." in name:
        return name
    known: Mapping[str, type] = balancers() if kind == "balancer" else networks()
    by_key = {_key(n): cls for n, cls in known.items()}
    if _key(name) not in by_key:
        raise unknown(kind, name, known)
    cls = by_key[_key(name)]
    return f"{cls.__module__}.{cls.__qualname__}"


def expand_names(config: Any) -> Any:
    """A configuration (as read from YAML) in which networks and balancer are import paths."""
    if not isinstance(config, dict):
        return config
    expanded = dict(config)
    for kind in CLASS_OPTIONS:
        value = expanded.get(kind)
        if isinstance(value, str) and value.lower() not in ("null", "none"):
            expanded[kind] = {"class_path": import_path(kind, value)}
        elif isinstance(value, dict) and isinstance(value.get("class_path"), str):
            expanded[kind] = value | {"class_path": import_path(kind, value["class_path"])}
    return expanded


def expand_arguments(arguments: list[str], kinds: Sequence[str]) -> list[str]:
    """Command-line arguments in which the values of `--<kind>` and `--<kind>.help` are import paths."""
    expanded = list(arguments)
    options = {option: kind for kind in kinds for option in (f"--{kind}", f"--{kind}.help")}
    for i, argument in enumerate(arguments):
        option, equals, value = argument.partition("=")
        if option not in options:
            continue
        if equals:
            expanded[i] = f"{option}={_path_or_null(options[option], value)}"
        elif i + 1 < len(arguments):
            expanded[i + 1] = _path_or_null(options[option], arguments[i + 1])
    return expanded


def get_object(path: str) -> Any:
    """The class or function at an import path."""
    module, _, name = path.rpartition(".")
    return getattr(importlib.import_module(module), name)


def unknown(kind: str, name: str, valid: Iterable[str]) -> ValueError:
    """The error for a name that is not one of `valid`."""
    names = list(valid)
    nearest = difflib.get_close_matches(name, names, n=1, cutoff=0.4)
    hint = f"did you mean {nearest[0]!r}?" if nearest else f"choose one of {', '.join(names)}."
    return ValueError(f"There is no {kind} {name!r}: {hint}")


def _path_or_null(kind: str, value: str) -> str:
    if value.lower() in ("null", "none"):
        return "null"
    return value if value.startswith(("{", "-")) else import_path(kind, value)


def _key(name: str) -> str:
    return name.replace("_", "").replace("-", "").lower()


def _snake_case(name: str) -> str:
    return "".join(f"_{c.lower()}" if c.isupper() and i else c.lower() for i, c in enumerate(name))
