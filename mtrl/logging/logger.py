"""Metrics of a run: one JSON object a line, and TensorBoard event files of each seed, their mean and each task."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch.utils.tensorboard import SummaryWriter

from mtrl.logging.heat_map import HeatMap
from mtrl.logging.tensorboard import add_picture, add_scalars, describe, put_before_now
from mtrl.storage.json_lines import EXPERIMENT, MISSING, SUCCESS, read_lines
from mtrl.system.files import write_text

Metrics = Mapping[str, NDArray[np.floating[Any]]]


class Logger:
    """Writes metrics by environment steps per task.

    A metric is an array [S] (a number for each seed) or [S, T] (a number for each task as well). In a line of
    `metrics.jsonl` it is a list [S], or one for each task by its name. The file holds what is a function of
    configuration and seeds only, wall-clock figures go to `timing.jsonl`: two equal runs write equal metrics.

    TensorBoard shows a curve for each seed and the mean of several. What it colours are directories: so the mean, or
    the single seed, has one for each task in it.

    Args:
        directory: of the run.
        tasks: names of the T tasks.
        seeds: the S seeds.
        experiment: what makes the run the one that it is, for the first line of a new log.
        step: of the state that the run goes on from, 0 for a new one; what was logged after it is dropped.
        without_training: drop what was logged of training at `step`.
        without_evaluation: drop what was logged of an evaluation at `step`.
    """

    def __init__(
        self,
        directory: Path,
        tasks: Sequence[str],
        seeds: Sequence[int],
        experiment: Mapping[str, Any],
        step: int = 0,
        *,
        without_training: bool = False,
        without_evaluation: bool = False,
    ) -> None:
        self.names, self.tasks = tasks, [name.removesuffix("-v3") for name in tasks]
        self.metrics_path = directory / "metrics.jsonl"
        self.timing_path = directory / "timing.jsonl"
        logs = {path: read_lines(path) for path in (self.metrics_path, self.timing_path)}
        for path, lines in logs.items():
            kept = _kept(lines, step, without_training, without_evaluation)
            kept = kept or [{"step": 0, EXPERIMENT: experiment}]
            write_text(path, "".join(json.dumps(line) + "\n" for line in kept))
        names = [*(f"seed_{seed}" for seed in seeds), *(["mean"] if len(seeds) > 1 else [])]
        names += [f"{names[-1]}/{task}" for task in self.tasks]
        directories = [directory / "tensorboard" / name for name in names]
        for path in directories:
            put_before_now(path)
        # From this step on, TensorBoard forgets what it has read before, of training and evaluations alike.
        purge = step if step == 0 or (without_training and without_evaluation) else step + 1
        self.writers = [SummaryWriter(path, purge_step=purge) for path in directories]
        self.of_seeds, self.of_tasks = self.writers[: len(seeds)], self.writers[-len(self.tasks) :]
        self.whole = self.writers[-len(self.tasks) - 1]  # the mean, or the single seed
        self.heat_map = HeatMap(self.tasks)
        if step == 0:
            describe(directory, self.whole, dict(zip(seeds, self.of_seeds, strict=True)))

    def write(self, step: int, metrics: Metrics) -> None:
        """Logs the metrics [S] and [S, T] of one step."""
        metrics = {name: values for name, values in metrics.items() if values.ndim < 3}
        line = {
            name: dict(zip(self.names, json_values(values.T), strict=True))
            if values.ndim > 1
            else json_values(values)
            for name, values in metrics.items()
        }
        _append(self.metrics_path, {"step": step, **line})
        curves: dict[SummaryWriter, dict[str, float]] = {writer: {} for writer in self.writers}
        for name, values in metrics.items():
            for writer, row in zip(self.of_seeds, values, strict=True):
                if writer is not self.whole:
                    curves[writer] |= self._scalars(name, np.asarray(row))
            with np.errstate(all="ignore"):
                mean = _mean(values)
            if mean.ndim:
                for writer, value in zip(self.of_tasks, mean.tolist(), strict=True):
                    curves[writer] |= {name: value} if math.isfinite(value) else {}
                finite = mean[np.isfinite(mean)]
                curves[self.whole] |= {f"{name}/mean": float(finite.mean())} if finite.size else {}
            elif math.isfinite(mean):
                curves[self.whole][name] = float(mean)
        for writer, curve in curves.items():
            add_scalars(writer, curve, step)

    def draw(self, step: int, metrics: Metrics) -> None:
        """Draws those of two tasks [S, T, T], in [-1, 1], as heat maps, in TensorBoard only."""
        for name, values in metrics.items():
            for writer, matrix in zip(self.of_seeds, values, strict=True):
                if matrix.ndim == 2:
                    add_picture(writer, name, self.heat_map(matrix), step)

    def write_timing(self, step: int, timing: Mapping[str, float]) -> None:
        """Logs wall-clock figures of one step."""
        _append(self.timing_path, {"step": step, **timing})
        for name, value in timing.items():
            self.whole.add_scalar(f"time/{name}", value, step)

    def flush(self) -> None:
        """Hands the curves to the system, so that they outlive this process (the lines do at once)."""
        for writer in self.writers:
            writer.flush()

    def close(self) -> None:
        for writer in self.writers:
            writer.close()

    def _scalars(self, name: str, values: NDArray[Any]) -> dict[str, float]:
        """The finite values of one of several seeds by tag: a number, or [T] and their mean."""
        if values.ndim == 0:
            return {name: float(values)} if math.isfinite(values) else {}
        of_tasks = zip(self.tasks, values.tolist(), strict=True)
        finite = {f"{name}/{task}": value for task, value in of_tasks if math.isfinite(value)}
        return {f"{name}/mean": sum(finite.values()) / len(finite), **finite} if finite else {}


def _kept(
    lines: list[dict[str, Any]], step: int, without_training: bool, without_evaluation: bool
) -> list[dict[str, Any]]:
    """The lines that a run that goes on keeps."""
    kept = []
    for line in lines:
        without = without_evaluation if SUCCESS in line else without_training
        if line["step"] < step or (line["step"] == step and (MISSING in line or not without)):
            kept.append(line)
    return kept


def _append(path: Path, line: Mapping[str, Any]) -> None:
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(line, allow_nan=False) + "\n")


def _mean(values: NDArray[Any]) -> NDArray[Any]:
    """Mean over the seeds of the finite values; NaN where there is none."""
    finite = np.isfinite(values)
    total: NDArray[Any] = np.where(finite, values, 0.0).sum(0) / finite.sum(0)
    return total


def json_values(values: NDArray[Any]) -> Any:
    """Nested lists, with null for what JSON has no number for."""
    if values.ndim:
        return [json_values(v) for v in values]
    return float(values) if math.isfinite(values) else None
