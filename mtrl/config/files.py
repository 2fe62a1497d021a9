"""Configuration files: what they hold, and what of that counts beside the words of a command line."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from envs.suggestion import unknown
from mtrl.config.lookup import CLASS_OPTIONS
from mtrl.config.train import GROUPS, TrainConfig
from mtrl.system.files import read_mapping


def read_config(path: Path) -> dict[str, Any]:
    """A YAML file that holds a mapping of options to values, see `nest`.

    Raises:
        ValueError: it cannot be read, or holds something else.
    """
    content = read_mapping("configuration", path, may_be_pipe=True)
    check_names(content)
    return nest(content, f" in the configuration {path}")


def check_names(config: Mapping[str, Any]) -> None:
    """
    Raises:
        ValueError: a name is no option of training.
    """
    known = [f.name for f in fields(TrainConfig)]
    for name in config:
        if str(name).partition(".")[0] not in known:
            raise unknown("option or key", str(name), known)


def nest(config: Mapping[str, Any], where: str = "") -> dict[str, Any]:
    """A configuration with dotted options in the mapping of their group or class: `network.width` in `init_args`.

    They override what the mapping has itself.

    Args:
        where: it is, for the sentence about a group.

    Raises:
        ValueError: an option is of a class that is null, or of what is no mapping; or a group of options is none.
    """
    for name in GROUPS:
        if name in config and not isinstance(config[name], Mapping):
            raise ValueError(f"{name}{where} must be a mapping of options to values, got {config[name]!r}.")
    nested = {name: value for name, value in config.items() if "." not in str(name)}
    dotted = {str(name): value for name, value in config.items() if name not in nested}
    wholes_first = sorted(dotted, key=lambda name: (name.count("."), not name.endswith(".init_args")))
    for name in wholes_first:
        (group, _, option), value = name.partition("."), dotted[name]
        whole = nested.get(group, {})
        if group in CLASS_OPTIONS and isinstance(whole, str) and whole.lower() not in ("null", "none"):
            whole = {"class_path": whole}
        arguments = whole.get("init_args") or {} if isinstance(whole, Mapping) else None
        if not isinstance(arguments, Mapping):
            raise ValueError(f"{name} is an option of {group}, and {group} is {whole!r}.")
        if group in CLASS_OPTIONS and option not in ("class_path", "init_args"):
            option, value = "init_args", {option.removeprefix("init_args."): value}
        if option == "init_args" and isinstance(value, Mapping):
            value = {**arguments, **value}
        nested[group] = {**whole, option: value}
    return nested


def override(config: Mapping[str, Any], later: Mapping[str, Any]) -> dict[str, Any]:
    """A nested configuration overridden by a later one, option by option.

    A class that the later one names takes no option from the one that it replaces.

    Raises:
        ValueError: see `nest`.
    """
    parts: dict[str, Any] = {}
    for name, value in nest(later).items():
        if name in GROUPS or (name in CLASS_OPTIONS and not names_class(value)):
            parts |= {f"{name}.{option}": part for option, part in value.items()}
        else:
            parts[name] = value
    return nest(without_replaced(config, parts) | parts)


def names_class(value: Any) -> bool:
    """Whether what is given for a class names one, or none, and not only options of the class that it is."""
    return not isinstance(value, Mapping) or "class_path" in value or "init_args" not in value


def without_replaced(config: Mapping[str, Any], named: Iterable[str]) -> dict[str, Any]:
    """A nested configuration without the classes in whose place one of the options `named` puts another."""
    replaced = {name.removesuffix(".class_path") for name in named} & CLASS_OPTIONS.keys()
    return {name: value for name, value in config.items() if name not in replaced}


def read_files(arguments: Sequence[str]) -> list[str]:
    """Command-line arguments with the content of each file, as JSON, in place of its path: `--config=...`.

    A class that a later argument or file replaces is left out, so that nobody looks at it.

    Args:
        arguments: `--name=value`, with the names of classes expanded (`mtrl.config.lookup.expand_arguments`).

    Raises:
        ValueError: a file cannot be read.
    """
    read: list[str] = []
    named: set[str] = set()
    options_of_classes = [f"--{kind}" for kind in CLASS_OPTIONS]
    for argument in reversed(arguments):
        option, equals, value = argument.partition("=")
        if option == "--config" and equals:
            content = without_replaced(read_config(Path(value)), named)
            named.update(name for name, value in content.items() if names_class(value))
            argument = f"--config={json.dumps(content)}"
        elif option in options_of_classes and names_class(
            json.loads(value) if value.startswith("{") else value
        ):
            named.add(option.removeprefix("--"))
        read.append(argument)
    return read[::-1]
