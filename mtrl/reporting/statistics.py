"""Statistics of success rates over seeds and tasks.

A score matrix [S, T] holds one success rate for each seed and task. Definitions of IQM, stratified bootstrap and
probability of improvement: Agarwal et al. 2021, "Deep Reinforcement Learning at the Edge of the Statistical Precipice",
Sec. 4 and App. A.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Statistic = Literal["final", "last_k", "paper_max"]

RESAMPLES = 10_000
IMPROVEMENT_RESAMPLES = 2_000  # each of which compares all pairs of seeds
LEVELS = (0.5, 0.8, 0.9)


@dataclass(frozen=True)
class Mean:
    """A mean over seeds and its standard error (None for a single seed)."""

    value: float
    sem: float | None

    def __str__(self) -> str:
        return f"{self.value:.3f}" + ("" if self.sem is None else f" ± {self.sem:.3f}")


@dataclass(frozen=True)
class Interval:
    """An estimate and its 95% interval (None for a single seed)."""

    value: float
    low: float | None
    high: float | None

    def __str__(self) -> str:
        return f"{self.value:.3f}" + ("" if self.low is None else f" [{self.low:.3f}, {self.high:.3f}]")


def describe(statistic: Statistic, k: int, evaluated: bool = False) -> str:
    """What a statistic is, for the heading of every table that shows it.

    Args:
        evaluated: `final` is by `mtrl evaluate`.
    """
    return {
        "final": f"final (each seed's last {'checkpoint, by mtrl evaluate' if evaluated else 'evaluation'})",
        "last_k": f"last_k (mean of each seed's last {k} evaluations)",
        "paper_max": "paper_max (each seed's best evaluation of all: biased upwards)",
    }[statistic]


def select(success: Floats, statistic: Statistic, k: int) -> Floats:
    """One seed's scores [T] from its evaluations [n, T].

    `paper_max` is the field's habit: the evaluation with the highest mean over tasks. The maximum of n noisy
    estimates lies above the success rate, the more so the more evaluations and the fewer episodes there are.
    """
    scores: Floats
    if statistic == "final":
        scores = success[-1]
    elif statistic == "last_k":
        scores = success[-k:].mean(0)
    else:
        scores = success[success.mean(1).argmax()]
    return scores


def mean_and_sem(values: Floats) -> Mean:
    """Mean of [S] values and its standard error, s / sqrt(S) with s² = sum (x - mean)² / (S - 1)."""
    sem = float(values.std(ddof=1) / math.sqrt(values.size)) if values.size > 1 else None
    return Mean(float(values.mean()), sem)


def interquartile_mean(scores: Floats) -> Floats:
    """Mean of the middle half of all S·T scores: floor(S·T / 4) are dropped at either end.

    Args:
        scores: [..., S, T].

    Returns:
        [...].
    """
    flat = np.sort(scores.reshape(*scores.shape[:-2], -1), axis=-1)
    cut = flat.shape[-1] // 4
    middle: Floats = flat[..., cut : flat.shape[-1] - cut].mean(-1)
    return middle


def resample(scores: Floats, generator: np.random.Generator, resamples: int = RESAMPLES) -> Floats:
    """Stratified bootstrap: for every task apart, S seeds drawn with replacement.

    Returns:
        [resamples, S, T].
    """
    num_seeds, num_tasks = scores.shape
    chosen = generator.integers(num_seeds, size=(resamples, num_seeds, num_tasks))
    return np.take_along_axis(scores[None], chosen, axis=1)


def bootstrap_interval(scores: Floats, statistic: Callable[[Floats], Floats]) -> Interval:
    """A statistic of a score matrix [S, T] with its 95% percentile interval, the same for the same scores."""
    value = float(statistic(scores))
    if len(scores) < 2:
        return Interval(value, None, None)
    return _percentiles(value, statistic(resample(scores, np.random.default_rng(0))))


def improvement(x: Floats, y: Floats) -> Floats:
    """Probability that a seed of X does better than one of Y on a random task; a tie counts half.

    The mean over tasks of the Mann-Whitney U statistic divided by the number of pairs.

    Args:
        x, y: [..., S, T] and [..., S', T].

    Returns:
        [...].
    """
    first, second = x[..., :, None, :], y[..., None, :, :]
    wins = (first > second).mean((-3, -2, -1)) + 0.5 * (first == second).mean((-3, -2, -1))
    return np.asarray(wins, dtype=np.float64)


def improvement_interval(x: Floats, y: Floats) -> Interval:
    """Probability of improvement with its 95% interval, X and Y resampled apart."""
    value = float(improvement(x, y))
    if len(x) < 2 or len(y) < 2:
        return Interval(value, None, None)
    generator = np.random.default_rng(0)
    first, second = (resample(scores, generator, IMPROVEMENT_RESAMPLES) for scores in (x, y))
    return _percentiles(value, improvement(first, second))


def first_reach(steps: NDArray[np.int64], success: Floats, level: float) -> int | None:
    """The first of the steps [n] with an evaluation [n, T] whose mean over tasks is at least `level`."""
    # A mean of tenths may fall short of the level by a rounding error.
    reached = np.flatnonzero(success.mean(1) >= level - 1e-9)
    return int(steps[reached[0]]) if reached.size else None


def median_reached(values: list[float | None]) -> float | None:
    """The (upper) median where None stands for never; None if that is the median."""
    ordered = sorted(math.inf if v is None else v for v in values)
    median = ordered[len(ordered) // 2]
    return None if math.isinf(median) else median


def _percentiles(value: float, values: Floats) -> Interval:
    low, high = np.percentile(values, [2.5, 97.5])
    return Interval(value, float(low), float(high))
