"""A training configuration from a command line or a file, and back."""

from __future__ import annotations

import inspect
import json
from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

from jsonargparse import ActionConfigFile, ArgumentParser, Namespace  # type: ignore[attr-defined]

from mtrl.config.files import read_config
from mtrl.config.lookup import CLASS_OPTIONS, expand_classes, get_object, import_path
from mtrl.config.parsing import add_allow_import, hints_of, instantiate, make_parser, parse
from mtrl.config.resolve import resolve
from mtrl.config.spelling import rewrite_mapping
from mtrl.config.train import Device, TrainConfig


class ConfigFile(ActionConfigFile):  # type: ignore[misc,unused-ignore]
    """`--config`, with what `read_files` has put there."""

    def __call__(self, parser: Any, cfg: Any, values: Any, option_string: str | None = None) -> None:
        content = rewrite_mapping(json.loads(values), hints_of(parser))
        self.apply_config(parser, cfg, self.dest, json.dumps(expand_classes(content)))


def train_parser() -> ArgumentParser:
    """The parser of a training configuration."""
    parser = make_parser(
        "train",
        "Train a multi-task agent; `--config` reads a YAML file, and any option overrides it.",
        reads_classes=True,
    )
    parser.add_argument("--config", action=ConfigFile, help="a YAML file with any of the options below")
    parser.add_class_arguments(TrainConfig, fail_untyped=True)
    parser.set_defaults(expand_classes({"network": "multi_head", "balancer": "AlignedMTL"}))
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
    add_allow_import(parser)
    known = [option for action in parser._actions for option in action.option_strings]
    given = [argument.partition("=")[0] for argument in arguments if argument.startswith("-")]
    changed = [option for option in dict.fromkeys(given) if option not in known]
    if changed:
        raise ValueError(
            f"--resume goes on with a run as it was configured: it takes no {', '.join(changed)}, only "
            f"{', '.join(o for o in known if o.startswith('--') and o not in ('--help', '--resume'))}."
        )
    return parse(parser, arguments)


def configure(
    source: Sequence[str] | Mapping[str, Any], device: Device | None = None
) -> tuple[TrainConfig, str]:
    """The resolved configuration of a command line or of a mapping of options, and the YAML that repeats it.

    Args:
        device: in place of the one that was given.

    Raises:
        ValueError: a key or a value is wrong.
    """
    parser = train_parser()
    namespace = parse(parser, source)
    if device is not None:
        namespace.device = device
    config = train_config(parser, namespace)
    return config, dump(parser, namespace, config)


def train_config(parser: ArgumentParser, namespace: Namespace) -> TrainConfig:
    """The resolved configuration of parsed options."""
    for kind in CLASS_OPTIONS:
        if namespace[kind] is not None:  # the parser takes null for any option
            parameters = inspect.signature(get_object(namespace[kind].class_path)).parameters
            for name, value in namespace[kind].init_args.items():
                if value is None and parameters[name].default is not None:
                    raise ValueError(f"{kind}.{name} must have a value, got null.")
    values = instantiate(parser, namespace)
    return resolve(TrainConfig(**{f.name: values[f.name] for f in fields(TrainConfig)}))


def dump(parser: ArgumentParser, namespace: Namespace, config: TrainConfig) -> str:
    """The YAML that repeats a resolved configuration."""
    resolved = namespace.clone()
    for key in [k for k in ("config", "resume", "devices") if k in resolved]:
        del resolved[key]
    _copy_values(config, resolved)
    for kind in CLASS_OPTIONS:
        if resolved[kind] is not None:  # the parser shortens the path of a default
            resolved[kind].class_path = import_path(kind, resolved[kind].class_path)
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
