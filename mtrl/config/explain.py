"""What jsonargparse says of bad input, as one sentence: expected, found, and the nearest key."""

from __future__ import annotations

import argparse
import inspect
import re
from dataclasses import fields, is_dataclass
from typing import Any

from jsonargparse import ArgumentParser

from envs.suggestion import unknown
from mtrl.config.lookup import get_object


def explain(parser: ArgumentParser, message: str) -> ValueError:
    """The error for what jsonargparse says of a key or a value."""
    message = re.sub(r"\s*\n\s*", " ", message)
    message = re.sub(
        r"^.*Unable to load config '.*' - (?=Parser key)", "", message
    )  # of a group: what is in it
    help_command = f"`{parser.prog} --help`"
    if arguments := re.search(r"[Uu]nrecognized arguments?: (?!--\w)(.*)", message):
        return ValueError(f"{parser.prog} takes no {arguments[1]!r} here: see {help_command}.")
    if required := re.search(r"the following arguments are required: (.*)", message):
        return ValueError(f"{parser.prog} needs {required[1]}: see {help_command}.")
    if valueless := re.search(r"argument (--[^\s/:]+).*: expected (?:one|at least one) argument", message):
        return ValueError(f"{valueless[1]} needs a value: see {help_command}.")
    key = re.search(r"[Uu]nrecognized arguments?: --([\w.]+)", message) or re.search(
        r"Group '(\w+)' does not accept option '(\w+)'", message
    )
    names = list(key.groups()) if key else []
    below = re.search(r"Got value: NestedArg\(key='([\w.]+)'", message)  # an option of one that has none
    if below:
        names = [*re.findall(r'Parser key "([\w.]+)"', message), below[1]]
    option = re.search(r"class_path '([\w.]+)': Option '(\w+)' is not accepted", message)
    if option:
        cls = get_object(option[1])
        return unknown(f"option of {cls.__name__}", option[2], inspect.signature(cls).parameters)
    known = {a.dest for a in parser._actions} | {
        f"{a.dest}.{n}" for a in parser._actions for n in _option_names(a)
    }
    if names:
        return unknown(
            "option or key",
            ".".join(names),
            sorted(known - {"help", "print_config", "print_shtab", argparse.SUPPRESS}),
        )
    return _explain_value(message)


_TYPES = {"int": "an integer", "float": "a number", "bool": "true or false", "str": "text"}


def _explain_value(message: str) -> ValueError:
    """What was expected and found, from a message that tells of every type that was tried, the innermost first."""
    # Of an option that may be one class or a list of them, a key is named for each.
    name = ".".join(dict.fromkeys(re.findall(r'Parser key "([\w.]+)"', message)))
    path = re.search(r"class_path '([^']*)': ((?:No module|module) .*? '[\w.]+')", message)
    if path:
        return ValueError(f"{name} {path[1]!r} cannot be imported: {path[2]}.")
    if "unsupported operand type" in message:  # of {0} among numbers, say
        return ValueError(f"{name} cannot be read: write its values as in [1, 2].")
    if "Exceeds the limit" in message or "too large to convert" in message:
        return ValueError(f"{name or 'An option'} must be a number of fewer digits.")
    if "dict[str, list]" in message:  # the axes of a sweep
        return ValueError(
            f"{name} must be a mapping of options to lists of values, such as {{agent.tau: [0.01, 0.005]}}, or a list "
            f"of such mappings, got {message.rpartition('Given value: ')[2]}."
        )
    group = re.search(
        r"Unable to load config ['\"](.*?)['\"]|Importing '(.*?)' is not allowed|"
        r"thus '(.*?)' is not accepted as class_path",
        message,
    )
    if group:
        found = group[1] or group[2] or group[3]
        return ValueError(f"{name.rpartition('.')[2]} must be a mapping of options to values, got {found}.")
    if "has no attribute 'keys'" in message:
        return ValueError(f"The init_args of {name} must be a mapping of options to values.")
    kind = re.search(r"(?:Import path does not correspond to a|Not a valid) subclass of (\w+)", message)
    if kind:
        found = re.findall(r"(?:Got|Given) value:(.*?)(?= - | Subclass types|$)", message)[-1].strip()
        return ValueError(f"{name} must be the name or import path of a subclass of {kind[1]}, got {found}.")
    value = re.search(
        r"Expected (?:an? )?(?:<class '([\w.]+)'>|typing\.Literal\[(.*?)\])\d*"  # digits of a "5."
        r"(?:\. Got value:| - Expected .*?Given value:)(.*?)(?= Given value type|(?: -)? Expected an? | - Problem |$)",
        message,
    )
    if value:
        choices = value[2] and "one of " + value[2].replace("'", "")
        expected = choices or _TYPES.get(value[1], "a list such as [1, 2]")
        if not choices and (others := re.search(r"Expected a typing\.Literal\[(.*?)\]", message)):
            expected += " or " + others[1].replace("'", "")
        return ValueError(f"{name} must be {expected}, got {value[3].strip() or 'nothing'}.")
    reason = re.split(r"Errors: (?:- )?", message)[-1].split(" - ")[0].split('": ')[-1].rstrip(".")
    return ValueError(f"{name}: {reason}." if name else f"{reason}.")


def _option_names(action: Any) -> list[str]:
    hint = getattr(action, "_typehint", None)
    return [f.name for f in fields(hint)] if isinstance(hint, type) and is_dataclass(hint) else []
