"""A progress bar on stderr: steps, steps/s, time left and the latest success."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import Self

import rich.progress

from mtrl.system import terminal


class Progress:
    """Follows a run from `start` to `total` environment steps per task; silent lines where stderr is no terminal."""

    def __init__(self, total: int, start: int = 0) -> None:
        self._console = terminal.console(stderr=True)
        self._bar = rich.progress.Progress(
            rich.progress.TextColumn("training"),
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

    def show_score(self, step: int, measure: str, score: float) -> None:
        """Shows the mean success or return of the evaluation of a step; as a line of its own where there is no bar."""
        self._bar.update(self._task, score=f"{measure} {score:.2f}")
        if self._bar.disable:
            self._console.print(f"step {step}: mean {measure} {score:.3f}")
