"""What `mtrl benchmark env` times: the engine, gymnasium's AsyncVectorEnv, and what runs in processes of its own."""

from __future__ import annotations

import multiprocessing
import os
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from itertools import cycle, pairwise
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np

import envs
from envs.benchmarks import Benchmark, get_protocol
from envs.worlds import World
from mtrl.benchmarks.bare import phases, random_actions


class Batched:
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


class Async:
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


class InProcesses:
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


def bare_arguments(benchmark: Benchmark, horizon: int, worlds: int, processes: int) -> list[tuple[Any, ...]]:
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


def megabytes(processes: list[int]) -> float:
    """Megabytes of these processes; what several share counts once (proportional set size)."""
    total = 0
    for process in processes:
        lines = Path(f"/proc/{process}/smaps_rollup").read_text(encoding="utf-8").splitlines()
        total += sum(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
    return total / 1024
