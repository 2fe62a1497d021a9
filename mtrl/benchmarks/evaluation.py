"""`mtrl benchmark evaluation`: what training's worlds and those of an evaluation cost each other."""

from __future__ import annotations

import statistics
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Annotated, Any

import numpy as np

import envs
from envs.cores import available_cores, yield_to_others
from mtrl.benchmarks.output import write_report
from mtrl.options import NonNegativeFloat, PositiveFloat, PositiveInt, Range
from mtrl.system import terminal

_SEEDS = 4
_ACTIONS = 16  # that worlds take in turn
_VARIANTS = ("alone", "beside an evaluation")


Worlds = Annotated[int, Range(1, 2**20 - 1)]


@dataclass(frozen=True)
class EvaluationBenchmark:
    """Times steps of training's worlds, alone and while those of an evaluation are stepped beside, in turn.

    Training makes a step every so often, as when a GPU learns meanwhile, for which it waits busily. The evaluation's
    process runs in Linux's idle class and waits for actions between two steps.

    Args:
        benchmark: the tasks; four seeds of each.
        training_worlds: of each task and seed.
        evaluation_worlds: of each task and seed.
        period: milliseconds from one step of training to the next.
        wait: milliseconds that an evaluation waits for actions.
        num_workers: threads that simulate, for training and for the evaluation; null takes one per
            core.
        seconds: that each way is timed at a time.
        repetitions: how often each way is timed.
        output: also write the measurements to this JSON file.
    """

    benchmark: str = "MT10"
    training_worlds: Worlds = 4
    evaluation_worlds: Worlds = 50
    period: PositiveFloat = 8.3
    wait: NonNegativeFloat = 8.0
    num_workers: Annotated[int, Range(1, 1024)] | None = None
    seconds: PositiveFloat = 3.0
    repetitions: PositiveInt = 3
    output: Path | None = None


def main(config: EvaluationBenchmark) -> None:
    """Prints medians over the repetitions.

    Raises:
        ValueError: the benchmark is unknown.
    """
    training = _Training(config)
    evaluation = ProcessPoolExecutor(1, get_context("spawn"))
    found: dict[str, list[dict[str, float]]] = {name: [] for name in _VARIANTS}
    try:
        evaluation.submit(_prepare, config).result()
        for _ in range(config.repetitions):
            for name in _VARIANTS:
                beside = evaluation if name != "alone" else None
                found[name].append(_measure(training, beside, config))
    finally:
        training.env.close()
        evaluation.shutdown()
    results: list[dict[str, Any]] = [
        {"variant": name, **{k: statistics.median(r[k] for r in runs) for k in runs[0]}, "all": runs}
        for name, runs in found.items()
    ]
    columns = ("training", "step, ms", "longest of 100, ms", "lost", "evaluation, worlds' steps/s")
    title = f"{available_cores()} cores, {training.env.num_envs} worlds every {config.period:g} ms"
    table = terminal.table(*columns, title=title)
    for r in results:
        times = (f"{r['median_milliseconds']:.2f}", f"{r['percentile_99_milliseconds']:.2f}")
        table.add_row(
            r["variant"], *times, f"{100 * r['lost']:.1f}%", f"{r['evaluation_steps_per_second']:.0f}"
        )
    terminal.console().print(table)
    print("lost: of training's time, by steps that took longer than the period.")
    write_report(config, {"cores": available_cores(), "results": results})


def _measure(
    training: _Training, evaluation: ProcessPoolExecutor | None, config: EvaluationBenchmark
) -> dict[str, float]:
    rates = [evaluation.submit(_evaluate, config.seconds, 1e-3 * config.wait)] if evaluation else []
    times = 1e3 * training.run(config.seconds)
    return {
        "median_milliseconds": float(np.median(times)),
        "percentile_99_milliseconds": float(np.percentile(times, 99)),
        "lost": float(np.maximum(times / training.period_milliseconds - 1.0, 0.0).mean()),
        "evaluation_steps_per_second": sum(rate.result() for rate in rates),
    }


class _Training:
    def __init__(self, config: EvaluationBenchmark) -> None:
        self.period_milliseconds = config.period
        self.env = _make(config, config.training_worlds)
        self._actions = _actions(self.env)

    def run(self, seconds: float) -> np.ndarray[Any, np.dtype[np.float64]]:
        """Seconds of each step but those that end episodes, which come at the same time in all worlds here."""
        times: list[float] = []
        end = time.perf_counter() + seconds
        while (started := time.perf_counter()) < end:
            truncated = self.env.step(self._actions[len(times) % _ACTIONS])[3]
            if not truncated.any():
                times.append(time.perf_counter() - started)
            while time.perf_counter() - started < 1e-3 * self.period_milliseconds:
                pass
        return np.array(times)


_env: envs.VectorEnv | None = None  # of the evaluation's process


def _prepare(config: EvaluationBenchmark) -> None:
    global _env
    yield_to_others()
    _env = _make(config, config.evaluation_worlds)


def _evaluate(seconds: float, wait: float) -> float:
    """Steps of worlds per second, with so many seconds between two steps of all."""
    assert _env is not None
    actions = _actions(_env)
    count, started = 0, time.perf_counter()
    while (elapsed := time.perf_counter() - started) < seconds:
        _env.step(actions[count % _ACTIONS])
        count += 1
        time.sleep(wait)
    return count * _env.num_envs / elapsed


def _make(config: EvaluationBenchmark, worlds: int) -> envs.VectorEnv:
    env = envs.make(
        config.benchmark,
        "metaworld_plus",
        range(_SEEDS),
        worlds_per_task=worlds,
        num_workers=config.num_workers,
    )
    env.reset()
    env.step(np.zeros((env.num_envs, 4)))
    return env


def _actions(env: envs.VectorEnv) -> np.ndarray[Any, np.dtype[np.float64]]:
    return np.random.default_rng(0).uniform(-1, 1, (_ACTIONS, env.num_envs, 4))
