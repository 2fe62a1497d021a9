"""The files of a run agree: configuration, stamp and checkpoints are of one experiment."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mtrl.config.experiment import flatten, record
from mtrl.storage.checkpoint import CheckpointError, read_manifest
from mtrl.storage.json_lines import is_step
from mtrl.system.files import read_mapping

if TYPE_CHECKING:  # a policy is loaded without environments
    from mtrl.config.train import TrainConfig


def check_run(run_dir: Path, checkpoint: Path, config: TrainConfig | None = None) -> None:
    """Compares the files of a run: configuration, stamp and a checkpoint must be of one experiment.

    Args:
        config: the run's, whose benchmark and protocol are also compared as this version has them.

    Raises:
        ValueError: they are not, or one of them cannot be read; the sentence names what differs.
        CheckpointError: the manifest is damaged.
    """
    options = read_mapping("configuration", run_dir / "config.yaml")
    stamp = read_mapping("stamp", run_dir / "stamp.json")
    named = options.get("benchmark")
    ours = {
        "benchmark": {"name": named.get("name") if isinstance(named, Mapping) else named},
        "engine": options.get("engine"),
    }
    if config is not None:
        ours |= {
            "benchmark": dataclasses.asdict(config.get_benchmark()),
            "protocol": dataclasses.asdict(config.get_protocol()),
        }
    theirs = flatten(stamp)
    for name, value in flatten(ours).items():
        value = list(value) if isinstance(value, tuple) else value
        added = (
            name not in theirs and f"{name.partition('.')[0]}.name" in theirs
        )  # since the stamp was written
        if not added and theirs.get(name, "unset") != value:
            raise ValueError(
                f"The files of the run {run_dir} disagree: {name} is {theirs.get(name, 'unset')!r} in stamp.json, and "
                f"{value!r} by config.yaml and this version. Restore the one that was changed, or use the version that "
                "the stamp names; another experiment is a new run."
            )
    manifest = read_manifest(checkpoint)
    loop = manifest["values"].get("loop")
    if not isinstance(loop, dict):
        raise CheckpointError(f"The checkpoint {checkpoint} is of no training: its manifest has no `loop`.")
    _check_loop(checkpoint, loop, manifest["step"], options)
    tasks, trained = theirs.get("benchmark.tasks"), loop.get("tasks")  # those of before have none
    if trained is not None and tasks != trained:
        raise ValueError(
            f"The files of the run {run_dir} disagree: benchmark.tasks is {tasks!r} in stamp.json, and {trained!r} in "
            f"its checkpoint {checkpoint.name}. Restore stamp.json; another experiment is a new run."
        )
    now, then = record(options), loop.get("experiment")  # checkpoints of before have none
    if then is None:
        return
    if not isinstance(then, dict):
        raise CheckpointError(
            f"The checkpoint {checkpoint} is of no training: its `experiment` is no mapping."
        )
    changed = [n for n in sorted({*now, *then}) if now.get(n, "unset") != then.get(n, "unset")]
    if changed:
        differences = "; ".join(
            f"{n} is {now.get(n, 'unset')!r}, was {then.get(n, 'unset')!r}" for n in changed
        )
        raise ValueError(
            f"config.yaml of the run {run_dir} is not what its checkpoint {checkpoint.name} was made with: "
            f"{differences}. Restore it; another experiment is a new run."
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
