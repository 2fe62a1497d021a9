"""What the logs of a training say: scores of its evaluations, which are missing, times, measures of its gradients."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mtrl.reporting.files import read_json_lines
from mtrl.storage import checkpoints
from mtrl.storage.json_lines import EXPERIMENT, MISSING, SUCCESS, by_seed, describe_steps, missing_steps
from mtrl.storage.scores import Floats, evaluation_clock, scores_of_line, to_array

NETWORKS = ("critic", "actor")
MEASURES = ("condition_number", "cosine")
"""Measures of the system of the tasks' gradients that are drawn."""

_MOST = 1_000_000  # evaluations that a run may have


class Missing(NamedTuple):
    """How many lines of a log were lost, of how many that were due."""

    lost: int
    due: int


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
) -> Missing:
    """Which evaluations the metrics lack is added to the notes."""
    clock = evaluation_clock(config)
    if clock is None:
        return Missing(0, 0)
    should_evaluate, total = clock
    newest = max((line["step"] for line in lines), default=0)
    evaluated = max((line["step"] for line in lines if SUCCESS in line), default=0)
    last = min(max([newest, *checkpoints.steps(path / "checkpoints")]), should_evaluate.end(total))
    if last // should_evaluate.interval > _MOST:
        raise ValueError(
            f"it says that it made {last} steps, with an evaluation every {should_evaluate.interval}: restore its "
            "metrics.jsonl, its config.yaml or its checkpoints."
        )
    due = should_evaluate.steps(last)
    # Those of after the last one that is there may be going on.
    missing = [
        step
        for step in missing_steps(lines, {"evaluation": due})["evaluation"]
        if not evaluated < step <= newest
    ]
    if missing:
        notes.append(
            f"{path}: the evaluations of steps {describe_steps(missing)} are missing in metrics.jsonl."
        )
    return Missing(len(missing), len(due))


def read_timing(
    path: Path, config: dict[str, Any], lines: list[dict[str, Any]], notes: list[str]
) -> tuple[tuple[Floats, Floats], Missing]:
    """Steps and seconds since the start; a pause between two parts of a run does not count.

    Args:
        lines: of the metrics: where one is of training, there was one of its time.
    """
    clock = evaluation_clock(config)
    end = math.inf if clock is None else clock[0].end(clock[1])
    try:
        timed = [line for line in read_json_lines(path / "timing.jsonl", notes) if EXPERIMENT not in line]
        steps = to_array([line["step"] for line in timed])
        rates = to_array([line.get("steps_per_second") for line in timed])
        if not (np.diff(steps) > 0).all() or not (rates > 0).all():
            raise ValueError("it does not hold increasing steps and positive rates.")
        if steps.size and steps[-1] > end:
            raise ValueError(f"timing.jsonl goes to step {steps[-1]:.0f}, and the run to {end}.")
    except ValueError as error:
        notes.append(f"There are no times of {path}: {error}")
        return (np.empty(0), np.empty(0)), Missing(0, 0)
    trained = {line["step"] for line in lines if not {SUCCESS, MISSING, EXPERIMENT} & line.keys()}
    trained.update(step for line in lines for step in line.get(MISSING, {}).get("training", []))
    due = [step for step in sorted(trained) if step <= end]
    timed_steps = {*steps.tolist()}
    missing = [step for step in due if step not in timed_steps]
    if missing:
        notes.append(
            f"{path}: the times of steps {describe_steps(missing)} are missing in timing.jsonl, so its minutes are not "
            "the run's."
        )
    return (steps, np.cumsum(np.diff(steps, prepend=0.0) / rates)), Missing(len(missing), len(due))


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


def hash_losses(lines: list[dict[str, Any]], num_seeds: int) -> list[set[int]]:
    """For each seed the hashes of its losses, to the last digit, and their step in every line that has some."""
    found: list[set[int]] = [set() for _ in range(num_seeds)]
    for line in lines:
        try:
            losses = to_array([by_seed(line[f"{network}/loss"]) for network in NETWORKS])  # [2, S, T]
        except (KeyError, ValueError):
            continue
        if losses.ndim == 3 and losses.shape[1] == num_seeds:
            for hashes, of_seed in zip(found, losses.swapaxes(0, 1), strict=True):
                if np.isfinite(of_seed).all() and of_seed.any():
                    hashes.add(hash((line["step"], of_seed.tobytes())))
    return found
