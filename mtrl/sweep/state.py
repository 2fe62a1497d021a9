"""How far a run is, read from what it writes."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mtrl.storage import checkpoints
from mtrl.storage.check_run import DisagreementError, check_experiment
from mtrl.storage.json_lines import SUCCESS, by_seed, is_step
from mtrl.sweep.plan import PlannedRun
from mtrl.system.files import parse_json, read_file, read_mapping


def last_step(run: PlannedRun, root: Path) -> int | None:
    """The step of a run's last checkpoint, or None before its first."""
    steps = checkpoints.steps(run.directory(root) / "checkpoints")
    return steps[-1] if steps else None


def is_finished(run: PlannedRun, root: Path) -> bool:
    """Whether a run is trained and, if the sweep asks for that, its last checkpoint evaluated."""
    return is_trained(run, root) and not lacks_evaluation(run, root)


def is_trained(run: PlannedRun, root: Path) -> bool:
    """Whether the last step was evaluated, and made by the last checkpoint if one is kept."""
    step = last_step(run, root)
    if step is not None and step < run.total_steps:
        return False
    metrics = _Tail(run.directory(root) / "metrics.jsonl").lines()
    return any(line["step"] >= run.total_steps and SUCCESS in line for line in metrics)


def lacks_evaluation(run: PlannedRun, root: Path) -> bool:
    """Whether the sweep asks for an evaluation of the run's last checkpoint that was not made.

    Raises:
        DisagreementError: it is there, and of another experiment.
    """
    if run.evaluate.engine is None:
        return False
    directory = run.directory(root)
    for path in directory.glob("evaluation/step_*.json"):
        try:
            content = parse_json(read_file("evaluation", path).decode())
            how = content["engine"], content["policy"], len(content["episodes"]["success"][0][0])
            asked_for = run.evaluate.engine, "mean", run.evaluate.episodes
            if content["step"] >= run.total_steps and how == asked_for:
                if (experiment := content.get("experiment")) is not None:  # older files have none
                    options = read_mapping("configuration", directory / "config.yaml")
                    check_experiment(directory, options, f"evaluation/{path.name}", experiment)
                return False
        except DisagreementError:
            raise
        except (ValueError, KeyError, IndexError, TypeError):  # a damaged one is none
            continue
    return True


def what_lacks(run: PlannedRun, root: Path) -> str:
    """Why a run is not finished."""
    if is_trained(run, root):
        return "its last checkpoint was not evaluated"
    return "it is not trained to the end"


def check_kept(run: PlannedRun, root: Path) -> None:
    """Refuses to train over results whose checkpoints are gone.

    Raises:
        ValueError: a run was trained, is not finished, and has no checkpoint to go on from.
    """
    if last_step(run, root) is not None or is_finished(run, root):
        return
    directory = run.directory(root)
    if _Tail(directory / "metrics.jsonl").lines() or any(directory.glob("evaluation/*")):
        raise ValueError(
            f"The run {directory} cannot go on: {what_lacks(run, root)}, and its checkpoints are gone. Bring them "
            "back, or delete the run to train it again."
        )


@dataclass
class Progress:
    """How far a run is, as of the last `read`.

    step: environment steps per task.
    success: mean of the latest evaluation over seeds and tasks.
    rate: steps per second and task.
    """

    run: PlannedRun
    root: Path
    step: int = 0
    success: float | None = None
    rate: float | None = None

    def __post_init__(self) -> None:
        directory = self.run.directory(self.root)
        self._metrics = _Tail(directory / "metrics.jsonl")
        self._timing = _Tail(directory / "timing.jsonl")

    def read(self) -> None:
        """Reads what was written since the last call."""
        for line in self._metrics.lines():
            self.step = line["step"]
            with contextlib.suppress(
                ValueError, TypeError, OverflowError
            ):  # a report says what is wrong with it
                values = np.array(by_seed(line.get(SUCCESS, [])), dtype=np.float64)  # [S, T]
                if np.isfinite(values).any():
                    self.success = float(np.nanmean(values))
        for line in self._timing.lines():
            rate = line.get("steps_per_second")
            self.rate = rate if isinstance(rate, float) else None

    @property
    def seconds_left(self) -> float | None:
        return (self.run.total_steps - self.step) / self.rate if self.rate else None


class _Tail:
    """The new lines of a JSON-lines file that grows, and may be cut back by a run that is resumed."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._offset = 0

    def lines(self) -> list[dict[str, Any]]:
        if not self._path.is_file():
            return []
        try:
            with self._path.open("rb") as file:
                if file.seek(0, 2) < self._offset:
                    self._offset = 0
                file.seek(self._offset)
                text = file.read()
        except OSError:
            return []
        whole = text[: text.rfind(b"\n") + 1]
        self._offset += len(whole)
        found = []
        for line in whole.split(b"\n"):
            with contextlib.suppress(ValueError):  # a resume says what is wrong with it
                value = parse_json(line.decode())
                if isinstance(value, dict) and is_step(value.get("step")):
                    found.append(value)
        return found
