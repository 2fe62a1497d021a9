"""Values as people write them: `1e5` for a whole number, `none` for null, where an option's type takes these."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from decimal import Decimal
from types import NoneType, UnionType
from typing import Any, Literal, get_args

from mtrl.system.files import parse_yaml

_DIGITS = re.compile(r"[-+]?\d[\d_]*")
_EXPONENT = re.compile(r"[-+]?\d[\d_]*(\.\d*)?[eE]\+?\d{1,2}")
_WORD = re.compile(r"[^\s,\[\]]+")

Hints = Mapping[str, Any]
"""The types of options by their names, dotted where an option is one of a group or class."""


def whole_number(text: str) -> int | None:
    """The number if the text is one in digits (`100_000`) or with an exponent (`1e5`)."""
    if _EXPONENT.fullmatch(text):
        number = Decimal(text.replace("_", ""))
        return int(number) if number == number.to_integral_value() else None
    try:
        return int(text)
    except ValueError:
        return None


def rewrite_arguments(arguments: Sequence[str], hints: Hints) -> list[str]:
    """Command-line arguments, `--name=value`, as the parser reads them.

    Raises:
        ValueError: a list or a mapping is no YAML.
    """
    rewritten = []
    for argument in arguments:
        option, equals, value = argument.partition("=")
        if option.startswith("--") and equals:
            argument = f"{option}={_rewrite_text(option.removeprefix('--'), value, hints)}"
        rewritten.append(argument)
    return rewritten


def rewrite_mapping(options: Mapping[str, Any], hints: Hints, prefix: str = "") -> dict[str, Any]:
    """A configuration, as read from YAML, as the parser reads it."""
    rewritten = {}
    for key, value in options.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping):
            inner = prefix if key == "init_args" else f"{name}."
            rewritten[key] = rewrite_mapping(value, hints, inner)
        else:
            rewritten[key] = _rewrite(value, _parts(hints.get(name)))
    return rewritten


def _rewrite_text(name: str, text: str, hints: Hints) -> str:
    parts = _parts(hints.get(name.replace(".init_args.", ".")))

    def rewrite(word: str) -> str:
        value = _rewrite(word, parts)
        return "null" if value is None else str(value)

    is_group = any(option.startswith(f"{name}.") for option in hints)
    if text.startswith(("{", "[", "&")) and (is_group or list in parts or dict in parts):
        try:
            described = parse_yaml(text)
        except ValueError as error:
            raise ValueError(f"{name} must be valid YAML, got {text[:80]!r}: {error}.") from error
        if is_group and isinstance(described, dict):
            return json.dumps(rewrite_mapping(described, hints, f"{name}."))
    if list in parts:
        return _WORD.sub(lambda match: rewrite(match[0]), text)
    types = {part for part in parts if isinstance(part, type)}
    takes_one_value = (types or Literal in parts) and types <= {int, float, bool, NoneType, UnionType}
    if takes_one_value and not _is_scalar(text):
        return json.dumps(text)  # a sentence has it as it is
    return rewrite(text)


def _is_scalar(text: str) -> bool:
    """Whether a text is one value in YAML, and no list or mapping."""
    try:
        return not isinstance(parse_yaml(text), (dict, list))
    except ValueError:
        return ":" not in text  # the parser would take 1:10 for 70


def _rewrite(value: Any, parts: list[Any]) -> Any:
    if isinstance(value, list):  # of which each is as it is written: no seed is 0.0
        return [v if isinstance(v, float) else _rewrite(v, parts) for v in value]
    if isinstance(value, str) and value.lower() == "none" and NoneType in parts and "none" not in parts:
        return None
    if isinstance(value, str) and int in parts and (_EXPONENT.fullmatch(value) or _DIGITS.fullmatch(value)):
        number = whole_number(value)
        return value if number is None else number
    if isinstance(value, float) and int in parts and value.is_integer():  # YAML's 1.0e+5
        return int(value)
    return value


def _parts(hint: Any) -> list[Any]:
    """The types, and the values of literals, that a type consists of."""
    return [getattr(hint, "__origin__", hint), *(p for part in get_args(hint) for p in _parts(part))]
