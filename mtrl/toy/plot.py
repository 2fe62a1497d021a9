"""Figures of the two-task problem: where the starts went in the plane, and in the space of the two losses."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from mtrl.toy.problem import ToyResult, task_losses, weighted_loss

#: One colour per start.
COLORS = ("#4477AA", "#EE6677", "#228833", "#AA3377", "#66CCEE")


def method(run: ToyResult, front: tuple[Tensor, Tensor]) -> Figure:
    """The landscape of the weighted loss and the space of the losses, side by side, for one run."""
    figure = Figure(figsize=(11.0, 5.1), layout="constrained")
    plane, losses = figure.subplots(1, 2)
    _landscape(figure, plane, run, front[0])
    _loss_space(losses, run, front[1])
    figure.legend(*losses.get_legend_handles_labels(), loc="outside lower center", ncols=7)
    figure.suptitle(f"{run.balancer}, preference ({run.preference:g}, {1.0 - run.preference:g})")
    return figure


def grid(runs: Sequence[ToyResult], front: tuple[Tensor, Tensor]) -> Figure:
    """The space of the losses for each run, all of one preference."""
    columns = min(6, len(runs))
    count = math.ceil(len(runs) / columns)
    figure = Figure(figsize=(3.0 * columns, 2.8 * count), layout="constrained")
    axes = figure.subplots(count, columns, squeeze=False, sharex=True, sharey=True)
    for i, (axis, run) in enumerate(zip(axes.flat, runs, strict=False)):
        _loss_space(axis, run, front[1])
        axis.set_title(f"{run.balancer}: {sum(run.reached)} of {len(run.reached)}", fontsize="medium")
        lowest = i + columns >= len(runs)  # of its column
        axis.tick_params(labelbottom=lowest)
        axis.set(xlabel=axis.get_xlabel() if lowest else "", ylabel="" if i % columns else axis.get_ylabel())
    for axis in axes.flat[len(runs) :]:
        axis.set_visible(False)
    figure.legend(*axes.flat[0].get_legend_handles_labels(), loc="outside lower center", ncols=7)
    preference = runs[0].preference
    figure.suptitle(f"Starts that reached the optimum, preference ({preference:g}, {1.0 - preference:g})")
    return figure


def _landscape(figure: Figure, axis: Axes, run: ToyResult, pareto_set: Tensor) -> None:
    ticks = torch.linspace(-12.0, 12.0, 401, dtype=torch.float64)
    x1, x2 = torch.meshgrid(ticks, ticks, indexing="xy")
    loss = weighted_loss(torch.stack([x1, x2], dim=-1), run.preference)
    filled = axis.contourf(x1, x2, loss, levels=40, cmap="Greys_r", alpha=0.8)
    figure.colorbar(filled, ax=axis, label="preference-weighted loss")
    axis.plot(*pareto_set.T, color="black", linewidth=4, alpha=0.6)
    for color, trajectory in zip(COLORS, run.trajectories, strict=True):
        _trajectory(axis, np.asarray(trajectory), color)
    _star(axis, run.optimum)
    axis.set(xlabel="$x_1$", ylabel="$x_2$", xlim=(-12, 12), ylim=(-12, 12))


def _loss_space(axis: Axes, run: ToyResult, pareto_front: Tensor) -> None:
    axis.plot(*pareto_front.T, color="black", linewidth=4, alpha=0.6, label="Pareto front")
    for start, (color, trajectory) in enumerate(zip(COLORS, run.trajectories, strict=True), start=1):
        points = torch.tensor(trajectory, dtype=torch.float64)
        _trajectory(axis, task_losses(points).numpy(), color, f"start {start}")
    best = task_losses(torch.tensor(run.optimum, dtype=torch.float64)).numpy()
    _star(axis, best, "optimum")
    axis.set(xlabel="$L_1$", ylabel="$L_2$")


def _star(axis: Axes, point: Iterable[float], label: str | None = None) -> None:
    axis.plot(*point, "*", color="gold", markersize=18, markeredgecolor="black", zorder=5, label=label)


def _trajectory(axis: Axes, points: np.ndarray, color: str, label: str | None = None) -> None:
    axis.plot(*points.T, color=color, linewidth=1.2, label=label)
    axis.plot(*points[0], marker="o", color=color, markersize=6)
    axis.plot(*points[-1], marker="X", color=color, markersize=8, markeredgecolor="black", zorder=6)
