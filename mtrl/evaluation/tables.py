"""Evaluations as tables: a row for each task, a column for each seed, and mean ± SEM over the seeds."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from rich.table import Table

from mtrl.evaluation.checkpoint import Evaluation
from mtrl.evaluation.episodes import nan_mean
from mtrl.system import terminal

#: Title of each measure's table, and its digits.
MEASURES = {
    "success": ("success at any step", 2),
    "success_at_end": ("success at the last step", 2),
    "returns": ("return", 0),
    "steps_to_success": ("steps to the first success, where there was one", 0),
}


def measure_tables(evaluations: Sequence[Evaluation]) -> list[Table]:
    """One table for each measure, of one method: runs that differ in their seeds."""
    first = evaluations[0]
    seeds = [seed for e in evaluations for seed in e.seeds]
    tables = []
    for name in _measures(evaluations):
        measure, digits = MEASURES[name]
        table = terminal.table("task", *(f"seed {s}" for s in seeds), "mean ± SEM", title=measure)
        values = np.concatenate([nan_mean(getattr(e.episodes, name)) for e in evaluations])  # [S, T]
        for t, task in enumerate(first.tasks):
            table.add_row(task, *(number(v, digits) for v in values[:, t]), mean_sem(values[:, t], digits))
        if name != "steps_to_success":  # its mean would be over other tasks for each seed
            table.add_section()
            means = values.mean(-1)
            row = [*(number(v, digits + 1) for v in means), mean_sem(means, digits)]
            table.add_row("mean", *row, style="bold")
        tables.append(table)
    return tables


def heading(evaluations: Sequence[Evaluation]) -> str:
    """Of what the tables of one method are."""
    first = evaluations[0]
    episodes = first.episodes.success.shape[-1]
    return (
        f"{', '.join(e.run for e in evaluations)}, step {first.step}: {episodes} episode{'s' * (episodes > 1)} per "
        f"task and seed, {first.policy} action, {first.engine} engine, protocol {first.protocol}"
    )


def summary_table(methods: Sequence[Sequence[Evaluation]]) -> Table:
    """Mean success over the tasks of each method, by mean ± SEM over its seeds."""
    known = _measures([e for evaluations in methods for e in evaluations])
    measures = [name for name in known if name in ("success", "success_at_end")] or ["returns"]
    columns = ("run", "step", *(MEASURES[name][0] for name in measures))
    table = terminal.table(*columns, title="mean over the tasks")
    for evaluations in methods:
        cells = []
        for name in measures:
            of_seeds = [nan_mean(getattr(e.episodes, name)).mean(-1) for e in evaluations]
            cells.append(mean_sem(np.concatenate(of_seeds), 2))
        table.add_row(", ".join(e.run for e in evaluations), str(evaluations[0].step), *cells)
    return table


def _measures(evaluations: Sequence[Evaluation]) -> list[str]:
    """Those that these evaluations have something to say of, and each once."""
    if all(np.isnan(e.episodes.success).all() for e in evaluations):
        return ["returns"]  # environments of the user's may say nothing of success
    names = list(MEASURES)
    if all(e.success_rule == "final" for e in evaluations):
        names.remove("success")  # which is that at the last step
    return names


def mean_sem(values: NDArray[np.float64], digits: int) -> str:
    """Mean and standard error of the mean over seeds [S], with one digit more than `digits` and the number of seeds.

    A seed without a value (NaN) does not count; one seed has no standard error.
    """
    present = values[~np.isnan(values)]
    n = present.size
    sem = float(present.std(ddof=1)) / math.sqrt(n) if n > 1 else math.nan
    mean = float(present.mean()) if n else math.nan
    return f"{number(mean, digits + 1)} ± {number(sem, digits + 1)} (n = {n})"


def number(value: float, digits: int) -> str:
    return "-" if math.isnan(value) else f"{value:.{digits}f}"
