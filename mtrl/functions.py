"""The commands as functions: the same options under the same names, as values instead of text.

Bad input is a ValueError with the sentence that the command prints. Progress goes to stderr.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from mtrl.config.files import names_class, nest, without_replaced
from mtrl.config.loading import configure, load_config, parse_resume
from mtrl.config.parsing import make_parser, parse
from mtrl.config.train import Device
from mtrl.evaluation.checkpoint import Evaluation
from mtrl.evaluation.command import evaluate as evaluate_runs
from mtrl.reporting.command import report as report_runs
from mtrl.reporting.tables import Table
from mtrl.training.resume import resume as resume_run
from mtrl.training.run import train as train_run


def train(config: str | Path | Mapping[str, Any] | None = None, **options: Any) -> Path:
    """Trains in a new run directory and returns that: `mtrl train`.

    Args:
        config: a YAML file, or a mapping of options to values: `{"network": "shared", "network.width": 256}`.
        options: override the configuration, of a group or class one by one: `agent={"tau": 0.01}` leaves its gamma.

    Raises:
        ValueError: an option is wrong, or the run directory exists.
        TrainingError, Interrupted: training stopped early; a checkpoint was written.
    """
    if isinstance(config, Mapping):
        named = [name for name, value in options.items() if names_class(value)]
        given = without_replaced(nest(config), named)
    else:
        given = {} if config is None else {"config": str(config)}
    return train_run(*configure(_arguments(given) + _arguments(options)))


def resume(run: str | Path, total_steps: int | None = None, device: Device | None = None) -> Path:
    """Goes on with a run exactly where it stopped, and returns its directory: `mtrl train --resume`.

    Args:
        total_steps: train to another number of steps, as if the run had had them to make from the start, unless a
            learning rate had begun to fall.
        device: auto, cpu or cuda; null goes on on the run's own.

    Raises:
        ValueError: this is no run, or all its checkpoints are damaged.
        TrainingError, Interrupted: training stopped early; a checkpoint was written.
    """
    given = {"resume": _path(run), "total_steps": total_steps, "device": device}
    options = parse_resume(_arguments(given))
    resume_run(load_config(options.resume, options.device), options.resume, options.total_steps)
    return Path(run)


def evaluate(run: str | Path, *, sampled: bool = False, **options: Any) -> Evaluation:
    """Evaluates a checkpoint of a run, and writes every episode to its `evaluation` directory: `mtrl evaluate`.

    Args:
        sampled: sample actions, instead of the mean action.
        options: as of `mtrl evaluate --help`, under the same names.

    Raises:
        ValueError: an option is wrong, or there is no such checkpoint.
    """
    (evaluation,) = evaluate_runs(
        [_path(run)], **_options(evaluate_runs, "run_dir", {"sampled": sampled, **options})
    )
    return evaluation


def report(runs: str | Path | Sequence[str | Path], **options: Any) -> list[Table]:
    """Compares runs, and returns the tables (`Table.records()`, `Table.to_markdown()`): `mtrl report`.

    Args:
        runs: directories of runs, or directories with runs in them.
        options: as of `mtrl report --help`, under the same names.

    Raises:
        ValueError: an option is wrong, or the runs cannot be compared.
    """
    paths = [_path(run) for run in ([runs] if isinstance(runs, (str, Path)) else runs)]
    return report_runs(paths, **_options(report_runs, "runs", options))


def _path(run: str | Path) -> Path:
    """
    Raises:
        ValueError: it is empty: as a path it would be the working directory.
    """
    if run == "":
        raise ValueError("The name of a run is empty: a variable may be unset.")
    return Path(run)


def _options(function: Callable[..., Any], runs: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """What a command makes of its options, beside the `runs`."""
    parser = make_parser(function.__name__, "")
    parser.add_function_arguments(function, skip={runs})
    return parse(parser, _arguments(options)).as_dict()


def _arguments(options: Mapping[str, Any]) -> list[str]:
    return [f"--{name}={_text(name, value)}" for name, value in options.items()]


def _text(name: str, value: Any) -> str:
    """A value as the command line takes it.

    Raises:
        ValueError: it is none that a file can hold, or empty: as a path it would be the working directory.
    """
    if value == "":
        raise ValueError(f"{name} needs a value, got nothing: leave it out for its default.")
    try:
        return str(value) if isinstance(value, (str, Path)) else json.dumps(value)
    except (TypeError, ValueError):
        raise ValueError(
            f"{name} must be text, a number, a list or a mapping of these, got a {type(value).__name__}."
        ) from None
