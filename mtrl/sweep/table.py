"""All runs of a sweep in one table, renewed while they train; a line for each change where stderr is no terminal."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Self

from rich.live import Live
from rich.table import Table
from rich.text import Text

from mtrl.sweep.state import Progress
from mtrl.system import terminal

_STYLES = {"finished": "green", "running": "yellow", "failed": "bold red", "waiting": "dim"}


class LiveTable:
    """State, step, success, rate and time left of every run, on stderr."""

    def __init__(self, rows: Sequence[Progress]) -> None:
        self._rows = rows
        self._states: dict[str, str] = {}
        self._console = terminal.console(stderr=True)
        self._live = Live(console=self._console, auto_refresh=False) if sys.stderr.isatty() else None

    def __enter__(self) -> Self:
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.stop()

    def update(self, states: Mapping[str, str]) -> None:
        """Shows the runs as they are now.

        Args:
            states: of each run by name: waiting, running, finished or failed.
        """
        for row in self._rows:
            if self._live is not None or self._states.get(row.run.name) != states[row.run.name]:
                row.read()
        if self._live is not None:
            self._live.update(self._table(states), refresh=True)
        else:
            for row in self._rows:
                if self._states.get(row.run.name) != states[row.run.name]:
                    self._console.print(
                        f"{row.run.name}: {states[row.run.name]}, step {row.step}, success {_number(row.success, 3)}",
                        soft_wrap=True,
                    )
        self._states = dict(states)

    def _table(self, states: Mapping[str, str]) -> Table:
        finished = sum(state == "finished" for state in states.values())
        table = terminal.table("run", "state", "step", "of", "success", "steps/s", "left")
        table.caption = f"{finished} of {len(self._rows)} runs finished"
        rows = self._rows
        if len(rows) + 6 > self._console.height:  # what does not fit into the terminal is cut off
            order = ["running", "failed", "waiting", "finished"]
            rows = sorted(rows, key=lambda row: order.index(states[row.run.name]))
        for row in rows:
            state = states[row.run.name]
            running = state == "running"
            table.add_row(
                row.run.name,
                Text(state, _STYLES[state]),
                str(row.step),
                str(row.run.total_steps),
                _number(row.success, 3),
                _number(row.rate, 0) if running else "",
                duration(row.seconds_left) if running else "",
            )
        return table


def duration(seconds: float | None) -> str:
    """Seconds as hours, minutes and seconds."""
    if seconds is None:
        return "-"
    minutes, second = divmod(round(seconds), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02d}:{second:02d}"


def _number(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}f}"
