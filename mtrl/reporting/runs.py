"""Reading what runs left: success of every evaluation, seed and task, wall-clock time, condition numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mtrl.config.clock import Clock
from mtrl.config.train import GROUPS
from mtrl.reporting.files import list_in, mapping_in, read_json_lines, read_mapping, to_array, version_notes
from mtrl.storage import checkpoints
from mtrl.storage.json_lines import RETURNS, SUCCESS, by_seed, describe_steps, is_step, missing_steps
from mtrl.system.terminal import command, one_line
from mtrl.training.diverged import FILE as DIVERGED

Source = Literal["metrics", "evaluation"]
Measure = Literal["success", "return"]
Floats = NDArray[np.float64]

NETWORKS = ("critic", "actor")
MEASURES = ("condition_number", "cosine")
"""Measures of the system of the tasks' gradients that are drawn."""


@dataclass(frozen=True)
class Run:
    """One run directory.

    path: the directory. config: as in config.yaml. stamp: as in stamp.json.
    seeds: the S seeds trained side by side. tasks: names of the T tasks.
    measure: what scores are of: success, or the return where environments of the user's say nothing of success.
    steps: environment steps per task at each evaluation [n]. scores: success rates or returns [n, S, T].
    timing: steps [m] and the seconds of training, evaluations included, until then [m]; empty where it was not kept.
    evaluated: scores of the last step [S, T] by `mtrl evaluate`, where they are taken.
    way: how `mtrl evaluate` did it, where its evaluations are taken; empty for those during training.
    gradients: for "critic/cosine" and its like steps [m] and values [m, S], NaN where there was none.
    notes: what a reader should know, in sentences.
    missing: how many evaluations during training are missing, of how many.
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
    way: dict[str, Any]
    timing: tuple[Floats, Floats]
    gradients: dict[str, tuple[Floats, Floats]]
    notes: list[str] = field(default_factory=list)
    missing: tuple[int, int] = (0, 0)

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
        ValueError: a path is no directory, or there is no run in it.
    """
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
        ValueError: there is no run, or none of them can be read.
    """
    runs, skipped = [], []
    for path in find_runs(paths):
        try:
            runs.append(read_run(path, source))
        except (ValueError, OSError) as error:
            skipped.append(f"{path} was skipped: {one_line(str(error))}")
    if not runs:
        raise ValueError(f"There is nothing to report. {' '.join(skipped)}")
    return runs, skipped


def read_run(path: Path, source: Source = "metrics") -> Run:
    """Reads one run directory; checkpoints are not needed.

    Raises:
        ValueError: something that a report needs is missing, damaged or does not fit the rest.
    """
    config, stamp = read_mapping(path / "config.yaml"), read_mapping(path / "stamp.json")
    notes = [*version_notes(path, stamp), *_diverged_notes(path)]
    mapping_in(stamp, "protocol", path / "stamp.json")
    for group in GROUPS:
        if not isinstance(config.get(group) or {}, dict):
            raise ValueError(
                f"config.yaml must have a mapping of options for {group}, got {config[group]!r}."
            )
    seeds = list_in(config, "seeds", int, "config.yaml")
    tasks = list_in(
        mapping_in(stamp, "benchmark", path / "stamp.json"), "tasks", str, "the benchmark in stamp.json"
    )
    lines = read_json_lines(path / "metrics.jsonl", notes)
    shape = (len(seeds), len(tasks))
    measure: Measure = "success"
    steps, scores = _evaluations(lines, SUCCESS, shape, tasks)
    if stamp["protocol"].get("name") == "custom" and not np.isfinite(scores).any((0, 1)).all():
        measure = "return"  # as in training
        steps, scores = _evaluations(lines, RETURNS, shape, tasks)
    steps, scores = _with_outcomes(path, steps, scores, notes)
    missing = _missing(path, config, lines, notes)
    total, last = config.get("total_steps"), steps[-1]
    evaluated: Floats | None = None
    way: dict[str, Any] = {}
    if source == "evaluation":
        evaluated_steps, outcomes, way = _read_best_way(path, seeds, tasks, notes, measure)
        evaluated_steps, outcomes = _with_outcomes(path, evaluated_steps, outcomes, notes)
        evaluated, last = outcomes[-1], evaluated_steps[-1]
    if isinstance(total, int) and last < total:
        notes.append(
            f"{path} is not finished: its last evaluation is of step {last:,} of {total:,} per task."
        )
    return Run(
        path, config, stamp, seeds, tasks, measure, steps, scores, evaluated, way,
        _timing(path / "timing.jsonl", notes), _gradient_measures(lines, len(seeds)), notes, missing,
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


def _missing(
    path: Path, config: dict[str, Any], lines: list[dict[str, Any]], notes: list[str]
) -> tuple[int, int]:
    """How many evaluations the metrics lack, of how many that were due; which ones is added to the notes."""
    log, worlds = config.get("log_interval"), config.get("worlds_per_task")
    interval = (config.get("evaluation") or {}).get("interval")
    if not (isinstance(log, int) and isinstance(worlds, int) and isinstance(interval, int)):
        return 0, 0
    if min(log, worlds, interval) < 1:
        return 0, 0
    should_evaluate = Clock(interval, worlds)
    newest = max((line["step"] for line in lines), default=0)
    evaluated = max((line["step"] for line in lines if SUCCESS in line), default=0)
    last = max([newest, *checkpoints.steps(path / "checkpoints")])
    evaluations = missing_steps(lines, Clock(log, worlds), should_evaluate, last)["evaluation"]
    # Those of after the last one that is there may be going on.
    evaluations = [step for step in evaluations if not evaluated < step <= newest]
    if evaluations:
        notes.append(
            f"{path}: the evaluations of steps {describe_steps(evaluations)} are missing in metrics.jsonl."
        )
    return len(evaluations), len(should_evaluate.steps(last))


def _evaluations(
    lines: list[dict[str, Any]], name: str, shape: tuple[int, int], tasks: Sequence[str]
) -> tuple[NDArray[np.int64], Floats]:
    """Steps [n] and scores [n, S, T] of the evaluations during training."""
    steps, scores = [], []
    for line in lines:
        if SUCCESS in line:
            try:
                scores.append(_check_scores(to_array(by_seed(line.get(name), tasks)), shape, name))
            except ValueError as error:
                raise ValueError(
                    f"the evaluation of step {line['step']} in metrics.jsonl: {error}"
                ) from error
            steps.append(line["step"])
    if not steps:
        raise ValueError("its metrics.jsonl holds no evaluation yet.")
    return np.array(steps, dtype=np.int64), np.array(scores)


def _check_scores(scores: Floats, shape: tuple[int, int], name: str) -> Floats:
    """The scores [S, T] of one evaluation.

    Raises:
        ValueError: they are no such scores.
    """
    of_success = name == SUCCESS
    if scores.shape != shape:
        raise ValueError(
            f"it must have a {'success rate' if of_success else 'return'} for {shape[0]} seeds and {shape[1]} tasks, "
            f"and they are of shape {scores.shape}."
        )
    if of_success and ((scores < 0) | (scores > 1)).any():
        raise ValueError("a success rate is not between 0 and 1.")
    return scores


class Way(NamedTuple):
    """How `mtrl evaluate` was run; of several ways the greatest is reported."""

    episodes: int
    mean_action: bool
    batched: bool
    goal_seed: int
    worlds_per_task: int
    engine: str

    def __str__(self) -> str:
        action = "mean" if self.mean_action else "sampled"
        return (
            f"{self.episodes} episodes, {action} action, {self.engine} engine, goal seed {self.goal_seed}, "
            f"{self.worlds_per_task} worlds per task"
        )

    def compared(self) -> dict[str, Any]:
        """What must be the same for runs to be compared: both engines give the same episodes."""
        policy = "mean" if self.mean_action else "sampled"
        return {"policy": policy, "goal_seed": self.goal_seed, "episodes": self.episodes}


def _read_evaluations(
    path: Path, seeds: list[int], tasks: list[str], measure: Measure
) -> dict[Way, dict[int, tuple[str, Floats]]]:
    """The files that `mtrl evaluate` wrote: their name and scores [S, T] by way and step."""
    key = "success" if measure == "success" else "returns"
    found: dict[Way, dict[int, tuple[str, Floats]]] = {}
    for file in sorted((path / "evaluation").glob("*.json")):
        content = read_mapping(file)
        if content.get("seeds") != seeds or content.get("tasks") != tasks:
            raise ValueError(f"{file.name} has other seeds or tasks than the run.")
        step, episodes = content.get("step"), mapping_in(content, "episodes", file)
        if not is_step(step) or key not in episodes:
            raise ValueError(f"{file.name} must hold a step and the {measure} of episodes.")
        engine, policy = content.get("engine", "batched"), content.get("policy", "mean")
        if not isinstance(engine, str):
            raise ValueError(f"{file.name} must hold the name of an engine, got {engine!r}.")
        if policy not in ("mean", "sampled"):
            raise ValueError(f"{file.name} must hold the policy, mean or sampled, got {policy!r}.")
        try:
            outcomes = to_array(episodes[key])
            if outcomes.ndim != 3:
                raise ValueError(f"it must hold the {measure} of each seed, task and episode.")
            with np.errstate(invalid="ignore"):
                scores = np.nansum(outcomes, -1) / np.isfinite(outcomes).sum(-1)
            _check_scores(scores, (len(seeds), len(tasks)), SUCCESS if measure == "success" else RETURNS)
        except ValueError as error:
            raise ValueError(f"{file.name}: {error}") from error
        numbers = [content.get(name) for name in ("goal_seed", "worlds_per_task")]
        goal_seed, worlds = (number if isinstance(number, int) else 0 for number in numbers)
        way = Way(outcomes.shape[-1], policy == "mean", engine == "batched", goal_seed, worlds, engine)
        name, other = found.setdefault(way, {}).setdefault(step, (file.name, scores))
        if not np.array_equal(scores, other, equal_nan=True):
            raise ValueError(
                f"{file.name} and {name} evaluate step {step} with the same settings and have other outcomes: move one "
                "of them out of the evaluation directory."
            )
    return found


def _read_best_way(
    path: Path, seeds: list[int], tasks: list[str], notes: list[str], measure: Measure
) -> tuple[NDArray[np.int64], Floats, dict[str, Any]]:
    """Steps [n] and scores [n, S, T] of one way of evaluating, and what of it must be the same to be compared."""
    found = _read_evaluations(path, seeds, tasks, measure)
    if not found:
        raise ValueError(f"it has no evaluation; `{command('evaluate', path)}` writes one.")
    way = max(found)
    others = [str(other) for other in sorted(found, reverse=True) if other != way]
    left_out = f"; those with {'; '.join(others)} are left out" if others else ""
    notes.append(f"{path}: its evaluations with {way} are used{left_out}.")
    steps = sorted(found[way])
    scores = np.array([found[way][step][1] for step in steps])
    return np.array(steps, dtype=np.int64), scores, way.compared()


def _timing(path: Path, notes: list[str]) -> tuple[Floats, Floats]:
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


def _gradient_measures(lines: list[dict[str, Any]], num_seeds: int) -> dict[str, tuple[Floats, Floats]]:
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


def _diverged_notes(path: Path) -> list[str]:
    """A sentence for each seed that was not trained to the end, because something of it was not finite."""
    if not (path / DIVERGED).is_file():
        return []
    return [
        f"Seed {seed} of {path} was trained to step {why.get('step')} only: {why.get('reason')}."
        for seed, why in read_mapping(path / DIVERGED).items()
        if isinstance(why, dict)
    ]
