"""Runs that differ in nothing but the seed, and what to call them."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mtrl.config.experiment import experiment, flatten
from mtrl.config.lookup import CLASS_OPTIONS
from mtrl.config.train import with_defaults
from mtrl.reporting.runs import Run
from mtrl.reporting.statistics import Floats, Statistic, select
from mtrl.storage.scores import Measure


@dataclass(frozen=True)
class Curve:
    """One seed of one run: steps [n] and scores [n, T] of the evaluations during training.

    final: scores [T] that `mtrl evaluate` found at the end, or else that of the last evaluation during training.
    """

    run: Run
    seed: int
    steps: NDArray[np.int64]
    scores: Floats
    final: Floats


@dataclass(frozen=True)
class Group:
    """The runs of one method."""

    label: str
    runs: list[Run]

    @property
    def tasks(self) -> list[str]:
        return self.runs[0].tasks

    @property
    def measure(self) -> Measure:
        return self.runs[0].measure

    @cached_property
    def curves(self) -> list[Curve]:
        """One for each seed, in order."""
        curves = [
            Curve(run, seed, run.steps, run.scores[:, s], run.final[s])
            for run in self.runs
            for s, seed in enumerate(run.seeds)
        ]
        return sorted(curves, key=lambda curve: curve.seed)

    def scores(self, statistic: Statistic, k: int) -> Floats:
        """The score matrix [S, T] of a statistic."""
        if statistic == "final":
            return np.stack([curve.final for curve in self.curves])
        return np.stack([select(curve.scores, statistic, k) for curve in self.curves])

    def last_steps(self, statistic: Statistic) -> list[int]:
        """The step of each seed's last evaluation of those that a statistic counts."""
        return [curve.run.last if statistic == "final" else int(curve.steps[-1]) for curve in self.curves]

    def common(self) -> tuple[NDArray[np.int64], Floats]:
        """Steps [n] at which every seed was evaluated, and scores [n, S, T]."""
        steps = self.curves[0].steps
        for curve in self.curves[1:]:
            steps = np.intersect1d(steps, curve.steps)
        return steps, np.stack([c.scores[np.isin(c.steps, steps)] for c in self.curves], axis=1)


def group_runs(runs: Sequence[Run]) -> list[Group]:
    """Groups the runs by everything but the seed.

    Raises:
        ValueError: a group has a seed twice.
    """
    by_key: dict[str, list[Run]] = {}
    for run in runs:
        key = json.dumps([_options(run), comparable(run)], sort_keys=True, default=str)
        by_key.setdefault(key, []).append(run)
    members = list(by_key.values())
    names = labels([_options(group[0]) for group in members])
    repeated = {name for name, count in Counter(names).items() if count > 1}
    groups = []
    for name, group in zip(names, members, strict=True):
        owner: dict[int, Run] = {}
        for run in group:
            for seed in run.seeds:
                if seed in owner:
                    raise ValueError(
                        f"Seed {seed} of {name} is in {owner[seed].path} and in {run.path}, and counted twice it would "
                        "feign an independent run: leave one of them out, by naming the runs to compare instead of a "
                        "directory with both."
                    )
                owner[seed] = run
        label = f"{name} ({group[0].path.name})" if name in repeated else name
        groups.append(Group(f"{label}{_missing(group)}", group))
    return groups


def _missing(runs: Sequence[Run]) -> str:
    """What is missing of the logs that a method's numbers are from, to stand beside them."""
    parts = []
    for kind in ("evaluations", "times"):
        counts = [run.missing[kind] for run in runs if kind in run.missing]
        missing, due = (sum(count) for count in zip((0, 0), *counts, strict=True))
        parts += [f"{missing} of {due} {kind} missing"] if missing else []
    return f" [{', '.join(parts)}]" if parts else ""


def check_copies(groups: Sequence[Group]) -> None:
    """
    Raises:
        ValueError: two seeds of a group are one training, that was copied and given another seed.
    """
    for group in groups:
        owner: dict[int, Curve] = {}
        for curve in group.curves:
            for losses in curve.run.losses[curve.run.seeds.index(curve.seed)]:
                other = owner.setdefault(losses, curve)
                if other is not curve:
                    raise ValueError(
                        f"Seed {other.seed} of {other.run.path} and seed {curve.seed} of {curve.run.path} have the "
                        "same losses to the last digit, so one is a copy of the other, and counted twice it would "
                        "feign an independent run: leave one of them out."
                    )


def same_losses(groups: Sequence[Group]) -> list[str]:
    """A sentence for each run whose losses are all those of a run of another method.

    An option that has no effect may do that; so does a configuration that was edited in a copy.
    """
    notes = []
    owner: dict[frozenset[int], Run] = {}
    for run in [run for group in groups for run in group.runs]:
        losses: frozenset[int] = frozenset().union(*run.losses)
        other = owner.setdefault(losses, run)
        if losses and other is not run:
            notes.append(
                f"{other.path} and {run.path} have the same losses to the last digit in every line: either what is set "
                "apart there has no effect, or one is a copy of the other."
            )
    return notes


def _options(run: Run) -> dict[str, Any]:
    """What makes a run another experiment, with what its version did not know yet."""
    options = experiment(with_defaults(run.config))
    if options["balancer"] is None:
        del options["balance"]  # nothing is balanced
    return options


def comparable(run: Run) -> dict[str, Any]:
    """What two runs must share to be compared."""
    return flatten({name: run.stamp[name] for name in ("protocol", "benchmark")} | {"evaluation": run.way})


def check_measures(runs: Sequence[Run]) -> None:
    """Refuses what no table can have in it.

    Raises:
        ValueError: some runs are of environments of the user's and others of Meta-World, or scores are of two measures.
    """
    for run in runs[1:]:
        pair = (runs[0], run)
        kinds = [
            "environments of your own"
            if r.stamp["protocol"].get("name") == "custom"
            else "Meta-World's tasks"
            for r in pair
        ]
        measures = [f"scores by {r.measure}" for r in pair]
        for first, other in (kinds, measures):
            if first != other:
                raise ValueError(
                    f"{runs[0].path} has {first} and {run.path} has {other}, which are never set in one table: report "
                    "them apart."
                )


def check_protocols(runs: Sequence[Run]) -> str | None:
    """The first difference between the runs' protocols or benchmarks, as a sentence; None if there is none."""
    first = comparable(runs[0])
    for run in runs[1:]:
        other = comparable(run)
        differing = [k for k in first | other if first.get(k, "unset") != other.get(k, "unset")]
        if differing:
            name = differing[0]
            return (
                f"{runs[0].path} and {run.path} are not comparable: {name} is {first.get(name, 'unset')} and "
                f"{other.get(name, 'unset')}"
            )
    return None


def labels(configs: Sequence[dict[str, Any]]) -> list[str]:
    """A name for each of several configurations that says what differs; network and balancer for a single one."""
    parts: list[list[str]] = [[] for _ in configs]
    for kind in CLASS_OPTIONS:
        paths = [config.get(kind) for config in configs]
        short = [_class_name(path, kind) for path in paths]
        if len(set(map(str, paths))) > 1 or (len(configs) == 1 and kind != "critic_network"):
            ambiguous = len(set(short)) < len(set(map(str, paths)))
            for part, path, name in zip(parts, paths, short, strict=True):
                part.append(str(path) if ambiguous and path else name)
    for name in sorted({n for config in configs for n in config} - {*CLASS_OPTIONS}):
        kind = name.partition(".")[0]
        for part, config in zip(parts, configs, strict=True):
            # An option of a class is compared with the same class's.
            peers = [c for c in configs if name in c and (kind == name or c.get(kind) == config.get(kind))]
            if name in config and len({str(c[name]) for c in peers}) > 1:
                part.append(f"{name}={config[name]}")
    return [", ".join(part) or "?" for part in parts]


def _class_name(path: Any, kind: str) -> str:
    return f"no {kind}" if path is None else str(path).rpartition(".")[2]
