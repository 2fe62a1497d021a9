"""Balancers on the two-task problem of Senushkin et al. 2023 (arXiv 2305.19000, Fig. 1, Fig. 6, App. C):
from which starts, and for which preferences, does it reach the optimum of the preference-weighted loss?

Adam with a constant rate follows the balanced gradient from five starts, all in one batch.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import matplotlib.style
import torch
from torch import Tensor

from mtrl.adam import Adam
from mtrl.balancers import Balancer
from mtrl.config.lookup import find_balancers
from mtrl.system import terminal
from mtrl.system.files import write_text, writing
from mtrl.toy import plot
from mtrl.toy.problem import (
    STARTS,
    ToyResult,
    losses_and_jacobian,
    optimum,
    pareto_front,
    task_losses,
    weighted_loss,
)

STEPS = 35_000
LEARNING_RATE = 1e-3
#: A final loss this close to the optimum counts as reaching it.
TOLERANCE = 0.05
#: Added to both losses, which stay above -20: some balancers are undefined for negative losses.
OFFSET = 21.0
#: Every how many steps a point of the trajectory is kept.
RECORD_EVERY = 50
DPI = 120


@dataclass
class ToyConfig:
    """Runs balancers on a synthetic two-task problem: which starts reach the optimum?

    Args:
        balancer: names of the methods, default: all.
        preference: the weight of the first loss, between 0 and 1; the second has the rest. A list runs each.
        output: the directory to write.
        steps: optimiser steps.
    """

    balancer: list[str] = field(default_factory=list)
    preference: float | list[float] = 0.5
    output: Path = Path("toy")
    steps: int = STEPS


def prepare(method: type[Balancer], preferences: Sequence[float]) -> Balancer:
    """A method with its default options; its seeds are all pairs of a preference and a start, [preference, start]."""
    seeds = [start for _ in preferences for start in range(len(STARTS))]
    balancer = method(preference=[preferences[0], 1.0 - preferences[0]])
    balancer.setup(2, seeds=seeds, dtype=torch.float64)
    if len(preferences) > 1:
        rows = torch.tensor([[p, 1.0 - p] for p in preferences for _ in STARTS], dtype=torch.float64)
        balancer.preference = rows
        balancer.allocate(torch.zeros_like(rows), seeds)  # some states start from the preference
    return balancer


@torch.inference_mode()
def follow(balancer: Balancer, steps: int = STEPS) -> Tensor:
    """Trajectories [S, K, 2]; the seeds of the balancer take the starts in turn."""
    points = torch.tensor(STARTS, dtype=torch.float64).repeat(len(balancer.failures) // len(STARTS), 1)
    adam = Adam(points)
    kept = [points.clone()]
    for step in range(1, steps + 1):
        losses, jacobian = losses_and_jacobian(points)
        direction = balancer(jacobian, losses + OFFSET, representation=jacobian).direction
        # AdaTask's direction is Adam's already.
        points.sub_(LEARNING_RATE * (direction if balancer.replaces_optimizer else adam.direction(direction)))
        if balancer.observes_update:
            balancer.observe(task_losses(points) + OFFSET)
        if step % RECORD_EVERY == 0 or step == steps:
            kept.append(points.clone())
    return torch.stack(kept, dim=1)


def run_method(method: type[Balancer], preferences: Sequence[float], steps: int = STEPS) -> list[ToyResult]:
    """Runs a method on all preferences at once."""
    balancer = prepare(method, preferences)
    began = time.process_time()
    trajectories = follow(balancer, steps).unflatten(0, (len(preferences), len(STARTS)))
    seconds = time.process_time() - began
    failures = balancer.failures.unflatten(0, (len(preferences), len(STARTS))).sum(dim=-1)
    runs = []
    for i, preference in enumerate(preferences):
        best = optimum(preference)
        gaps = weighted_loss(trajectories[i, :, -1], preference) - best.loss
        runs.append(
            ToyResult(
                balancer=method.__name__,
                preference=preference,
                steps=steps,
                seconds=seconds,
                optimum=best.point.tolist(),
                optimum_loss=best.loss,
                gaps=gaps.tolist(),
                reached=(gaps <= TOLERANCE).tolist(),
                failures=int(failures[i]),
                trajectories=trajectories[i].tolist(),
            )
        )
    return runs


def run(
    balancers: Sequence[type[Balancer]],
    preferences: Sequence[float] = (0.5,),
    steps: int = STEPS,
    output: Path = Path("toy"),
) -> list[ToyResult]:
    """Runs each method on each preference and writes `output`: a JSON file and a figure for each, one grid of
    figures for each preference, and `table.md`.

    Raises:
        ValueError: a preference is not between 0 and 1, there are no steps, or `table.md` is another's.
    """
    for preference in preferences:
        if not 0.0 <= preference <= 1.0:
            raise ValueError(f"The preference of the first loss must be between 0 and 1, got {preference}.")
    if not preferences or not 0 < steps < 2**31:
        raise ValueError(
            f"There must be a preference, and a positive number of steps below 2**31, got {list(preferences)} and "
            f"{steps}."
        )
    table = output / "table.md"
    if table.exists() and not (table.is_file() and table.read_bytes().startswith(b"| method |")):
        raise ValueError(f"`mtrl toy` did not write {table}: choose another --output.")
    for preference in preferences:
        (output / f"{preference:g}").mkdir(parents=True, exist_ok=True)
    front = pareto_front()
    runs = []
    with writing(output), matplotlib.style.context("default"):  # not that of a file in the working directory
        for method in balancers:
            for result in run_method(method, preferences, steps):
                path = output / f"{result.preference:g}" / result.balancer
                write_text(path.with_suffix(".json"), json.dumps(asdict(result)))
                plot.method(result, front).savefig(path.with_suffix(".png"), dpi=DPI)
                runs.append(result)
            print(
                f"{method.__name__}: {runs[-1].seconds:.0f} s of processor time", file=sys.stderr, flush=True
            )
        for preference in preferences:
            grid = plot.grid([r for r in runs if r.preference == preference], front)
            grid.savefig(output / f"{preference:g}" / "all.png", dpi=DPI)
    write_text(table, markdown(runs))
    return runs


def cell(result: ToyResult) -> str:
    """The numbers of the starts that reached the optimum; a dot for one that did not."""
    return " ".join(str(start) if ok else "·" for start, ok in enumerate(result.reached, start=1))


def rows(runs: Sequence[ToyResult]) -> list[list[str]]:
    """A table: a heading, then one row per method and one column per preference."""
    preferences = sorted({r.preference for r in runs})
    cells = {(r.balancer, r.preference): cell(r) for r in runs}
    names = list(dict.fromkeys(r.balancer for r in runs))
    return [
        ["method", *(f"p = {p:g}" for p in preferences)],
        *([name, *(cells[name, p] for p in preferences)] for name in names),
    ]


def markdown(runs: Sequence[ToyResult]) -> str:
    heading, *body = rows(runs)
    lines = [heading, ["---"] * len(heading), *body]
    return "".join("| " + " | ".join(line) + " |\n" for line in lines)


def main(config: ToyConfig) -> None:
    """Runs what the configuration asks for and prints the table.

    Raises:
        ValueError: a name is not a balancer's, or a preference is not between 0 and 1.
    """
    torch.set_num_threads(1)  # threads only cost time at this size
    methods = find_balancers(config.balancer, "preference")
    preferences = config.preference if isinstance(config.preference, list) else [config.preference]
    heading, *body = rows(run(methods, preferences, config.steps, config.output))
    table = terminal.table(*heading, title="Starts from which the optimum was reached")
    for line in body:
        table.add_row(*line)
    terminal.console().print(table)
