"""`mtrl benchmark env`: environment steps per second of the batched engine, of Meta-World and of bare physics."""

from __future__ import annotations

import multiprocessing
import os
import platform
import re
import statistics
import sys
import textwrap
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from itertools import cycle, pairwise
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np

import envs
from envs.benchmarks import Benchmark, get_benchmark, get_protocol
from envs.cores import available_cores
from envs.worlds import World
from mtrl.benchmarks.bare import BarePhysics, phases, random_actions
from mtrl.benchmarks.output import write_report

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
    seconds: float = 1.0
    repetitions: int = 5
    output: Path | None = None


def main(config: EnvBenchmark) -> None:
    """Prints a table of medians, in Markdown.

    Raises:
        ValueError: a number of worlds is not a multiple of the number of tasks, or a number is not positive.
    """
    benchmark = get_benchmark(config.benchmark)
    num_tasks = len(benchmark.tasks)
    for worlds in config.worlds:
        if worlds < 1 or worlds % num_tasks:
            raise ValueError(
                f"worlds are expected to be multiples of {num_tasks}, the number of tasks, but {worlds} was given."
            )
    if config.seconds <= 0 or config.repetitions < 1:
        raise ValueError(
            f"seconds and repetitions must be positive, got {config.seconds} and {config.repetitions}."
        )
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
    workers = min(available_cores() if config.workers is None else config.workers, worlds)
    engine = _InProcesses(_Engine, [(benchmark, horizon, worlds, workers)])
    asynchronous = _Async(benchmark, horizon, processes)
    bare = _InProcesses(BarePhysics, _shares(benchmark, horizon, worlds, workers))
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
        memory = {"batched": _memory(engine.processes) / worlds}
        memory["async"] = _memory(asynchronous.processes) / processes
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
        "ratio_to_async": _ratio(rates["batched"], rates["async"]),
        "ratio_to_bare": _ratio(rates["batched"], rates["bare"]),
        "megabytes_per_world": memory,
        "seconds_to_start": seconds["start"],
        "seconds_to_prepare_goals": seconds["goals"],
        "all_steps_per_second": rates,
    }


def _ratio(ours: list[float], theirs: list[float]) -> float:
    """Median of the ratios of timings made one after the other: what loads the machine loads both."""
    return statistics.median(a / b for a, b in zip(ours, theirs, strict=True))


class _Engine:
    """The batched engine, after its first reset at each of the goals, which takes longer than all later ones."""

    def __init__(self, benchmark: Benchmark, horizon: int, worlds: int, workers: int) -> None:
        rules = replace(get_protocol("metaworld_plus"), horizon=horizon)
        per_task = worlds // len(benchmark.tasks)
        started = time.perf_counter()
        self.env = envs.make(
            benchmark,
            rules,
            [1],
            engine="batched",
            worlds_per_task=per_task,
            goal_order="sequential",
            num_workers=workers,
        )
        self.env.reset()
        reset = time.perf_counter()
        for _ in range(-(-rules.num_goals // per_task) - 1):
            self.env.reset()
        self._seconds = {"start": reset - started, "goals": time.perf_counter() - reset}
        state = self.env.state_dict()
        self.env.load_state_dict(state | {"elapsed": phases(range(worlds), worlds, horizon)})
        self.actions = cycle(random_actions(range(worlds), horizon))

    def measure(self, seconds: float) -> float:
        return _rate(lambda: self.env.step(next(self.actions)), self.env.num_envs, seconds)

    def seconds(self) -> dict[str, float]:
        """How long it took to make it and to reset it first, and to reset it at all goals that were left."""
        return self._seconds


class _Async:
    """gymnasium's AsyncVectorEnv over Meta-World, as Meta-World's own `make_vec` makes it."""

    def __init__(self, benchmark: Benchmark, horizon: int, processes: int) -> None:
        import metaworld  # noqa: F401  (registers its environments)

        if benchmark.name in ("MT10", "MT25", "MT50") and processes == len(benchmark.tasks):
            name, options = f"Meta-World/{benchmark.name}", dict[str, Any]()
        else:
            copies = processes // len(benchmark.tasks)
            name, options = "Meta-World/custom-mt-envs", {"envs_list": [*benchmark.tasks] * copies}
        env: Any = gymnasium.make_vec(
            name, vector_strategy="async", seed=1, max_episode_steps=horizon, **options
        )
        self.env, self.worlds = env, processes
        self.processes = [process.pid for process in env.processes]
        env.reset()
        env.set_attr("_elapsed_steps", phases(range(processes), processes, horizon).tolist())
        self.actions = cycle(random_actions(range(processes), horizon).astype(np.float32))

    def measure(self, seconds: float) -> float:
        return _rate(lambda: self.env.step(next(self.actions)), self.worlds, seconds)

    def close(self) -> None:
        self.env.close()


_made: Any = None  # what this process was started for


class _InProcesses:
    """A contender, or several that do not wait for each other, in a process each."""

    def __init__(self, contender: type, arguments: Sequence[tuple[Any, ...]]) -> None:
        context = multiprocessing.get_context("spawn")
        self._executors = [
            ProcessPoolExecutor(1, context, initializer=_make, initargs=(contender, each))
            for each in arguments
        ]
        futures = [executor.submit(os.getpid) for executor in self._executors]
        self.processes = [future.result() for future in futures]

    def call(self, name: str, *arguments: Any) -> list[Any]:
        """Calls a method of all at once."""
        futures = [executor.submit(_call, name, *arguments) for executor in self._executors]
        return [future.result() for future in futures]

    def measure(self, seconds: float) -> float:
        return float(sum(self.call("measure", seconds)))

    def close(self) -> None:
        for executor in self._executors:
            executor.shutdown()


def _make(contender: type, arguments: tuple[Any, ...]) -> None:
    global _made
    _made = contender(*arguments)


def _call(name: str, *arguments: Any) -> Any:
    return getattr(_made, name)(*arguments)


def _shares(benchmark: Benchmark, horizon: int, worlds: int, processes: int) -> list[tuple[Any, ...]]:
    """The arguments of `BarePhysics` in each process: as many worlds in each, of as few tasks as possible."""
    per_task = worlds // len(benchmark.tasks)
    every = [World(i, benchmark.tasks[i // per_task], 1, i % per_task) for i in range(worlds)]
    rules = replace(get_protocol("metaworld_plus"), horizon=horizon)
    bounds = [round(i * worlds / processes) for i in range(processes + 1)]
    return [(every[start:end], rules, worlds) for start, end in pairwise(bounds)]


def _rate(step: Callable[[], Any], worlds: int, seconds: float) -> float:
    started = time.perf_counter()
    count = 0
    while (elapsed := time.perf_counter() - started) < seconds or count == 0:
        step()
        count += 1
    return count * worlds / elapsed


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


def _memory(processes: list[int]) -> float:
    """Megabytes of these processes; what several share counts once (proportional set size)."""
    total = 0
    for process in processes:
        lines = Path(f"/proc/{process}/smaps_rollup").read_text(encoding="utf-8").splitlines()
        total += sum(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
    return total / 1024


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
