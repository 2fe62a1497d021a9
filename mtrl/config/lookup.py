"""Names that users give: classes by short name, snake case or import path, and the nearest name where one is wrong.

What a command line names may be the user's own; what a file names must be allowed (see `mtrl.config.imports`).
"""

from __future__ import annotations

import functools
import importlib
import inspect
import json
import pkgutil
from collections.abc import Mapping, Sequence
from types import NoneType
from typing import Any, get_type_hints

import agents.networks
import mtrl.balancers
from agents.networks import Architecture
from envs import CustomBenchmark
from envs.suggestion import unknown
from mtrl.balancers import Balancer
from mtrl.config.catalogue import snake_case
from mtrl.config.imports import import_class, is_toolkits
from mtrl.system.files import parse_yaml

CLASS_OPTIONS: dict[str, type] = {
    "network": Architecture,
    "critic_network": Architecture,
    "balancer": Balancer,
}
"""The options of a training configuration whose value is a class with options of its own, and what that must be."""


def networks() -> dict[str, type[Architecture]]:
    """Every architecture of the package by its snake-case name."""
    found = {}
    for info in pkgutil.iter_modules(agents.networks.__path__):
        module = importlib.import_module(f"agents.networks.{info.name}")
        for value in vars(module).values():
            declared = isinstance(value, type) and value.__module__ == module.__name__
            if declared and issubclass(value, Architecture) and not inspect.isabstract(value):
                found[snake_case(value.__name__)] = value
    return dict(sorted(found.items()))


def balancers() -> dict[str, type[Balancer]]:
    """Every balancer of the package by its class name."""
    return mtrl.balancers.available()


@functools.cache
def option_types(kind: str) -> dict[str, Any]:
    """The types of the options that classes of the package take; where they differ, the union."""
    types: dict[str, Any] = {}
    for cls in (balancers() if kind == "balancer" else networks()).values():
        for name, hint in get_type_hints(cls.__init__).items():
            types[name] = types[name] | hint if name in types else hint
    return types


def find_class(kind: str, name: str, *, given: bool = False) -> type[Any]:
    """The class of a network or balancer given by name, in any case, or by import path.

    Args:
        kind: one of `CLASS_OPTIONS`.
        given: by the user on the command line, which allows its import; not named by a file.

    Raises:
        ValueError: there is none of that name, it is no such class, or its import is not allowed.
    """
    if "." not in name:
        known: Mapping[str, type] = balancers() if kind == "balancer" else networks()
        by_key = {_key(n): cls for n, cls in known.items()}
        if _key(name) not in by_key:
            raise unknown(kind, name, known)
        return by_key[_key(name)]
    return import_class(kind, name, CLASS_OPTIONS[kind], given=given)


def find_balancers(names: Sequence[str], *options: str) -> list[type[Balancer]]:
    """The balancers that the command line names, or all of the package; each can be made of these options alone.

    Raises:
        ValueError: there is none of that name, it is no such class, or it has not these options, or needs others.
    """
    found = [find_class("balancer", name, given=True) for name in names]
    for cls in found:
        try:
            inspect.signature(cls).bind(**dict.fromkeys(options))
        except TypeError as error:
            made = f"with {', '.join(options)} alone" if options else "without options"
            raise ValueError(
                f"The balancer {cls.__module__}.{cls.__qualname__} cannot be made {made}, as it is here: {error}."
            ) from error
    return found or list(balancers().values())


def import_path(kind: str, name: str, *, given: bool = False) -> str:
    """The import path of a class that is given by name or by import path, the same for both; see `find_class`."""
    cls = find_class(kind, name, given=given)
    path = f"{cls.__module__}.{cls.__qualname__}"
    return path if "." not in name or is_toolkits(cls.__module__) else name


def expand_classes(config: Any, *, given: bool = False) -> Any:
    """A configuration (as read from YAML) whose classes are described by import path and all of their options.

    So a class takes no option from another that it replaces. What only has options, of a class named elsewhere, stays.

    Args:
        given: see `find_class`.
    """
    if not isinstance(config, dict):
        return config
    expanded = dict(config)
    for kind in CLASS_OPTIONS:
        described = expanded.get(kind)
        if isinstance(described, str) and described.lower() not in ("null", "none"):
            described = {"class_path": described}
        if isinstance(described, dict):
            _check_described(kind, described)
            if "class_path" in described:
                path = import_path(kind, described["class_path"], given=given)
                options = _defaults(get_object(path)) | (described.get("init_args") or {})
                described = {"class_path": path, "init_args": options}
            expanded[kind] = described
    return expanded


def _check_described(kind: str, described: Mapping[str, Any]) -> None:
    """
    Raises:
        ValueError: a mapping is no description of a class.
    """
    for key in described:
        if key not in ("class_path", "init_args"):
            raise ValueError(
                f"{kind} is described by class_path and init_args, and it has {key!r}: write "
                f"{{class_path: NAME, init_args: {{OPTION: VALUE}}}}."
            )
    path, options = described.get("class_path", ""), described.get("init_args", {})
    if not isinstance(path, str) or not described:
        raise ValueError(
            f"The class_path of {kind} must be a name or import path, got {path if described else 'nothing'}."
        )
    if not isinstance(options, (Mapping, NoneType)):
        raise ValueError(f"The init_args of {kind} must be a mapping of options to values, got {options!r}.")


def _defaults(cls: type) -> dict[str, Any]:
    """The default values of a class's options that a file can hold."""
    given = {p.name: p.default for p in inspect.signature(cls).parameters.values()}
    return {n: v for n, v in given.items() if v is None or isinstance(v, bool | int | float | str)}


def users_modules(config: Any) -> list[str]:
    """The modules of the user's own classes in a configuration: networks and balancers at any depth, environments."""
    found: set[str] = set()

    def visit(value: Any) -> None:
        if isinstance(value, list):
            for item in value:
                visit(item)
        elif isinstance(value, Mapping):
            for name, item in value.items():
                module = item.rpartition(".")[0] if isinstance(item, str) else ""
                if module and name in ("class_path", *CLASS_OPTIONS) and not is_toolkits(module):
                    found.add(module)
                visit(item)

    visit(config)
    if isinstance(config, Mapping) and isinstance(config.get("benchmark"), Mapping):
        own = CustomBenchmark.from_mapping(config["benchmark"])
        found.update(task.module for task in own.environments if task.module is not None)
    return sorted(found)


def expand_arguments(
    arguments: Sequence[str], kinds: Sequence[str], several: Sequence[str] = ()
) -> list[str]:
    """Command-line arguments in which what is given for `--<kind>=` and its `.class_path` and `.help` is expanded.

    Args:
        several: the kinds of which a list is taken, too: names with commas between them.
    """
    expanded = []
    for argument in arguments:
        option, equals, value = argument.partition("=")
        kind, _, end = option.removeprefix("--").partition(".")
        if option.startswith("--") and equals and kind in kinds and not value.startswith("-"):
            if end == "help":
                argument = f"{option}={import_path(kind, value, given=True)}"
            elif end in ("", "class_path"):
                is_list = kind in several and "," in value and not value.startswith("{")
                value = _expand_list(kind, value, arguments) if is_list else _expand_argument(kind, value)
                argument = f"--{kind}={value}"
            elif end.startswith("dict_kwargs"):  # by which the parser gives a class what it does not take
                raise ValueError(f"{option} is no option of a {kind}: leave it out.")
        expanded.append(argument)
    return expanded


def _expand_list(kind: str, value: str, arguments: Sequence[str]) -> str:
    for argument in arguments:
        if argument.startswith(f"--{kind}."):
            raise ValueError(
                f"{argument.partition('=')[0]} is an option of one {kind}, and --{kind} names several, which have "
                "their default options: name one."
            )
    names = [name for name in value.split(",") if name]
    if not names:
        raise ValueError(f"--{kind} needs a value, got {value!r}.")
    return f"[{', '.join(_expand_argument(kind, name) for name in names)}]"


def get_object(path: str) -> Any:
    """The class or function at an import path."""
    module, _, name = path.rpartition(".")
    return getattr(importlib.import_module(module), name)


def _expand_argument(kind: str, value: str) -> str:
    if value.lower() in ("null", "none"):
        return "null"
    described: Any = value
    if value.startswith("{"):
        try:
            described = parse_yaml(value)
        except ValueError as error:
            raise ValueError(f"{kind} must be valid YAML, got {value[:80]!r}: {error}.") from error
    return json.dumps(expand_classes({kind: described}, given=True)[kind])


def _key(name: str) -> str:
    return name.replace("_", "").replace("-", "").lower()
