"""`mtrl benchmark env`: environment steps per second of the batched engine, of Meta-World and of bare physics."""

from __future__ import annotations

import os
import platform
import re
import statistics
import sys
import textwrap
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

from envs.benchmarks import Benchmark, get_benchmark
from envs.cores import available_cores
from mtrl.benchmarks.bare import BarePhysics
from mtrl.benchmarks.contenders import Async, Batched, InProcesses, bare_arguments, megabytes
from mtrl.benchmarks.output import write_report
from mtrl.benchmarks.timing import median_ratio
from mtrl.options import PositiveFloat, PositiveInt

Measure = Callable[[float], float]
"""Runs for about so many seconds and gives environment steps per second."""


@dataclass(frozen=True)
class EnvBenchmark:
    """Time environments: the batched engine, gymnasium's AsyncVectorEnv over Meta-World, and bare MuJoCo.

    All three in turn, with the same random actions, resets included: the worlds are at different times of
    their episodes. Bare MuJoCo means the same worlds, five steps and a forward pass, nothing computed of them.

    Args:
        benchmark: the tasks.
        worlds: numbers of worlds, multiples of the number of tasks.
        horizons: lengths of an episode, at most 500.
        workers: threads of the engine and processes of bare MuJoCo; null: one per core.
        async_processes: the most processes that AsyncVectorEnv gets, one for each of its worlds; null: eight
            per core. With more worlds its rate is that with this many.
        seconds: how long each timing takes.
        repetitions: how often each variant is timed, in turn with all others.
        output: a JSON file for the results.
    """

    benchmark: str = "MT10"
    worlds: list[int] = field(default_factory=lambda: [10, 100, 1000])
    horizons: list[int] = field(default_factory=lambda: [500, 150])
    workers: int | None = None
    async_processes: int | None = None
    seconds: PositiveFloat = 1.0
    repetitions: PositiveInt = 5
    output: Path | None = None


def main(config: EnvBenchmark) -> None:
    """Prints a table of medians, in Markdown.

    Raises:
        ValueError: a number of worlds is not a multiple of the number of tasks, or a number has no use.
    """
    benchmark = get_benchmark(config.benchmark)
    num_tasks = len(benchmark.tasks)
    for worlds in config.worlds:
        if not 0 < worlds < 2**20 or worlds % num_tasks:
            raise ValueError(
                f"worlds are expected to be multiples of {num_tasks}, the number of tasks, below 2**20, but "
                f"{worlds} was given."
            )
    if not all(0 < horizon <= 500 for horizon in config.horizons):
        raise ValueError(f"horizons are expected to be from 1 to 500, but they are {config.horizons}.")
    for name, number in (("workers", config.workers), ("async_processes", config.async_processes)):
        if number is not None and not 0 < number <= 1024:
            raise ValueError(f"{name} is expected to be from 1 to 1024, but it is {number}.")
    machine = _machine()
    results = []
    for horizon in config.horizons:
        for worlds in config.worlds:
            print(f"Timing {worlds} worlds at horizon {horizon}.", file=sys.stderr, flush=True)
            results.append(_compare(config, benchmark, horizon, worlds))
    print(_table(results, config))
    write_report(config, {"machine": machine, "results": results})


def _compare(config: EnvBenchmark, benchmark: Benchmark, horizon: int, worlds: int) -> dict[str, Any]:
    """All three contenders at one number of worlds, timed in turn."""
    processes = _async_processes(config, benchmark, worlds)
    cores = available_cores() if config.workers is None else config.workers
    workers = min(cores, worlds)
    engine = InProcesses(Batched, [(benchmark, horizon, worlds, cores)])
    asynchronous = Async(benchmark, horizon, processes)
    bare = InProcesses(BarePhysics, bare_arguments(benchmark, horizon, worlds, workers))
    contenders: dict[str, Measure] = {
        "batched": engine.measure,
        "async": asynchronous.measure,
        "bare": bare.measure,
    }
    rates: dict[str, list[float]] = {name: [] for name in contenders}
    try:
        for measure in contenders.values():
            measure(0.2 * config.seconds)
        for _ in range(config.repetitions):
            for name, measure in contenders.items():
                rates[name].append(measure(config.seconds))
        memory = {"batched": megabytes(engine.processes) / worlds}
        memory["async"] = megabytes(asynchronous.processes) / processes
        seconds = engine.call("seconds")[0]
    finally:
        for contender in (engine, asynchronous, bare):
            contender.close()
    return {
        "worlds": worlds,
        "horizon": horizon,
        "workers": workers,
        "async_processes": processes,
        "steps_per_second": {name: statistics.median(values) for name, values in rates.items()},
        "ratio_to_async": median_ratio(rates["batched"], rates["async"]),
        "ratio_to_bare": median_ratio(rates["batched"], rates["bare"]),
        "megabytes_per_world": memory,
        "seconds_to_start": seconds["start"],
        "seconds_to_prepare_goals": seconds["goals"],
        "all_steps_per_second": rates,
    }


def _machine() -> dict[str, Any]:
    """What the figures depend on, and how busy the machine was already."""
    names = ("numpy", "mujoco", "metaworld", "gymnasium")
    cpuinfo = Path("/proc/cpuinfo")
    models = (
        re.findall(r"model name\s*:\s*(.*)", cpuinfo.read_text(encoding="utf-8")) if cpuinfo.exists() else []
    )
    return {
        "processor": models[0] if models else platform.processor(),
        "cores": available_cores(),
        "load_average": os.getloadavg()[0],
        "started": time.strftime("%Y-%m-%d %H:%M"),
        "versions": {"python": platform.python_version(), **{name: version(name) for name in names}},
    }


def _async_processes(config: EnvBenchmark, benchmark: Benchmark, worlds: int) -> int:
    """As many as worlds, but no more than the cap, rounded down to whole copies of the benchmark."""
    num_tasks = len(benchmark.tasks)
    cap = 8 * available_cores() if config.async_processes is None else config.async_processes
    return min(worlds, max(cap // num_tasks, 1) * num_tasks)


def _table(results: list[dict[str, Any]], config: EnvBenchmark) -> str:
    """The results as a table in Markdown, and what its columns mean."""
    headers = ("horizon", "worlds", "batched", "async (n)", "bare", "x async", "x bare", "MB", "MB async")
    rows = [headers, tuple("---" for _ in headers)]
    for r in results:
        rates, memory = r["steps_per_second"], r["megabytes_per_world"]
        rows.append(
            (
                str(r["horizon"]),
                str(r["worlds"]),
                f"{rates['batched']:,.0f}",
                f"{rates['async']:,.0f} ({r['async_processes']})",
                f"{rates['bare']:,.0f}",
                f"{r['ratio_to_async']:.1f}",
                f"{r['ratio_to_bare']:.2f}",
                f"{memory['batched']:.1f}",
                f"{memory['async']:.0f}",
            )
        )
    lines = [f"| {' | '.join(row)} |" for row in rows]
    title = (
        f"{config.benchmark}, {available_cores()} cores: environment steps per second, medians of "
        f"{config.repetitions} x {config.seconds:g} s."
    )
    caption = (
        "async (n): gymnasium's AsyncVectorEnv with n processes, one per world; bare: MuJoCo alone, in a process "
        "per core, or in --workers. The first reset at each goal is made before. MB per world: proportional set size "
        "of the processes."
    )
    return "\n".join([title, "", *lines, "", *textwrap.wrap(caption, 110)])
