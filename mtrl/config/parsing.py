"""jsonargparse with this project's manners: classes by short name, lists as people write them, errors in a sentence."""

from __future__ import annotations

import argparse
import itertools
import json
import re
from collections.abc import Mapping
from typing import Any, TypeVar

from jsonargparse import (
    ArgumentError,
    ArgumentParser,
    Namespace,
    set_parsing_settings,
)

from mtrl.config.explain import explain
from mtrl.config.files import nest, read_files
from mtrl.config.imports import TOOLKIT, allow_import
from mtrl.config.lookup import CLASS_OPTIONS, expand_arguments, expand_classes, option_types
from mtrl.config.spelling import rewrite_arguments, rewrite_mapping

C = TypeVar("C")

set_parsing_settings(import_path_denylist=["*"], import_path_allowlist=list(TOOLKIT))


class AllowImport(argparse.Action):
    """`--allow_import MODULE`, as often as there are modules."""

    def __call__(self, parser: Any, namespace: Any, values: Any, option_string: str | None = None) -> None:
        allow_import(str(values))


def make_parser(command: str, description: str, *, reads_classes: bool = False) -> ArgumentParser:
    """The parser of one command, to be used through `parse`.

    Args:
        reads_classes: whether the command constructs classes that a file names.
    """
    parser = ArgumentParser(
        prog=f"mtrl {command}", description=description, exit_on_error=False, allow_abbrev=False
    )
    if reads_classes:
        add_allow_import(parser)
    return parser


def add_allow_import(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--allow_import",
        action=AllowImport,
        dest=argparse.SUPPRESS,
        metavar="MODULE",
        help="a module that a class of your own is in, where a file or a run names the class (what the command line "
        "names is allowed by that)",
    )


def parse(parser: ArgumentParser, source: list[str] | Mapping[str, Any]) -> Namespace:
    """Parses command-line arguments, or a configuration as read from YAML.

    Raises:
        ValueError: a key or a value is wrong.
    """
    try:
        if isinstance(source, Mapping):
            namespace: Namespace = parser.parse_object(
                expand_classes(rewrite_mapping(nest(source), hints_of(parser)))
            )
        else:
            hints = hints_of(parser)
            options = [action.dest for action in parser._actions]
            lists = [f"--{name}" for name in options if str(hints[name]).startswith("list")]
            classes = [kind for kind in CLASS_OPTIONS if kind in hints and f"--{kind}" not in lists]
            groups = [*classes, *dict.fromkeys(dest.partition(".")[0] for dest in options if "." in dest)]
            wholes = [f"--{group}{end}" for group in groups for end in ("", ".class_path", ".init_args")]
            several = [kind for kind in classes if "list[" in str(hints[kind])]
            arguments = _put_first(source, ["--allow_import", "--config", *wholes])
            arguments = expand_arguments(arguments, classes, several)
            if "config" in options:
                arguments = read_files(arguments)
            _check_null(arguments, {kind: parser.get_default(kind) is None for kind in classes})
            namespace = parser.parse_args(rewrite_arguments(_join_lists(arguments, lists), hints))
    except (ArgumentError, TypeError, KeyError) as error:
        raise explain(parser, str(error)) from error
    return namespace


def hints_of(parser: ArgumentParser) -> dict[str, Any]:
    """The types of a parser's options, and of those of the classes that it takes."""
    hints = {action.dest: getattr(action, "_typehint", action.type) for action in parser._actions}
    for kind in [kind for kind in CLASS_OPTIONS if kind in hints]:
        hints |= {f"{kind}.{name}": hint for name, hint in option_types(kind).items()}
    return hints


def _put_first(arguments: list[str], options: list[str]) -> list[str]:
    """The arguments with these options in front, in this order: what is given beside a whole overrides it."""
    rest, first = list(arguments), []
    for option in options:
        i = 0
        while i < len(rest):
            name, equals, _ = rest[i].partition("=")
            taken = 0 if name != option else 1 if equals else 2
            first += rest[i : i + taken]
            del rest[i : i + taken]
            i += taken == 0
    return first + rest


def _check_null(arguments: list[str], is_null: dict[str, bool]) -> None:
    """Refuses options of a class that is null.

    Args:
        is_null: whether each class is where it is not named.
    """
    is_null = dict(is_null)
    for argument, following in itertools.zip_longest(arguments, arguments[1:], fillvalue=""):
        option, equals, value = argument.removeprefix("--").partition("=")
        value = value if equals else following
        if option == "config":
            is_null |= {k: v is None for k, v in json.loads(value).items() if k in is_null}
        elif option.removesuffix(".class_path") in is_null:
            is_null[option.removesuffix(".class_path")] = value.lower() in ("null", "none")
        elif (
            is_null.get(option.partition(".")[0])
            and argument.startswith("--")
            and not option.endswith(".help")
        ):
            kind = option.partition(".")[0]
            raise ValueError(
                f"{option} is an option of {kind}, and {kind} is null: name a class by --{kind}, or leave the option "
                "out."
            )


def _join_lists(arguments: list[str], lists: list[str]) -> list[str]:
    """`--seeds 0,1` or `--seeds 0 1` as the list that the parser takes, for every option in `lists`."""
    joined: list[str] = []
    i = 0
    while i < len(arguments):
        name, equals, value = arguments[i].partition("=")
        if equals and name in lists:
            arguments = [*arguments[:i], name, value, *arguments[i + 1 :]]
        argument, i = arguments[i], i + 1
        joined.append(argument)
        if argument in lists and i < len(arguments) and not arguments[i].startswith("["):
            values = []
            while i < len(arguments) and not arguments[i].startswith("--"):
                values += [_as_text(value) for value in arguments[i].split(",") if value]
                i += 1
            if not values:
                raise ValueError(f"{argument} needs a value, got nothing: leave it out for its default.")
            joined.append(f"[{', '.join(values)}]")
    return joined


def _as_text(value: str) -> str:
    """A value as an element of a list in YAML: what begins something else there is quoted."""
    return json.dumps(value) if re.search(r"[\[\]{}&*#?|<>=!%@`\"']|: |:$", value) else value


def parse_dataclass(command: str, description: str, cls: type[C], arguments: list[str]) -> C:
    """A dataclass whose fields are a command's options."""
    parser = make_parser(command, description)
    parser.add_class_arguments(cls)
    values = parser.instantiate(parse(parser, arguments))
    return cls(**values.as_dict())
