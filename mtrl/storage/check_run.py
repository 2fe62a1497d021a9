"""The files of a run agree: configuration, stamp and checkpoints each say which run it is, and must say the same."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mtrl.config.experiment import flatten, record
from mtrl.storage import checkpoints
from mtrl.storage.checkpoint import CheckpointError, read_manifest
from mtrl.storage.json_lines import is_step
from mtrl.system.files import read_mapping

if TYPE_CHECKING:  # a policy is loaded without environments
    from mtrl.config.train import TrainConfig

META_WORLD_SIZES = {"observation_size": 39, "action_size": 4}
_RULES = ("protocol", "benchmark", "engine", *META_WORLD_SIZES)
_MOST = 4  # differences in a sentence


class DisagreementError(ValueError):
    """The files of a run are not of one experiment."""


def identity(options: Mapping[str, Any], stamp: Mapping[str, Any]) -> dict[str, Any]:
    """Which run it is: what a checkpoint keeps of its configuration and stamp."""
    return {"experiment": record(options), **{name: stamp[name] for name in _RULES if name in stamp}}


def check_run(run_dir: Path, checkpoint: Path | None = None, config: TrainConfig | None = None) -> None:
    """Compares what the files of a run say of it. (Those of older versions say less, and are held to that.)

    Args:
        checkpoint: by default the newest that can be read, if there is one.
        config: the run's, whose benchmark and protocol are also compared as this version has them.

    Raises:
        DisagreementError: they do not say the same; the sentence names what differs.
        ValueError: one of them cannot be read.
        CheckpointError: the manifest is damaged, or of no training.
    """
    options = read_mapping("configuration", run_dir / "config.yaml")
    stamp = read_mapping("stamp", run_dir / "stamp.json")
    checkpoint = checkpoint or checkpoints.newest_readable(run_dir / "checkpoints")
    said = {
        "config.yaml": {"experiment": record(options)},
        "stamp.json": dict.fromkeys(_RULES, "unset") | _identity_in(stamp),
    }
    older: dict[str, Any] = {}
    if checkpoint is not None:
        manifest = read_manifest(checkpoint)
        loop = manifest["values"].get("loop")
        if loop is None:
            raise CheckpointError(
                f"The checkpoint {checkpoint} is of no training: its manifest has no `loop`."
            )
        said[f"its checkpoint {checkpoint.name}"] = _identity_in(loop)
        older = {"benchmark.tasks": loop["tasks"]} if loop.get("tasks") else {}
    for (one, first), (other, second) in combinations(said.items(), 2):
        topics = [topic for topic in first if topic in second]
        a, b = (flatten({topic: said_by[topic] for topic in topics}) for said_by in (first, second))
        _compare(run_dir, {name: (a.get(name, "unset"), b.get(name, "unset")) for name in a | b}, one, other)
    stamped = flatten(stamp)
    for source, names in (
        ("its checkpoint", older),
        ("config.yaml and this version", _expected(options, stamped, config)),
    ):
        _compare(
            run_dir, {n: (stamped.get(n, "unset"), value) for n, value in names.items()}, "stamp.json", source
        )
    if checkpoint is not None:
        _check_loop(checkpoint, loop, manifest["step"], options)


def _identity_in(content: Mapping[str, Any]) -> dict[str, Any]:
    """What of `identity` a stamp or a checkpoint has."""
    return {name: content[name] for name in ("experiment", *_RULES) if content.get(name) is not None}


def _expected(
    options: Mapping[str, Any], stamped: Mapping[str, Any], config: TrainConfig | None
) -> dict[str, Any]:
    """What a stamp must say where the configuration is what it is, as far as its version knew that."""
    named = options.get("benchmark")
    expected: dict[str, Any] = {
        "benchmark": {"name": named.get("name") if isinstance(named, Mapping) else named}
    }
    expected |= {"engine": options["engine"]} if "engine" in options else {}
    if config is not None:
        rules = {"benchmark": config.get_benchmark(), "protocol": config.get_protocol()}
        expected |= {topic: dataclasses.asdict(rule) for topic, rule in rules.items()}
    if stamped.get("protocol.name") != "custom":
        expected |= {name: size for name, size in META_WORLD_SIZES.items() if name in stamped}
    return {
        name: list(value) if isinstance(value, tuple) else value
        for name, value in flatten(expected).items()
        if name in stamped or f"{name.partition('.')[0]}.name" not in stamped
    }


def _compare(run_dir: Path, values: Mapping[str, tuple[Any, Any]], one: str, other: str) -> None:
    """
    Args:
        values: by name, what `one` and `other` say.

    Raises:
        DisagreementError: some differ.
    """
    differences = [
        f"{name.removeprefix('experiment.')} is {first!r} in {one} and {second!r} in {other}"
        for name, (first, second) in sorted(values.items())
        if first != second
    ]
    if len(differences) > _MOST:
        differences[_MOST:] = [f"and {len(differences) - _MOST} more differ"]
    if differences:
        raise DisagreementError(
            f"The files of the run {run_dir} disagree: {'; '.join(differences)}. Restore what was changed, or use the "
            "version that the stamp names; another experiment is a new run."
        )


def _check_loop(checkpoint: Path, loop: Mapping[str, Any], step: int, options: Mapping[str, Any]) -> None:
    """
    Args:
        options: what `config.yaml` holds.

    Raises:
        CheckpointError: a value of what says how far training was is none that training keeps.
    """
    sizes = (options.get(name) for name in ("random_steps", "batch_size"))
    to_collect = max((size for size in sizes if is_step(size)), default=0)
    seeds = options.get("seeds")
    names = [str(seed) for seed in seeds] if isinstance(seeds, list) else []
    fits: dict[str, Callable[[Any], bool]] = {
        "step": lambda value: bool(value == step),
        "best_step": lambda value: value is None or is_step(value),
        "best_score": lambda value: value is None or isinstance(value, (int, float)),
        "pending_evaluation": lambda value: value is None or is_step(value),
        "log_intervals": _are_intervals,
        "learns_from": lambda value: is_step(value) and value <= step + to_collect,
        "measure": lambda value: value in ("success", "return"),
        "device": lambda value: value in ("cpu", "cuda"),
        "frozen": lambda value: (
            isinstance(value, dict)
            and all(seed in names and isinstance(why, dict) for seed, why in value.items())
        ),
    }
    for name, fit in fits.items():  # an older version did not keep all of them
        if name in loop and not fit(loop[name]):
            raise CheckpointError(
                f"The manifest of {checkpoint} was not written for it by this toolkit: its `{name}` is "
                f"{loop[name]!r}; use another checkpoint."
            )


def _are_intervals(value: Any) -> bool:
    """Whether these are pairs of a step and the interval from then on."""
    return (
        isinstance(value, list)
        and bool(value)
        and all(
            isinstance(pair, list) and len(pair) == 2 and all(type(n) is int for n in pair) for pair in value
        )
        and all(interval > 0 for _, interval in value)
    )
