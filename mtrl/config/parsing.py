"""jsonargparse with this project's manners: classes by short name, one sentence for an error, the nearest key."""

from __future__ import annotations

import argparse
import inspect
import json
import re
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, TypeVar

from jsonargparse import (  # type: ignore[attr-defined]
    ActionConfigFile,
    ArgumentError,
    ArgumentParser,
    Namespace,
    set_parsing_settings,
)

from mtrl.config.catalogue import unknown
from mtrl.config.imports import TOOLKIT, allow_import
from mtrl.config.lookup import (
    CLASS_OPTIONS,
    expand_arguments,
    expand_names,
    get_object,
    option_types,
    replace_classes,
)
from mtrl.config.spelling import rewrite_arguments, rewrite_mapping
from mtrl.config.train import Device, TrainConfig
from mtrl.system.files import read_mapping

C = TypeVar("C")

set_parsing_settings(import_path_denylist=["*"], import_path_allowlist=list(TOOLKIT))


class ConfigFile(ActionConfigFile):  # type: ignore[misc,unused-ignore]
    """`--config FILE`, with short names of networks and balancers expanded."""

    def __call__(self, parser: Any, cfg: Any, values: Any, option_string: str | None = None) -> None:
        content = rewrite_mapping(read_config(Path(values)), _hints(parser))
        self.apply_config(parser, cfg, self.dest, json.dumps(replace_classes(content)))


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
        _add_allow_import(parser)
    return parser


def _add_allow_import(parser: ArgumentParser) -> None:
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
            namespace: Namespace = parser.parse_object(expand_names(rewrite_mapping(source, _hints(parser))))
        else:
            hints = _hints(parser)
            options = [action.dest for action in parser._actions]
            lists = [f"--{name}" for name in options if str(hints[name]).startswith("list")]
            classes = [kind for kind in CLASS_OPTIONS if kind in hints and f"--{kind}" not in lists]
            groups = [*classes, *dict.fromkeys(dest.partition(".")[0] for dest in options if "." in dest)]
            wholes = [f"--{group}{end}" for group in groups for end in ("", ".class_path", ".init_args")]
            arguments = _put_first(source, ["--allow_import", "--config", *wholes])
            arguments = _join_lists(expand_arguments(arguments, classes), lists)
            namespace = parser.parse_args(rewrite_arguments(arguments, hints))
    except (ArgumentError, TypeError, KeyError) as error:
        raise _explain(parser, str(error)) from error
    return namespace


def _hints(parser: ArgumentParser) -> dict[str, Any]:
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
                values += [value for value in arguments[i].split(",") if value]
                i += 1
            joined.append(f"[{', '.join(values)}]")
    return joined


def _explain(parser: ArgumentParser, message: str) -> ValueError:
    message = " ".join(message.split())
    key = re.search(r"[Uu]nrecognized arguments?: --([\w.]+)", message) or re.search(
        r"Group '(\w+)' does not accept option '(\w+)'", message
    )
    option = re.search(r"class_path '([\w.]+)': Option '(\w+)' is not accepted", message)
    if option:
        cls = get_object(option[1])
        return unknown(f"option of {cls.__name__}", option[2], inspect.signature(cls).parameters)
    known = {a.dest for a in parser._actions} | {
        f"{a.dest}.{n}" for a in parser._actions for n in _option_names(a)
    }
    if key:
        return unknown(
            "option or key",
            ".".join(key.groups()),
            sorted(known - {"help", "print_config", "print_shtab", argparse.SUPPRESS}),
        )
    return _explain_value(message)


_TYPES = {"int": "an integer", "float": "a number", "bool": "true or false", "str": "text"}


def _explain_value(message: str) -> ValueError:
    """What was expected and found, from a message that tells of every type that was tried, the innermost first."""
    name = ".".join(re.findall(r'Parser key "([\w.]+)"', message))
    path = re.search(r"class_path '([^']*)': ((?:No module|module) .*? '[\w.]+')", message)
    if path:
        return ValueError(f"{name} {path[1]!r} cannot be imported: {path[2]}.")
    kind = re.search(r"(?:Import path does not correspond to a|Not a valid) subclass of (\w+)", message)
    if kind:
        found = re.findall(r"(?:Got|Given) value:(.*?)(?= - | Subclass types|$)", message)[-1].strip()
        return ValueError(f"{name} must be the name or import path of a subclass of {kind[1]}, got {found}.")
    value = re.search(
        r"Expected (?:an? )?(?:<class '([\w.]+)'>|typing\.Literal\[(.*?)\])"
        r"(?:\. Got value:| - Expected .*?Given value:)(.*?)(?= Given value type|(?: -)? Expected an? |$)",
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


def parse_dataclass(command: str, description: str, cls: type[C], arguments: list[str]) -> C:
    """A dataclass whose fields are a command's options."""
    parser = make_parser(command, description)
    parser.add_class_arguments(cls)
    values = parser.instantiate(parse(parser, arguments))
    return cls(**values.as_dict())


def train_parser() -> ArgumentParser:
    """The parser of a training configuration."""
    parser = make_parser(
        "train",
        "Train a multi-task agent; `--config` reads a YAML file, and any option overrides it.",
        reads_classes=True,
    )
    parser.add_argument("--config", action=ConfigFile, help="a YAML file with any of the options below")
    parser.add_class_arguments(TrainConfig, fail_untyped=True)
    parser.set_defaults(expand_names({"network": "multi_head", "balancer": "AlignedMTL"}))
    return parser


def parse_resume(arguments: list[str]) -> Namespace:
    """The arguments of `mtrl train --resume`.

    Raises:
        ValueError: there are others, by name, or a value is wrong.
    """
    parser = make_parser("train", "Go on with a run exactly where it stopped.")
    parser.add_argument("--resume", type=Path, required=True, metavar="RUN_DIR", help="the run directory")
    parser.add_argument(
        "--total_steps", type=int | None, help="go on to another number of steps; null takes the run's own"
    )
    parser.add_argument(
        "--device", type=Device | None, help="go on on another device; null takes the run's own"
    )
    _add_allow_import(parser)
    known = [option for action in parser._actions for option in action.option_strings]
    given = [argument.partition("=")[0] for argument in arguments if argument.startswith("-")]
    changed = [option for option in dict.fromkeys(given) if option not in known]
    if changed:
        raise ValueError(
            f"--resume goes on with a run as it was configured: it takes no {', '.join(changed)}, only "
            f"{', '.join(o for o in known if o.startswith('--') and o not in ('--help', '--resume'))}."
        )
    return parse(parser, arguments)


def train_config(parser: ArgumentParser, namespace: Namespace) -> TrainConfig:
    """The resolved configuration of parsed options."""
    for kind in CLASS_OPTIONS:
        if namespace[kind] is not None:  # the parser takes null for any option
            parameters = inspect.signature(get_object(namespace[kind].class_path)).parameters
            for name, value in namespace[kind].init_args.items():
                if value is None and parameters[name].default is not None:
                    raise ValueError(f"{kind}.{name} must have a value, got null.")
    try:
        values = parser.instantiate(namespace)
    except ValueError as error:  # where null is allowed too, the parser wraps what a constructor said
        raise (error.__cause__ if isinstance(error.__cause__, ValueError) else error) from None
    return TrainConfig(**{f.name: values[f.name] for f in fields(TrainConfig)}).resolve()


def dump(parser: ArgumentParser, namespace: Namespace, config: TrainConfig) -> str:
    """The YAML that repeats a resolved configuration."""
    resolved = namespace.clone()
    for key in [k for k in ("config", "resume", "devices") if k in resolved]:
        del resolved[key]
    _copy_values(config, resolved)
    text: str = parser.dump(resolved, skip_unset=False)
    return text


def _copy_values(source: Any, target: Namespace) -> None:
    for field in fields(source):
        value = getattr(source, field.name)
        if is_dataclass(value) and field.name not in CLASS_OPTIONS:
            _copy_values(value, target[field.name])
        elif field.name not in CLASS_OPTIONS:
            target[field.name] = value


def load_config(run_dir: Path, device: Device | None = None, *, with_balancer: bool = True) -> TrainConfig:
    """The configuration that a run was started with, for its own device or another one.

    Args:
        with_balancer: what only acts has no use for the balancer, which may be a class that is not here.

    Raises:
        ValueError: it is no run directory, or its configuration does not fit this version.
    """
    path = run_dir / "config.yaml"
    if not path.is_file():
        inside = f"; its runs are in {run_dir / 'runs'}" if (run_dir / "runs").is_dir() else ""
        raise ValueError(f"{run_dir} is no run directory: it has no config.yaml{inside}.")
    config = read_config(path)
    if device is not None:
        config["device"] = device
    if not with_balancer:
        config["balancer"] = None
    parser = train_parser()
    return train_config(parser, parse(parser, config))


def read_config(path: Path) -> dict[str, Any]:
    """A YAML file that holds a mapping of options to values, as mappings where an option has options.

    Raises:
        ValueError: it cannot be read, or holds something else.
    """
    known = [f.name for f in fields(TrainConfig)]
    content = read_mapping("configuration", path)
    for name in content:
        if str(name).partition(".")[0] not in known:
            raise unknown("option or key", str(name), known)
    for name in ("agent", "evaluation", "checkpoint"):
        if name in content and not isinstance(content[name], dict):
            raise ValueError(
                f"{name} in the configuration {path} must be a mapping of names to values, got {content[name]!r}."
            )
    return content
