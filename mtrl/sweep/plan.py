"""From a sweep to its runs: combinations of the axes, each with its seeds in packs."""

from __future__ import annotations

import hashlib
import itertools
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import yaml

from envs.suggestion import unknown
from mtrl.config.experiment import Role, experiment, role
from mtrl.config.files import check_names, nest, override, read_config
from mtrl.config.loading import configure
from mtrl.config.lookup import CLASS_OPTIONS
from mtrl.config.train import GROUPS, TrainConfig
from mtrl.sweep.config import FinalEvaluation, Grid, SweepConfig


@dataclass(frozen=True)
class Method:
    """One combination of the axes.

    Args:
        name: made of the axes' values; unique in a sweep.
        options: a configuration as `mtrl train --config` reads it, without seeds and run_dir.
        config: the same, resolved for a CPU: the machine that trains may have a GPU where this one has none.
        experiment: its options that make it the experiment that it is, see `mtrl.config.experiment`.
        evaluate: how the last checkpoint is evaluated, if it is.
    """

    name: str
    options: dict[str, Any]
    config: TrainConfig
    experiment: dict[str, Any]
    evaluate: FinalEvaluation = field(default_factory=FinalEvaluation)

    @property
    def device(self) -> str:
        """What was asked for: auto, cpu or cuda."""
        return str(self.options.get("device") or "auto")


@dataclass(frozen=True)
class PlannedRun:
    """One process of `mtrl train`: a method with S of its seeds.

    Args:
        options: a configuration as `mtrl train --config` reads it, without run_dir.
        digest: of the experiment and the seeds.
        evaluate: how the last checkpoint is evaluated, if it is.
    """

    name: str
    method: str
    seeds: tuple[int, ...]
    options: dict[str, Any]
    digest: str
    total_steps: int
    evaluate: FinalEvaluation = field(default_factory=FinalEvaluation)

    @property
    def device(self) -> str:
        """What was asked for: auto, cpu or cuda."""
        return str(self.options.get("device") or "auto")

    def directory(self, root: Path) -> Path:
        """The run directory in the sweep's directory."""
        return root / "runs" / self.name

    def config_path(self, root: Path) -> Path:
        return root / "configs" / f"{self.name}.yaml"

    def log_path(self, root: Path) -> Path:
        return root / "logs" / f"{self.name}.log"


def make_run(method: Method, seeds: Sequence[int]) -> PlannedRun:
    """The run of some of a method's seeds."""
    return PlannedRun(
        name=f"{method.name}-seed{_ranges(seeds)}",
        method=method.name,
        seeds=tuple(seeds),
        options={**method.options, "seeds": list(seeds)},
        digest=_digest(method.experiment, seeds),
        total_steps=method.config.total_steps,
        evaluate=method.evaluate,
    )


def digest_of(run_dir: Path) -> str:
    """The digest of a run's own configuration; options that came after it was started have their defaults.

    Raises:
        ValueError: the configuration does not fit this version.
    """
    config, text = configure(read_config(run_dir / "config.yaml"), device="cpu")
    return _digest(experiment(yaml.safe_load(text)), config.seeds)


def _digest(options: Mapping[str, Any], seeds: Sequence[int]) -> str:
    text = json.dumps({**options, "seeds": list(seeds)}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def methods(config: SweepConfig) -> list[Method]:
    """Every combination of the axes, in the order of the file.

    Raises:
        ValueError: an axis is unknown or empty, a combination is no valid configuration, or two have the same name.
    """
    if isinstance(config.base, str):
        base = read_config(Path(config.base))
    else:
        check_names(config.base)
        base = nest(config.base)
    found: dict[str, Method] = {}
    grids = config.axes if isinstance(config.axes, list) else [config.axes]
    for grid in grids:
        _check_axes(grid)
        for values in _combinations(grid):
            name = "-".join(_label(axis, value) for axis, value in values.items()) or "run"
            options = _merge(base, values)
            # Names are directories, and some file systems do not tell PCGrad from pcgrad.
            if name.lower() in found:
                raise ValueError(
                    f"Two combinations of the axes have the same name {name!r}: every value must appear once, and "
                    "classes of the same name need different options."
                )
            # What the machine would decide by the number of all its cores, though it has several runs.
            for option in ("num_workers", "num_threads"):
                if options.get(option) is None:
                    options[option] = config.cores_per_run
            resolved, text = _resolve(name, options)
            if isinstance(resolved.benchmark, dict):  # what a file of environments has in it
                options["benchmark"] = resolved.benchmark
            method = Method(name, options, resolved, experiment(yaml.safe_load(text)), config.evaluate)
            found[name.lower()] = method
    return list(found.values())


def _resolve(name: str, options: Mapping[str, Any]) -> tuple[TrainConfig, str]:
    """See `configure`."""
    try:
        return configure(options, device="cpu")
    except ValueError as error:
        raise ValueError(f"The method {name} of the sweep cannot be trained: {error}") from error


def _check_axes(grid: Grid) -> None:
    known = sorted(_known_axes())
    for axis, values in grid.items():
        if axis == "seeds":
            raise ValueError("seeds are no axis: give them as `seeds:` of the sweep.")
        if axis not in known and not re.fullmatch(rf"({'|'.join(CLASS_OPTIONS)})\.\w+", axis):
            raise unknown("axis", axis, known)
        if role(axis) is Role.EXECUTION:
            raise ValueError(
                f"{axis} is no axis: it says how a run is executed or what is kept of it, and all methods would be one."
            )
        if not isinstance(values, list) or not values:
            raise ValueError(f"The axis {axis} must be a list of at least one value, got {values!r}.")


def _known_axes() -> set[str]:
    names = {f.name for f in fields(TrainConfig)} - {"seeds", "run_dir"}
    return names | {f"{name}.{f.name}" for name, group in GROUPS.items() for f in fields(group)}


def _combinations(grid: Grid) -> Iterator[dict[str, Any]]:
    for values in itertools.product(*grid.values()):
        yield dict(zip(grid, values, strict=True))


def _merge(base: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """The base configuration with the axes' values; a whole network or balancer comes before its options."""
    options = {k: v for k, v in base.items() if k not in ("seeds", "run_dir")}
    for axis in values:
        kind, dot, _ = axis.partition(".")
        if dot and kind in CLASS_OPTIONS and (options | dict(values)).get(kind) is None:
            raise ValueError(f"The axis {axis} needs a {kind}, in the base configuration or as an axis.")
    return override(options, values)


def _label(axis: str, value: Any) -> str:
    """A short name of a value, fit for a directory."""
    if isinstance(value, dict) and "class_path" in value:
        arguments = value.get("init_args") or {}
        parts = [str(value["class_path"]).rpartition(".")[2], *(f"{k}{v}" for k, v in arguments.items())]
        text = "-".join(parts)
    elif axis == "benchmark" and isinstance(value, dict):
        text = str(value.get("name", "own"))
    elif axis == "benchmark" and str(value).endswith((".yaml", ".yml")):
        text = Path(value).stem
    elif axis in (*CLASS_OPTIONS, "benchmark", "protocol"):
        text = "none" if value is None else str(value).rpartition(".")[2]
    else:
        text = f"{axis.rpartition('.')[2]}{value}"
    return re.sub(r"[^\w.+-]+", "_", text).strip("_")


def _ranges(seeds: Sequence[int]) -> str:
    """[0, 1, 2, 5] as "0-2_5"."""
    groups = itertools.groupby(enumerate(sorted(seeds)), lambda pair: pair[1] - pair[0])
    runs = [[seed for _, seed in group] for _, group in groups]
    return "_".join(str(run[0]) if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in runs)
