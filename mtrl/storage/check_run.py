"""The files of a run agree: configuration, stamp and checkpoints each say which run it is, and must say the same."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mtrl.config.experiment import flatten, record
from mtrl.storage import checkpoints
from mtrl.storage.checkpoint import CheckpointError, read_manifest
from mtrl.storage.json_lines import is_step, read_experiment
from mtrl.storage.scores import evaluation_clock
from mtrl.system.files import read_mapping
from mtrl.system.terminal import shorten

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
    check_files(run_dir, options, stamp, checkpoint, config)


def check_files(
    run_dir: Path,
    options: Mapping[str, Any],
    stamp: Mapping[str, Any],
    checkpoint: Path | None = None,
    config: TrainConfig | None = None,
) -> None:
    """What `check_run` does, where `config.yaml` and `stamp.json` were read already."""
    stamped = flatten(stamp)
    said = {
        "config.yaml": {"experiment": record(options)},
        "stamp.json": {
            **dict.fromkeys(_RULES, "unset"),
            **_identity_in(stamp),
            "tasks": stamped.get("benchmark.tasks"),
        },
    }
    checkpoint = checkpoint or checkpoints.newest_readable(run_dir / "checkpoints")
    if checkpoint is not None:
        manifest = read_manifest(checkpoint)
        loop = manifest["values"].get("loop")
        if loop is None:
            raise CheckpointError(
                f"The checkpoint {checkpoint} is of no training: its manifest has no `loop`."
            )
        said[f"its checkpoint {checkpoint.name}"] = _identity_in(loop)
    for (one, first), (other, second) in combinations(said.items(), 2):
        topics = first.keys() & second.keys()
        theirs = (flatten({topic: of_one[topic] for topic in topics}) for of_one in (first, second))
        _compare(run_dir, one, other, *theirs)
    expected = _expected(options, stamped, config)
    found = {name: stamped.get(name, "unset") for name in expected}
    _compare(run_dir, "stamp.json", "config.yaml and this version", found, expected)
    for name in ("metrics.jsonl", "timing.jsonl"):
        check_experiment(run_dir, options, name, read_experiment(run_dir / name))
    if checkpoint is not None:
        clock = evaluation_clock(options)
        if clock is not None and manifest["step"] > (end := clock[0].end(clock[1])):
            raise DisagreementError(
                f"The files of the run {run_dir} disagree: it ends at step {end} by config.yaml, and its checkpoint "
                f"{checkpoint.name} is of a later one. Restore the total_steps that it was trained to."
            )
        _check_loop(checkpoint, loop, manifest["step"], options)


def check_experiment(run_dir: Path, options: Mapping[str, Any], name: str, found: Any) -> None:
    """Compares what a file says of the run that it is of with the configuration of the one that it is in.

    Args:
        options: of the run's config.yaml.
        name: of the file, in the run.
        found: the options that the file names, see `record`; None where it is of an older version, and names none.

    Raises:
        DisagreementError: it is of another experiment, or of other seeds.
    """
    if found is not None:
        theirs, ours = (flatten({"experiment": said}) for said in (found, record(options)))
        _compare(run_dir, "config.yaml", name, ours, theirs)


def _identity_in(content: Mapping[str, Any]) -> dict[str, Any]:
    """What of `identity` a stamp or a checkpoint has; of it, checkpoints of 2026-11-30 had the tasks alone."""
    names = ("experiment", *_RULES, "tasks")
    return {name: content[name] for name in names if content.get(name) is not None}


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
        name: value
        for name, value in flatten(expected).items()
        if name in stamped or f"{name.partition('.')[0]}.name" not in stamped
    }


def _compare(
    run_dir: Path, one: str, other: str, first: Mapping[str, Any], second: Mapping[str, Any]
) -> None:
    """
    Args:
        first, second: by name, what `one` and `other` say.

    Raises:
        DisagreementError: it is not the same.
    """
    values = {
        name: (first.get(name, "unset"), second.get(name, "unset")) for name in sorted({*first, *second})
    }
    differences = [
        f"{name.removeprefix('experiment.')} is {shorten(value)} in {one} and {shorten(other_value)} in {other}"
        for name, (value, other_value) in values.items()
        if _as_text(value) != _as_text(other_value)
    ]
    if len(differences) > _MOST:
        differences[_MOST:] = [f"and {len(differences) - _MOST} more differ"]
    if differences:
        raise DisagreementError(
            f"The files of the run {run_dir} disagree: {'; '.join(differences)}. Restore what was changed, move away "
            "what is another run's, or use the version that the stamp names; another experiment is a new run."
        )


def _as_text(value: Any) -> str:
    """A value as JSON has it: a list is a tuple, but 1.0 is no seed, and true is not 1."""
    return json.dumps(value, sort_keys=True, default=str)


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
        "log_intervals": lambda value: _are_intervals(value, step),
        "learns_from": lambda value: is_step(value) and value <= step + to_collect,
        "measure": lambda value: value in ("success", "return"),
        "device": lambda value: value in ("cpu", "cuda"),
        "total_steps": lambda value: is_step(value) and value > 0,
        "frozen": lambda value: (
            isinstance(value, dict)
            and all(seed in names and isinstance(why, dict) for seed, why in value.items())
        ),
    }
    for name, fit in fits.items():  # an older version did not keep all of them
        if name in loop and not fit(loop[name]):
            raise CheckpointError(
                f"The manifest of {checkpoint} was not written for it by this toolkit: its `{name}` is "
                f"{shorten(loop[name])}; use another checkpoint."
            )


def _are_intervals(value: Any, step: int) -> bool:
    """Whether these are pairs of a step, up to this one, and the interval from then on."""
    return (
        isinstance(value, list)
        and bool(value)
        and all(
            isinstance(pair, list) and len(pair) == 2 and all(type(n) is int for n in pair) for pair in value
        )
        and all(since <= step and interval > 0 for since, interval in value)
    )
