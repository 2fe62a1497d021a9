"""`mtrl benchmark evaluation`: what training's worlds and those of an evaluation cost each other."""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import envs
from envs.cores import available_cores, yield_to_others
from mtrl.benchmarks.output import write_report
from mtrl.system import terminal
from mtrl.system.channel import Channel
from mtrl.system.process import Worker, live

_SEEDS = 4
_ACTIONS = 16  # that worlds take in turn
#: How many processes share the evaluation.
_VARIANTS = {"alone": 0, "one process": 1, "two processes": 2}


@dataclass(frozen=True)
class EvaluationBenchmark:
    """Times steps of training's worlds while those of an evaluation are stepped beside, in three ways in turn.

    Training makes a step every so often, as when a GPU learns meanwhile, for which it waits busily. The evaluation's
    processes run in Linux's idle class and wait for actions between two steps.

    Args:
        benchmark: the tasks; four seeds of each.
        training_worlds: of each task and seed.
        evaluation_worlds: of each task and seed.
        period: milliseconds from one step of training to the next.
        wait: milliseconds that an evaluation waits for actions.
        num_workers: threads that simulate, for training and for each process of the evaluation; null takes one per
            core.
        seconds: that each way is timed at a time.
        repetitions: how often each way is timed.
        output: also write the measurements to this JSON file.
    """

    benchmark: str = "MT10"
    training_worlds: int = 4
    evaluation_worlds: int = 50
    period: float = 8.3
    wait: float = 8.0
    num_workers: int | None = None
    seconds: float = 3.0
    repetitions: int = 3
    output: Path | None = None


def main(config: EvaluationBenchmark) -> None:
    """Prints medians over the repetitions.

    Raises:
        ValueError: a number is not positive, or a name is unknown.
    """
    counts = (config.training_worlds, config.evaluation_worlds, config.repetitions)
    if min(*counts, config.seconds, config.period) <= 0 or config.wait < 0:
        raise ValueError("Worlds, seconds, period and repetitions must be positive, and wait not negative.")
    training = _Training(config)
    evaluations = {n: [_Evaluation(config, _SEEDS // n) for _ in range(n)] for n in (1, 2)}
    found: dict[str, list[dict[str, float]]] = {name: [] for name in _VARIANTS}
    try:
        for _ in range(config.repetitions):
            for name, count in _VARIANTS.items():
                found[name].append(_measure(training, evaluations.get(count, []), config.seconds))
    finally:
        training.env.close()
        for evaluation in [e for several in evaluations.values() for e in several]:
            evaluation.close()
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


def _measure(training: _Training, evaluations: Sequence[_Evaluation], seconds: float) -> dict[str, float]:
    for evaluation in evaluations:
        evaluation.start()
    times = 1e3 * training.run(seconds)
    rates = [evaluation.stop() for evaluation in evaluations]
    return {
        "median_milliseconds": float(np.median(times)),
        "percentile_99_milliseconds": float(np.percentile(times, 99)),
        "lost": float(np.maximum(times / training.period_milliseconds - 1.0, 0.0).mean()),
        "evaluation_steps_per_second": sum(rates),
    }


class _Training:
    def __init__(self, config: EvaluationBenchmark) -> None:
        self.period_milliseconds = config.period
        self.env = _make(config, config.training_worlds, _SEEDS)
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


class _Evaluation:
    """A process that steps worlds between `start` and `stop`."""

    def __init__(self, config: EvaluationBenchmark, num_seeds: int) -> None:
        self._worker = Worker((config, num_seeds), (), __name__)
        self._worker.receive()

    def start(self) -> None:
        self._worker.send(True)

    def stop(self) -> float:
        """Steps of worlds per second."""
        self._worker.send(True)
        rate: float = self._worker.receive()[0]
        return rate

    def close(self) -> None:
        self._worker.stop()


def serve(descriptor: int) -> None:
    """The life of an evaluation's process."""
    yield_to_others()
    live(descriptor, _evaluate)


def _evaluate(channel: Channel) -> None:
    config, num_seeds = channel.receive()
    env = _make(config, config.evaluation_worlds, num_seeds)
    actions = _actions(env)
    channel.send((True, None))
    while True:
        channel.receive()
        count, started = 0, time.perf_counter()
        while not channel.ready(1e-3 * config.wait):
            env.step(actions[count % _ACTIONS])
            count += 1
        channel.receive()
        channel.send((True, count * env.num_envs / (time.perf_counter() - started)))


def _make(config: EvaluationBenchmark, worlds: int, num_seeds: int) -> envs.VectorEnv:
    env = envs.make(
        config.benchmark,
        "metaworld_plus",
        range(num_seeds),
        worlds_per_task=worlds,
        num_workers=config.num_workers,
    )
    env.reset()
    env.step(np.zeros((env.num_envs, 4)))
    return env


def _actions(env: envs.VectorEnv) -> np.ndarray[Any, np.dtype[np.float64]]:
    return np.random.default_rng(0).uniform(-1, 1, (_ACTIONS, env.num_envs, 4))
