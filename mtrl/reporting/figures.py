"""The figures of a report. Colour is never alone: lines differ in style and marker, bars in hatching."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import matplotlib.style
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mtrl.reporting.groups import Group
from mtrl.reporting.logs import NETWORKS
from mtrl.reporting.statistics import Statistic, bootstrap_interval, mean_and_sem
from mtrl.system.terminal import printable

COLORS = ["#000000", "#d55e00", "#0072b2", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#7f7f7f"]
LINES = ["-", "--", "-.", ":"]
MARKERS = "osD^vPX*"
HATCHES = ["", "///", "...", "xxx", "\\\\\\", "ooo", "+++", "***"]
DPI = 130
GradientMeasure = Literal["condition_number", "cosine"]
_LABELS = {"condition_number": "condition number", "cosine": "mean cosine of two tasks"}
WRAP = 40  # characters of a label in a line


def write_figures(groups: Sequence[Group], statistic: Statistic, k: int, directory: Path) -> list[str]:
    """Writes the figures as PNG, in matplotlib's own style whatever the working directory's is, and returns their
    names."""
    tasks = hardest_first(groups, statistic, k)
    with matplotlib.style.context("default"):
        figures = {
            "learning_curves": learning_curves(groups, tasks),
            "tasks": task_bars(groups, tasks, statistic, k),
            "heat_map": heat_map(groups, tasks, statistic, k),
            "condition_number": gradient_measure(groups, "condition_number"),
            "cosine": gradient_measure(groups, "cosine"),
        }
        for name, figure in figures.items():
            if figure is not None:
                figure.savefig(directory / f"{name}.png", dpi=DPI)
    return [name for name, figure in figures.items() if figure is not None]


def hardest_first(groups: Sequence[Group], statistic: Statistic, k: int) -> list[str]:
    """The groups' tasks by their scores, means over the groups' means; those with equal ones in their order."""
    means: dict[str, list[float]] = {}
    for group in groups:
        for task, score in zip(group.tasks, group.scores(statistic, k).mean(0), strict=True):
            means.setdefault(task, []).append(float(score))
    return sorted(means, key=lambda task: float(np.mean(means[task])))


def learning_curves(groups: Sequence[Group], tasks: Sequence[str]) -> Figure:
    """Scores during training, mean over seeds with a 95% stratified bootstrap interval: all tasks and each one."""
    panels: list[str | None] = [None, *(tasks if len(tasks) > 1 else [])]
    columns = min(len(panels), 4 if len(panels) <= 12 else 6)
    rows = -(-len(panels) // columns)
    width = min(3.2, 13 / columns)  # inches of a panel: all fit on a page
    figure = Figure(figsize=(width * columns, 0.78 * width * rows + 0.5), layout="constrained")
    axes = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
    for axis, task in zip(axes.flat, panels, strict=False):
        axis.set_title("mean over tasks" if task is None else _plain(task.removesuffix("-v3")), fontsize=9)
        for number, group in enumerate(groups):
            if task is not None and task not in group.tasks:
                continue
            steps, scores = group.common()
            if task is not None:
                scores = scores[..., [group.tasks.index(task)]]
            intervals = [bootstrap_interval(s, lambda x: x.mean((-2, -1))) for s in scores]
            axis.plot(
                steps / 1000,
                [i.value for i in intervals],
                label=_plain(group.label),
                **_line(number, len(steps)),
            )
            if len(group.curves) > 1:
                low, high = ([i.low for i in intervals], [i.high for i in intervals])
                axis.fill_between(steps / 1000, low, high, **_band(number))
    for axis in axes.flat[len(panels) :]:
        axis.set_visible(False)
    if groups[0].measure == "success":
        axes[0, 0].set_ylim(-0.03, 1.03)
    figure.supxlabel("1000 steps per task", fontsize=10)
    figure.supylabel(groups[0].measure, fontsize=10)
    _legend(figure, axes[0, 0])
    return figure


def task_bars(groups: Sequence[Group], tasks: Sequence[str], statistic: Statistic, k: int) -> Figure:
    """Scores of each task, from top to bottom, with their standard errors over seeds."""
    row = max(0.2, 0.12 * len(groups))  # inches
    figure = Figure(figsize=(6.4, 1.0 + row * len(tasks)), layout="constrained")
    axis = figure.subplots()
    height = 0.8 / len(groups)
    for number, group in enumerate(groups):
        scores = group.scores(statistic, k)
        means = [mean_and_sem(column) for column in scores.T]
        axis.barh(
            np.array([tasks.index(task) for task in group.tasks]) + (number - (len(groups) - 1) / 2) * height,
            [m.value for m in means],
            height,
            xerr=[m.sem or 0.0 for m in means] if len(scores) > 1 else None,
            capsize=2,
            label=_plain(group.label),
            facecolor="#c0c0c0" if number % 8 == 0 else "white",
            edgecolor=COLORS[number % 8],
            hatch=HATCHES[number % 8],
            error_kw={"elinewidth": 1.4, "ecolor": "black"},
        )
    axis.set_yticks(range(len(tasks)), [_plain(task.removesuffix("-v3")) for task in tasks], fontsize=9)
    axis.set_ylim(len(tasks) - 0.5, -0.5)
    if groups[0].measure == "success":
        axis.set_xlim(0, 1.08)
    axis.set_xlabel(f"{groups[0].measure} ({statistic})")
    _legend(figure, axis)
    return figure


def heat_map(groups: Sequence[Group], tasks: Sequence[str], statistic: Statistic, k: int) -> Figure:
    """Scores of every seed, by method, on every task: whichever are more, seeds or tasks, are the rows."""
    seeds = [_wrap(f"{_plain(group.label)}, seed {curve.seed}") for group in groups for curve in group.curves]
    names = [_plain(task.removesuffix("-v3")) for task in tasks]
    values = np.full((len(seeds), len(tasks)), np.nan)
    start = 0
    for group in groups:
        scores = group.scores(statistic, k)
        values[start : start + len(scores), [tasks.index(task) for task in group.tasks]] = scores
        start += len(scores)
    tall = len(tasks) > len(seeds)
    rows, columns = (names, seeds) if tall else (seeds, names)
    lines = max(row.count("\n") + 1 for row in rows)
    size = (3.5 + 0.75 * len(columns), (3.0 if tall else 1.6) + (0.13 + 0.15 * lines) * len(rows))
    figure = Figure(figsize=size, layout="constrained")
    axis = figure.subplots()
    rates = groups[0].measure == "success"
    low, high = (0.0, 1.0) if rates else (float(np.nanmin(values)), float(np.nanmax(values)))
    shown = values.T if tall else values
    image = axis.imshow(shown, cmap="Greys", vmin=low, vmax=high, aspect="auto")
    for (row, column), value in np.ndenumerate(shown):
        if np.isfinite(value):
            axis.text(
                column,
                row,
                f"{value:.2f}" if rates else f"{value:.0f}",
                ha="center",
                va="center",
                fontsize=8,
                color="white" if value > low + 0.55 * (high - low) else "black",
            )
    ends = np.cumsum([len(group.curves) for group in groups])[:-1]
    between = axis.vlines if tall else axis.hlines
    between(ends - 0.5, -0.5, len(tasks) - 0.5, color="#d55e00", linewidth=1.5)
    axis.set_xticks(range(len(columns)), columns, rotation=35, ha="right", fontsize=9)
    axis.set_yticks(range(len(rows)), rows, fontsize=8)
    figure.colorbar(image, ax=axis, label=f"{groups[0].measure} ({statistic})")
    return figure


def gradient_measure(groups: Sequence[Group], measure: GradientMeasure) -> Figure | None:
    """A measure of the gradient systems over training: median over seeds and their range, if it was logged."""
    names = [f"{network}/{measure}" for network in NETWORKS]
    if not any(name in run.gradients for group in groups for run in group.runs for name in names):
        return None
    figure = Figure(figsize=(8, 3.4), layout="constrained")
    axes = figure.subplots(1, 2, sharex=True, sharey=True)
    for axis, network, name in zip(axes, NETWORKS, names, strict=True):
        for number, group in enumerate(groups):
            steps, values = _logged(group, name)
            if not steps.size:
                continue
            axis.plot(
                steps / 1000,
                np.median(values, 1),
                label=_plain(group.label),
                **_line(number, len(steps), size=4),
            )
            axis.fill_between(steps / 1000, values.min(1), values.max(1), **_band(number))
        axis.set_title(network, fontsize=10)
        if measure == "condition_number":
            axis.set_yscale("log")
        else:
            axis.axhline(0.0, color="#7f7f7f", linewidth=0.8)
    axes[0].set_ylabel(_LABELS[measure])
    figure.supxlabel("1000 steps per task", fontsize=10)
    _legend(figure, axes[0] if axes[0].has_data() else axes[1])
    return figure


def _logged(group: Group, name: str) -> tuple[Any, Any]:
    """Steps [n] that every run logged and values [n, S] of the seeds, where all are finite."""
    runs = [run.gradients[name] for run in group.runs if name in run.gradients]
    if not runs:
        return np.empty(0), np.empty((0, 0))
    steps = runs[0][0]
    for other, _ in runs[1:]:
        steps = np.intersect1d(steps, other)
    values = np.concatenate([v[np.isin(s, steps)] for s, v in runs], axis=1)
    finite = np.isfinite(values).all(1)
    return steps[finite], values[finite]


def _line(number: int, points: int, size: float = 5.0) -> dict[str, Any]:
    """Style of the line of a group, with about eight markers, staggered so that lines do not hide each other's."""
    every = max(1, points // 8)
    return {
        "color": COLORS[number % len(COLORS)],
        "linestyle": LINES[number % len(LINES)],
        "marker": MARKERS[number % len(MARKERS)],
        "markersize": size,
        "markevery": (number % every, every),
        "markerfacecolor": "white" if number % 2 else COLORS[number % len(COLORS)],
        "linewidth": 1.5,
    }


def _band(number: int) -> dict[str, Any]:
    """Style of an interval: tinted, with an edge in the style of the group's line."""
    color, style = COLORS[number % len(COLORS)], LINES[number % len(LINES)]
    return {"facecolor": (color, 0.1), "edgecolor": (color, 0.6), "linestyle": style, "linewidth": 0.6}


def _legend(figure: Figure, axis: Axes) -> None:
    handles, labels = axis.get_legend_handles_labels()
    names = [_wrap(label, 2 * WRAP) for label in labels]
    longest = max(len(line) for name in names for line in name.split("\n"))
    columns = int(np.clip(figure.get_figwidth() / (0.75 + 0.075 * longest), 1, min(4, len(names))))  # inches
    figure.legend(handles, names, loc="outside upper center", ncols=columns, fontsize=9, frameon=False)


def _plain(name: str) -> str:
    """A name that matplotlib draws as it is: a `$` begins a formula, and a label that begins with `_` is hidden."""
    hidden = "\N{NO-BREAK SPACE}" * name.startswith("_")
    return hidden + printable(name).replace("$", r"\$")


def _wrap(label: str, width: int = WRAP) -> str:
    return textwrap.fill(label, width)
