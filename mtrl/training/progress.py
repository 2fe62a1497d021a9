"""A progress bar on stderr: steps, steps/s, time left and the latest success."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from types import TracebackType
from typing import Self

import rich.progress

from mtrl.system import terminal

LOWEST = 5  # tasks in an evaluation's line


class ProgressBar:
    """Follows a run from `start` to `total` environment steps per task; silent lines where stderr is no terminal."""

    def __init__(self, total: int, start: int = 0) -> None:
        self._console = terminal.console(stderr=True)
        self._bar = rich.progress.Progress(
            rich.progress.BarColumn(),
            rich.progress.MofNCompleteColumn(),
            rich.progress.TextColumn("{task.fields[rate]:.0f} steps/s"),
            rich.progress.TimeElapsedColumn(),
            rich.progress.TextColumn("left"),
            rich.progress.TimeRemainingColumn(),
            rich.progress.TextColumn("{task.fields[score]}"),
            console=self._console,
            disable=not sys.stderr.isatty(),
        )
        self._task = self._bar.add_task("training", total=total, completed=start, rate=0.0, score="success -")
        self._started = self._last_time = time.perf_counter()
        self._step = self._last_step = start

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def update(self, step: int) -> None:
        """Moves the bar to `step`."""
        self._step = step
        self._bar.update(self._task, completed=step)

    def rates(self) -> dict[str, float]:
        """Seconds since the start, and steps per second and task since the last call."""
        now = time.perf_counter()
        rate = (self._step - self._last_step) / max(now - self._last_time, 1e-9)
        self._last_time, self._last_step = now, self._step
        self._bar.update(self._task, rate=rate)
        return {"seconds": now - self._started, "steps_per_second": rate}

    def show_score(self, step: int, measure: str, scores: Mapping[str, float]) -> None:
        """Shows the success or return of each task in the evaluation of a step: their mean, and the lowest."""
        mean = sum(scores.values()) / len(scores)
        self._bar.update(self._task, score=f"{measure} {mean:.2f}")
        lowest = sorted(scores.items(), key=lambda item: item[1])[:LOWEST]
        names = ", ".join(f"{task.removesuffix('-v3')} {score:.2f}" for task, score in lowest)
        of_tasks = f"; lowest: {names}" if len(scores) > 1 else ""
        self._console.print(f"step {step}: mean {measure} {mean:.3f}{of_tasks}")
