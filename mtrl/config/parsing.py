"""jsonargparse with this project's manners: classes by short name, lists as people write them, errors in a sentence."""

from __future__ import annotations

import argparse
import json
import re
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from jsonargparse import (
    ArgumentError,
    ArgumentParser,
    Namespace,
    set_parsing_settings,
)

from mtrl.config.explain import explain
from mtrl.config.files import names_class, nest, read_files
from mtrl.config.imports import TOOLKIT, allow_import
from mtrl.config.lookup import CLASS_OPTIONS, expand_arguments, expand_classes, option_types
from mtrl.config.spelling import rewrite_arguments, rewrite_mapping
from mtrl.options import check

C = TypeVar("C")
_VALUE = re.compile(r"(?!-).*|-|-[\d.].*|-[^-].* .*", re.DOTALL)
"""What follows an option and is its value, as argparse has it: no option, but a negative number or text with spaces."""

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


def parse(parser: ArgumentParser, source: Sequence[str] | Mapping[str, Any]) -> Namespace:
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
            arguments = _join_values(parser, source, lists)
            arguments = _put_first(arguments, ["--allow_import", "--config", *wholes])
            arguments = expand_arguments(arguments, classes, several)
            reads_files = "config" in options
            if reads_files:
                arguments = read_files(arguments)
            _check_null(arguments, {kind: parser.get_default(kind) is None for kind in classes}, reads_files)
            namespace = parser.parse_args(rewrite_arguments(arguments, hints))
    except (ArgumentError, TypeError, KeyError, OverflowError) as error:
        raise explain(parser, str(error)) from error
    return namespace


def hints_of(parser: ArgumentParser) -> dict[str, Any]:
    """The types of a parser's options, and of those of the classes that it takes."""
    hints = {action.dest: getattr(action, "_typehint", action.type) for action in parser._actions}
    for kind in [kind for kind in CLASS_OPTIONS if kind in hints]:
        hints |= {f"{kind}.{name}": hint for name, hint in option_types(kind).items()}
    return hints


def _join_values(parser: ArgumentParser, arguments: Sequence[str], lists: Sequence[str]) -> list[str]:
    """The arguments with each option and its value in one: `--name=value`.

    `--seeds 0,1` or `--seeds 0 1` is the list that the parser takes, for every option in `lists`. What has no value, or
    is no option of the parser, stays as it is, and the parser says what is wrong with it.
    """
    takes_value = {
        option for action in parser._actions if action.nargs != 0 for option in action.option_strings
    }
    joined, rest = [], deque(arguments)
    while rest:
        argument = rest.popleft()
        option, equals, value = argument.partition("=")
        known = {option, option.partition(".")[0]} & takes_value
        if option in lists and (equals or rest):
            values = [value] if equals else []
            is_whole = (values or rest)[0].startswith("[")
            while rest and not rest[0].startswith("--") and not (is_whole and values):
                values.append(rest.popleft())
            argument = f"{option}={values[0] if is_whole else _as_list(option, values)}"
        elif known and not equals and rest and _VALUE.fullmatch(rest[0]):
            argument = f"{option}={rest.popleft()}"
        joined.append(argument)
    return joined


def _as_list(option: str, values: Sequence[str]) -> str:
    """A list in YAML: what begins something else there is quoted.

    Raises:
        ValueError: it is empty.
    """
    elements = [element for value in values for element in value.split(",") if element]
    if not elements:
        raise ValueError(f"{option} needs a value, got nothing: leave it out for its default.")
    special = re.compile(r"[\[\]{}&*#?|<>=!%@`\"']|: |:$")
    return f"[{', '.join(json.dumps(e) if special.search(e) else e for e in elements)}]"


def _put_first(arguments: Sequence[str], options: Sequence[str]) -> list[str]:
    """The arguments with these options in front, in this order: what is given beside a whole overrides it."""
    places = {option: place for place, option in enumerate(options)}

    def place(argument: str) -> int:
        option, equals, _ = argument.partition("=")
        return places.get(option, len(options)) if equals else len(options)

    return sorted(arguments, key=place)


def _check_null(arguments: Sequence[str], is_null: Mapping[str, bool], reads_files: bool) -> None:
    """Refuses options of a class that is null.

    Args:
        arguments: with the content of each file in place of its path.
        is_null: whether each class is where it is not named.
        reads_files: whether `--config` is an option.
    """
    is_null = dict(is_null)
    for argument in arguments:
        option, equals, value = argument.partition("=")
        name = option.removeprefix("--")
        given = {name: value}
        if name == "config" and equals and reads_files:
            given = json.loads(value)
        elif name in is_null and value.startswith("{"):
            given = {name: json.loads(value)}
        for name, described in given.items():
            kind = name.partition(".")[0]
            if name in is_null and names_class(described):
                is_null[kind] = str(described).lower() in ("null", "none")
            elif equals and is_null.get(kind) and not name.endswith(".help"):
                option = name if name != kind else f"{kind}.init_args"
                raise ValueError(
                    f"{option} is an option of {kind}, and {kind} is null: name a class by --{kind}, or leave the "
                    "option out."
                )


def instantiate(parser: ArgumentParser, namespace: Namespace) -> Namespace:
    """Parsed options, with the networks and balancers that they describe.

    Raises:
        ValueError: one cannot be made.
    """
    try:
        values: Namespace = parser.instantiate(namespace)
    except ValueError as error:  # where another type is allowed too, the parser wraps what a constructor said
        cause = error.__cause__ or error
        if not isinstance(cause, ValueError):
            raise ValueError(
                f"A network or balancer cannot be made: {type(cause).__name__}: {str(cause).rstrip('.')}."
            ) from cause
        raise cause from None
    return values


def parse_dataclass(command: str, description: str, cls: type[C], arguments: list[str]) -> C:
    """A dataclass whose fields are a command's options.

    Raises:
        ValueError: an option is wrong, or not among the values that its type names.
    """
    parser = make_parser(command, description)
    parser.add_class_arguments(cls)
    values = instantiate(parser, parse(parser, arguments)).as_dict()
    check(command, cls, values)
    return cls(**values)
