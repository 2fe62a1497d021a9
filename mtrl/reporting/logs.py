"""What the logs of a training say: scores of its evaluations, which are missing, times, measures of its gradients."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mtrl.config.clock import Clock
from mtrl.reporting.files import read_json_lines
from mtrl.storage import checkpoints
from mtrl.storage.json_lines import SUCCESS, describe_steps, missing_steps
from mtrl.storage.scores import Floats, scores_of_line, to_array

NETWORKS = ("critic", "actor")
MEASURES = ("condition_number", "cosine")
"""Measures of the system of the tasks' gradients that are drawn."""


def read_scores(
    lines: list[dict[str, Any]], name: str, shape: tuple[int, int], tasks: Sequence[str]
) -> tuple[NDArray[np.int64], Floats]:
    """Steps [n] and scores [n, S, T] of the evaluations during training."""
    steps, scores = [], []
    for line in lines:
        if SUCCESS in line:
            try:
                scores.append(scores_of_line(line, name, shape, tasks))
            except ValueError as error:
                raise ValueError(
                    f"the evaluation of step {line['step']} in metrics.jsonl: {error}"
                ) from error
            steps.append(line["step"])
    if not steps:
        raise ValueError("its metrics.jsonl holds no evaluation yet.")
    return np.array(steps, dtype=np.int64), np.array(scores)


def missing_evaluations(
    path: Path, config: dict[str, Any], lines: list[dict[str, Any]], notes: list[str]
) -> tuple[int, int]:
    """How many evaluations the metrics lack, of how many that were due; which ones is added to the notes."""
    log, worlds, total = (config.get(name) for name in ("log_interval", "worlds_per_task", "total_steps"))
    interval = (config.get("evaluation") or {}).get("interval")
    if not (isinstance(log, int) and isinstance(worlds, int) and isinstance(interval, int)):
        return 0, 0
    if not isinstance(total, int) or min(log, worlds, interval) < 1:
        return 0, 0
    should_evaluate = Clock(interval, worlds)
    newest = max((line["step"] for line in lines), default=0)
    evaluated = max((line["step"] for line in lines if SUCCESS in line), default=0)
    last = min(max([newest, *checkpoints.steps(path / "checkpoints")]), total + worlds)
    evaluations = missing_steps(lines, Clock(log, worlds), should_evaluate, last)["evaluation"]
    # Those of after the last one that is there may be going on.
    evaluations = [step for step in evaluations if not evaluated < step <= newest]
    if evaluations:
        notes.append(
            f"{path}: the evaluations of steps {describe_steps(evaluations)} are missing in metrics.jsonl."
        )
    return len(evaluations), len(should_evaluate.steps(last))


def read_timing(path: Path, notes: list[str]) -> tuple[Floats, Floats]:
    """Steps and seconds since the start; a pause between two parts of a run does not count."""
    try:
        lines = read_json_lines(path, notes)
        steps = to_array([line["step"] for line in lines])
        rates = to_array([line.get("steps_per_second") for line in lines])
        if not (np.diff(steps) > 0).all() or not (rates > 0).all():
            raise ValueError("it does not hold increasing steps and positive rates.")
    except ValueError as error:
        notes.append(f"There are no times of {path.parent}: {error}")
        return np.empty(0), np.empty(0)
    return steps, np.cumsum(np.diff(steps, prepend=0.0) / rates)


def gradient_measures(lines: list[dict[str, Any]], num_seeds: int) -> dict[str, tuple[Floats, Floats]]:
    found = {}
    for name in (f"{network}/{measure}" for network in NETWORKS for measure in MEASURES):
        logged = [line for line in lines if name in line]
        try:
            values = to_array([line[name] for line in logged])
        except ValueError as error:
            raise ValueError(f"{name} in metrics.jsonl: {error}") from error
        if logged and values.shape == (len(logged), num_seeds):
            found[name] = to_array([line["step"] for line in logged]), values
    return found
