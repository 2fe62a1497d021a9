"""A run that goes on in its run directory."""

from __future__ import annotations

import contextlib
import dataclasses
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mtrl.config.resolve import resolve
from mtrl.config.train import TrainConfig
from mtrl.storage import checkpoint, checkpoints
from mtrl.storage.check_run import check_run, identity
from mtrl.storage.json_lines import mark_missing, missing_steps, read_lines
from mtrl.storage.run_directory import FROZEN, refuse_link
from mtrl.storage.scores import Scores, evaluated_at
from mtrl.system import terminal
from mtrl.system.files import read_mapping, write_text
from mtrl.system.lock import locked
from mtrl.training.loop import TrainingLoop
from mtrl.training.restore import restore
from mtrl.training.run import run_to_end
from mtrl.training.trainer import Trainer


def resume(config: TrainConfig, run_dir: Path, total_steps: int | None = None) -> None:
    """Goes on with a run from its newest intact checkpoint; a finished one is left as it is.

    Args:
        config: the run's own.
        total_steps: go on to another number of steps, which the run's configuration has from then on. The result is
            that of a run which had this many to make from the start, unless a learning rate had begun to fall.

    Raises:
        CheckpointError: there is none, or all are damaged.
        ValueError: another process trains in the directory, or the run is beyond these steps.
        Interrupted, TrainingError: see `Trainer.run`.
    """
    with locked(run_dir):
        path, damaged = checkpoints.find_intact(run_dir / "checkpoints")
        check_run(run_dir, path, config)
        manifest = checkpoint.read_manifest(path)
        options = read_mapping("configuration", run_dir / "config.yaml")
        # The end of a run that goes on to more steps is evaluated, and was so where that was stopped at once.
        due = evaluated_at(options)
        scores = Scores.read(
            run_dir / "metrics.jsonl",
            len(config.seeds),
            config.get_benchmark().tasks,
            lambda step: due(step) or step == manifest["step"],
        )
        # By the checkpoint's record, as config.yaml may have been edited, if it matters; older versions had none.
        before: int = manifest["values"]["loop"].get("total_steps", config.total_steps)
        if total_steps is not None:
            if total_steps < manifest["step"]:
                raise ValueError(
                    f"--total_steps must be at least {manifest['step']}, which the run {run_dir} has made already, got "
                    f"{total_steps}."
                )
            config = resolve(dataclasses.replace(config, total_steps=total_steps))
            options["total_steps"] = total_steps
            longer = _with_total_steps(run_dir / "config.yaml", total_steps)
        pending = scores.pending(
            config.clock(config.evaluation.interval), manifest["step"], config.total_steps
        )
        if manifest["step"] >= config.total_steps and not pending:
            terminal.message(
                f"The run {run_dir} is finished, at step {manifest['step']} of {config.total_steps}: nothing was "
                f"changed. Evaluate it with `{terminal.command('evaluate', run_dir)}`."
            )
            return
        logs = _check_outputs(run_dir, config.seeds)
        loop = TrainingLoop(config, run_dir)
        restore(loop, path)
        loop.identity = identity(options, read_mapping("stamp", run_dir / "stamp.json"))
        with contextlib.closing(Trainer(loop)) as trainer:
            checkpoints.set_aside(damaged, path)
            _mark_missing(trainer, logs, pending)
            _say_what_differs(config, before, manifest["step"])
            if total_steps is not None:
                write_text(run_dir / "config.yaml", longer)
            run_to_end(trainer)


def _say_what_differs(config: TrainConfig, before: int, step: int) -> None:
    """Says it where a run that goes on is not the one that had its number of steps to make from the start.

    Args:
        before: the number of steps that it had to make until now.
    """
    total = config.total_steps
    factors = [config.agent.learning_rate_factor(step / steps) for steps in (before, total)]
    if factors[0] != factors[1]:
        terminal.message(
            f"The learning rate had begun to fall towards step {before}, or would have towards step {total}: this "
            f"differs from the run that had {total} steps to make from the start."
        )


def _check_outputs(run_dir: Path, seeds: Sequence[int]) -> list[dict[str, Any]]:
    """The lines of the metrics, before anything is changed.

    Raises:
        ValueError: they, or those of the timing, cannot be read, or something else is where training writes.
    """
    curves = run_dir / "tensorboard"
    for path in (run_dir / "checkpoints", curves, *curves.glob("*")):
        refuse_link(run_dir, path)
    for path in (run_dir / FROZEN, run_dir / "failure.json"):
        if path.exists() and not path.is_file():
            raise ValueError(f"{path} must be a file, and it is something else: move it away.")
    for path in (curves, curves / "mean", *(curves / f"seed_{seed}" for seed in seeds)):
        if (path.exists() or path.is_symlink()) and not path.is_dir():
            raise ValueError(f"{path} must be a directory, and it is something else: move it away.")
    paths = (run_dir / "timing.jsonl", run_dir / "metrics.jsonl")
    return [read_lines(path) for path in paths][1]


def _mark_missing(trainer: Trainer, lines: list[dict[str, Any]], pending: list[int]) -> None:
    """Says which lines the metrics lack of those that were written before the checkpoint, and marks it there.

    Args:
        pending: steps whose evaluations are to be made, where their checkpoints are there.
    """
    due = {"training": trainer.loop.logged_steps(), "evaluation": trainer.should_evaluate.steps(trainer.step)}
    missing = missing_steps(lines, due)
    failed = {trainer.step} if (trainer.run_dir / "failure.json").exists() else set()  # it was not logged
    made_again = {*pending} & {*checkpoints.steps(trainer.run_dir / "checkpoints")}
    unwritten = {"training": failed, "evaluation": made_again}
    missing = {
        kind: [step for step in steps if step not in unwritten[kind]] for kind, steps in missing.items()
    }
    sentence = mark_missing(trainer.run_dir / "metrics.jsonl", lines, missing)
    if sentence is not None:
        terminal.message(f"mtrl: {sentence}")


def _with_total_steps(path: Path, total_steps: int) -> str:
    """A configuration with that one line changed.

    Raises:
        ValueError: it has no such line, or several.
    """
    text, count = re.subn(
        r"(?m)^total_steps:.*$", f"total_steps: {total_steps}", path.read_text(encoding="utf-8")
    )
    if count != 1:
        raise ValueError(f"The configuration {path} must have one line for total_steps, and it has {count}.")
    return text
