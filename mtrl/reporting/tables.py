"""The tables of a report, and how they are written: for a terminal, as Markdown, CSV and JSON values."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import rich.table

from mtrl.reporting.groups import Group, comparable
from mtrl.reporting.statistics import (
    LEVELS,
    Interval,
    Mean,
    Statistic,
    bootstrap_interval,
    describe,
    first_reach,
    improvement_interval,
    interquartile_mean,
    mean_and_sem,
    median_reached,
)
from mtrl.system import terminal

Cell = str | int | float | Mean | Interval | None


@dataclass(frozen=True)
class Table:
    """Rows of cells under named columns. name: of its CSV file. title: says which statistic it shows."""

    name: str
    title: str
    columns: list[str]
    rows: list[list[Cell]]

    def to_rich(self) -> rich.table.Table:
        table = terminal.table(*self.columns, title=self.title)
        table.title_justify = "left"
        for column, cell in zip(table.columns, self.rows[0], strict=True):
            column.justify = "left" if isinstance(cell, str) else "right"
        for row in self.rows:
            table.add_row(*map(_text, row))
        return table

    def to_markdown(self) -> str:
        lines = [self.columns, ["---"] * len(self.columns), *([_text(c) for c in row] for row in self.rows)]
        body = "\n".join("| " + " | ".join(map(markdown, line)) + " |" for line in lines)
        return f"**{markdown(self.title)}**\n\n{body}\n"

    def to_csv(self) -> str:
        """One column for each number: `mean`, `mean_sem`; `IQM`, `IQM_low`, `IQM_high`."""
        records = self.records()
        text = io.StringIO()
        writer = csv.DictWriter(text, list(dict.fromkeys(k for r in records for k in r)), lineterminator="\n")
        writer.writeheader()
        writer.writerows(records)
        return text.getvalue()

    def records(self) -> list[dict[str, str | int | float | None]]:
        """Rows as plain values by name."""
        records = []
        for row in self.rows:
            record: dict[str, str | int | float | None] = {}
            for name, cell in zip(self.columns, row, strict=True):
                if isinstance(cell, Mean):
                    record |= {name: cell.value, f"{name}_sem": cell.sem}
                elif isinstance(cell, Interval):
                    record |= {name: cell.value, f"{name}_low": cell.low, f"{name}_high": cell.high}
                else:
                    record[name] = cell
            records.append(record)
        return records


def make_tables(
    groups: Sequence[Group], statistic: Statistic, k: int, baseline: str | None = None
) -> list[Table]:
    """Every table about the runs; each names the statistic that it shows.

    Args:
        baseline: see `report`.
    """
    shown = describe(statistic, k, _are_evaluated(groups))
    tables = [
        _methods(groups, statistic, k, shown),
        _seeds(groups, statistic, k, shown),
        _statistics(groups, k),
        _tasks(groups, statistic, k, shown),
        *([_reached(groups)] if groups[0].measure == "success" else []),
    ]
    pairs = list(combinations(groups, 2))
    if baseline is not None:
        compared = _find(groups, baseline)
        pairs = [(group, compared) for group in groups if group is not compared]
    improvement = _improvement(pairs, statistic, k, shown)
    return [*tables, improvement] if improvement.rows else tables


def published_tables(benchmarks: set[str]) -> list[Table]:
    """The published success rates and times for these benchmarks, as far as there are any."""
    figures = json.loads((Path(__file__).parent / "published.json").read_text(encoding="utf-8"))
    details = ("seeds", "metric", "protocol", "source", "note")
    tables = []
    for name, quantity in (("published", "success"), ("published_times", "seconds")):
        rows: list[list[Cell]] = [
            [f"{f['method']} (published)", Mean(f["value"], f["sem"]), *(f[detail] for detail in details)]
            for f in figures
            if f["benchmark"] in benchmarks and f["quantity"] == quantity
        ]
        title = (
            f"Published {quantity}, not measured here; other environments and protocols than those of any run"
        )
        if rows:
            tables.append(Table(name, title, ["method", quantity, *details], rows))
    return tables


def _methods(groups: Sequence[Group], statistic: Statistic, k: int, shown: str) -> Table:
    rows: list[list[Cell]] = []
    for group in groups:
        scores = group.scores(statistic, k)
        rows.append([
            group.label, _protocol(group), _names(str(c.seed) for c in group.curves), len(group.curves),
            _names(f"{step:,}" for step in group.last_steps(statistic)),
            _names(str(len(c.steps)) for c in group.curves),
            mean_and_sem(scores.mean(1)), bootstrap_interval(scores, interquartile_mean), _minutes(group),
        ])  # fmt: skip
    columns = [
        "method",
        "protocol",
        "seeds",
        "n",
        "last step",
        "evaluations",
        "mean ± SEM",
        "IQM [95%]",
        "minutes",
    ]
    return Table("methods", f"Mean {groups[0].measure} over tasks, {shown}", columns, rows)


def _seeds(groups: Sequence[Group], statistic: Statistic, k: int, shown: str) -> Table:
    measure = groups[0].measure
    levels = LEVELS if measure == "success" else ()
    rows: list[list[Cell]] = []
    for group in groups:
        for curve, score in zip(group.curves, group.scores(statistic, k).mean(1), strict=True):
            reached = [first_reach(curve.steps, curve.scores, level) for level in levels]
            rows.append([group.label, curve.seed, str(curve.run.path), float(score), *reached])
    columns = ["method", "seed", "run", measure, *(f"steps to {level}" for level in levels)]
    return Table("seeds", f"Each seed's mean {measure} over tasks, {shown}", columns, rows)


def _statistics(groups: Sequence[Group], k: int) -> Table:
    names: list[Statistic] = ["final", "last_k", "paper_max"]
    rows: list[list[Cell]] = [
        [group.label, *(mean_and_sem(group.scores(name, k).mean(1)) for name in names)] for group in groups
    ]
    evaluated = _are_evaluated(groups)
    title = f"Mean ± SEM over seeds by statistic: {'; '.join(describe(name, k, evaluated) for name in names)}"
    return Table("statistics", title, ["method", *names], rows)


def _tasks(groups: Sequence[Group], statistic: Statistic, k: int, shown: str) -> Table:
    cells: dict[str, dict[str, Cell]] = {}
    for group in groups:
        scores = group.scores(statistic, k)
        for t, task in enumerate(group.tasks):
            cells.setdefault(task, {})[group.label] = mean_and_sem(scores[:, t])
    rows: list[list[Cell]] = [[task, *(row.get(g.label) for g in groups)] for task, row in cells.items()]
    return Table(
        "tasks",
        f"{groups[0].measure.capitalize()} of each task, mean ± SEM, {shown}",
        ["task", *(g.label for g in groups)],
        rows,
    )


def _reached(groups: Sequence[Group]) -> Table:
    rows: list[list[Cell]] = []
    for group in groups:
        for level in LEVELS:
            steps = [first_reach(c.steps, c.scores, level) for c in group.curves]
            minutes = [
                None if step is None else curve.run.minutes_until(step)
                for step, curve in zip(steps, group.curves, strict=True)
            ]
            timed = all((s is None) == (m is None) for s, m in zip(steps, minutes, strict=True))
            rows.append([
                group.label, level, f"{sum(s is not None for s in steps)} of {len(steps)}",
                _integer(median_reached(list(steps))), median_reached(minutes) if timed else None, _hardware(group),
            ])  # fmt: skip
    columns = ["method", "success", "seeds that reached it", "steps per task", "minutes", "on"]
    title = (
        "Steps and time until an evaluation's mean success first reached a level (median over seeds; a seed that never "
        "did counts as infinite; time is that of the whole run with all its seeds side by side and its evaluations)"
    )
    return Table("reached", title, columns, rows)


def _are_evaluated(groups: Sequence[Group]) -> bool:
    """Whether `final` is by `mtrl evaluate`."""
    return any(run.evaluated is not None for group in groups for run in group.runs)


def _find(groups: Sequence[Group], name: str) -> Group:
    """The one method whose label is this name, or has it as a part.

    Raises:
        ValueError: there is none, or there are several.
    """
    found = [g for g in groups if g.label == name] or [g for g in groups if name in g.label.split(", ")]
    if len(found) != 1:
        raise ValueError(
            f"The baseline must be one of the methods {'; '.join(g.label for g in groups)}, or what one of them alone "
            f"has in its name, got {name!r}."
        )
    return found[0]


def _improvement(pairs: Sequence[tuple[Group, Group]], statistic: Statistic, k: int, shown: str) -> Table:
    rows: list[list[Cell]] = []
    for x, y in pairs:
        if comparable(x.runs[0]) == comparable(y.runs[0]):
            rows.append(
                [x.label, y.label, improvement_interval(x.scores(statistic, k), y.scores(statistic, k))]
            )
    title = f"Probability that a seed of X does better than one of Y on a task (0.5: no difference), {shown}"
    return Table("improvement", title, ["X", "Y", "P(X > Y) [95%]"], rows)


def _names(values: Any) -> str:
    """What the seeds have, once if it is the same."""
    return ", ".join(dict.fromkeys(values))


def _protocol(group: Group) -> str:
    stamp = group.runs[0].stamp
    return f"{stamp['benchmark'].get('name')}, {stamp['protocol'].get('name')}"


def _hardware(group: Group) -> str:
    found = [run.stamp["hardware"] for run in group.runs if isinstance(run.stamp.get("hardware"), dict)]
    return _names(f"{h.get('device')}, {h.get('cores')} cores" for h in found)


def _minutes(group: Group) -> float | None:
    """Minutes that all runs of a method took, one after the other; None where one was not timed."""
    minutes = [run.timing[1][-1] / 60 if run.timing[1].size else None for run in group.runs]
    return None if None in minutes else float(sum(m for m in minutes if m is not None))


def _integer(value: float | None) -> int | None:
    return None if value is None else int(value)


def markdown(text: str) -> str:
    """Text as a cell of one line, which shows it as it is."""
    markup = r"[\\`*<>|]|(?<![^\W_])_|_(?![^\W_])|~(?=~)|&(?=#?\w+;)|\](?=[(\[:])"
    return re.sub(markup, r"\\\g<0>", terminal.printable(text))


def _text(cell: Cell) -> str:
    formats: dict[type, Callable[[Any], str]] = {
        int: lambda v: f"{v:,}",
        float: lambda v: f"{v:.3f}" if abs(v) <= 1 else f"{v:,.0f}" if 1e3 <= abs(v) < 1e6 else f"{v:.3g}",
    }
    return "–" if cell is None else formats.get(type(cell), str)(cell)
