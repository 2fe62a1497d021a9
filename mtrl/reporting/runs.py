"""Reading what runs left: success of every evaluation, seed and task, wall-clock time, condition numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from mtrl.config.train import GROUPS
from mtrl.reporting.evaluations import read_best_way
from mtrl.reporting.files import list_in, mapping_in, read_json_lines, version_notes
from mtrl.reporting.logs import (
    Missing,
    gradient_measures,
    hash_losses,
    missing_evaluations,
    read_scores,
    read_timing,
)
from mtrl.storage.check_run import DisagreementError, check_files
from mtrl.storage.json_lines import RETURNS, SUCCESS, is_step
from mtrl.storage.run_directory import FROZEN
from mtrl.storage.scores import Floats, Measure, check_due, evaluated_at, evaluation_clock
from mtrl.system.files import read_mapping

Source = Literal["metrics", "evaluation"]


@dataclass(frozen=True)
class Run:
    """One run directory.

    path: the directory. config: as in config.yaml. stamp: as in stamp.json.
    seeds: the S seeds trained side by side. tasks: names of the T tasks.
    measure: what scores are of: success, or the return where environments of the user's say nothing of success.
    steps: environment steps per task at each evaluation [n]. scores: success rates or returns [n, S, T].
    timing: steps [m] and the seconds of training, evaluations included, until then [m]; empty where it was not kept.
    evaluated: scores of the last step [S, T] by `mtrl evaluate`, where they are taken.
    last: the step that `final` is of.
    way: how `mtrl evaluate` did it, where its evaluations are taken; empty for those during training.
    gradients: for "critic/cosine" and its like steps [m] and values [m, S], NaN where there was none.
    losses: of each seed the hashes of `hash_losses`, which no other seed's training has.
    notes: what a reader should know, in sentences.
    missing: evaluations during training, and lines of timing, that were lost.
    """

    path: Path
    config: dict[str, Any]
    stamp: dict[str, Any]
    seeds: list[int]
    tasks: list[str]
    measure: Measure
    steps: NDArray[np.int64]
    scores: Floats
    evaluated: Floats | None
    last: int
    way: dict[str, Any]
    timing: tuple[Floats, Floats]
    gradients: dict[str, tuple[Floats, Floats]]
    losses: list[set[int]]
    notes: list[str] = field(default_factory=list)
    missing: dict[str, Missing] = field(default_factory=dict)

    @property
    def final(self) -> Floats:
        """Scores at the end, [S, T]: by `mtrl evaluate` where that is taken, or of the last evaluation."""
        return self.scores[-1] if self.evaluated is None else self.evaluated

    def minutes_until(self, step: int) -> float | None:
        """Minutes of training until a step; None where the timing does not reach it."""
        steps, seconds = self.timing
        if not steps.size or step > steps[-1]:
            return None
        return float(np.interp(step, [0.0, *steps], [0.0, *seconds])) / 60


def find_runs(paths: Sequence[Path]) -> list[Path]:
    """The run directories among `paths` and below them, each once.

    Raises:
        ValueError: there is no path, one is no directory, or there is no run in it.
    """
    if not paths:
        raise ValueError("A report is made of run directories, and none is given: name at least one.")
    found: dict[Path, Path] = {}
    for path in paths:
        if not path.is_dir():
            raise ValueError(f"A report is made of run directories, and {path} is none.")
        directories = sorted(config.parent for config in path.rglob("config.yaml"))
        directories = [d for d in directories if not d.name.startswith(".")]  # a run that is just being made
        if not directories:
            raise ValueError(
                f"There is no run in {path}: neither it nor a directory in it has a config.yaml."
            )
        found |= {directory.resolve(): directory for directory in directories}
    return list(found.values())


def read_runs(paths: Sequence[Path], source: Source) -> tuple[list[Run], list[str]]:
    """Reads every run that can be read.

    Returns:
        the runs, and a sentence for each one that was skipped.

    Raises:
        DisagreementError: the files of a run are not of one experiment, see `check_files`.
        ValueError: there is no run, or none of them can be read.
    """
    runs, skipped = [], []
    for path in find_runs(paths):
        try:
            runs.append(read_run(path, source))
        except DisagreementError:
            raise
        except (ValueError, OSError) as error:
            skipped.append(f"{path} was skipped: {error}")
    if not runs:
        raise ValueError(f"There is nothing to report. {' '.join(skipped)}")
    return runs, skipped


def read_run(path: Path, source: Source = "metrics") -> Run:
    """Reads one run directory; checkpoints are not needed.

    Raises:
        DisagreementError: its files are not of one experiment, see `check_files`.
        ValueError: something that a report needs is missing, damaged or does not fit the rest.
    """
    config = read_mapping("configuration", path / "config.yaml")
    stamp = read_mapping("stamp", path / "stamp.json")
    notes = [*version_notes(path, stamp), *_frozen_notes(path)]
    mapping_in(stamp, "protocol", path / "stamp.json")
    for group in GROUPS:
        if not isinstance(config.get(group) or {}, dict):
            raise ValueError(
                f"config.yaml must have a mapping of options for {group}, got {config[group]!r}."
            )
    check_files(path, config, stamp)
    total = config.get("total_steps")
    if total is not None and not (is_step(total) and total):
        raise ValueError(f"config.yaml must have a positive number of total_steps, got {total!r}.")
    seeds = list_in(config, "seeds", int, "config.yaml")
    tasks = list_in(
        mapping_in(stamp, "benchmark", path / "stamp.json"), "tasks", str, "the benchmark in stamp.json"
    )
    lines = read_json_lines(path / "metrics.jsonl", notes)
    is_due = evaluated_at(config)
    for line in lines:
        if SUCCESS in line:
            check_due(path / "metrics.jsonl", line["step"], is_due)
    shape = (len(seeds), len(tasks))
    measure: Measure = "success"
    steps, scores = read_scores(lines, SUCCESS, shape, tasks)
    if stamp["protocol"].get("name") == "custom" and not np.isfinite(scores).any((0, 1)).all():
        measure = "return"  # as in training
        steps, scores = read_scores(lines, RETURNS, shape, tasks)
    steps, scores = _with_outcomes(path, steps, scores, notes)
    missing = {"evaluations": missing_evaluations(path, config, lines, notes)}
    timing, missing["times"] = read_timing(path, config, lines, notes)
    last = int(steps[-1])
    evaluated: Floats | None = None
    way: dict[str, Any] = {}
    if source == "evaluation":
        evaluated_steps, outcomes, way = read_best_way(path, config, seeds, tasks, notes, measure)
        evaluated_steps, outcomes = _with_outcomes(path, evaluated_steps, outcomes, notes)
        evaluated, last = outcomes[-1], int(evaluated_steps[-1])
        clock = evaluation_clock(config)
        if clock is not None and last > (end := clock[0].end(clock[1])):
            raise ValueError(
                f"it has an evaluation of step {last:,}, and by config.yaml it ends at step {end:,}: move that out of "
                "the evaluation directory."
            )
    if total is not None and last < total:
        notes.append(
            f"{path} is not finished: its last evaluation is of step {last:,} of {total:,} per task."
        )
    return Run(
        path, config, stamp, seeds, tasks, measure, steps, scores, evaluated, last, way,
        timing, gradient_measures(lines, len(seeds)), hash_losses(lines, len(seeds)),
        notes, missing,
    )  # fmt: skip


def _with_outcomes(
    path: Path, steps: NDArray[np.int64], scores: Floats, notes: list[str]
) -> tuple[NDArray[np.int64], Floats]:
    """The evaluations [n, S, T] with an outcome for every seed and task; that others were left out is noted."""
    complete = np.isfinite(scores).all((1, 2))
    if not complete.all():
        notes.append(
            f"{path}: the evaluations of steps {', '.join(map(str, steps[~complete]))} lack outcomes and were left out."
        )
    if not complete.any():
        raise ValueError("no evaluation has an outcome for every seed and task.")
    return steps[complete], scores[complete]


def _frozen_notes(path: Path) -> list[str]:
    """A sentence for each seed that was not trained to the end, because something of it was not finite."""
    if not (path / FROZEN).is_file():
        return []
    return [
        f"Seed {seed} of {path} was trained to step {why.get('step')} only: {why.get('reason')}."
        for seed, why in read_mapping("list of frozen seeds", path / FROZEN).items()
        if isinstance(why, dict)
    ]
