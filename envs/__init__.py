"""Meta-World for many seeds, tasks and worlds at once, behind one vector environment."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from typing import Any, Literal

from envs.benchmarks import Benchmark, Protocol, get_benchmark, get_protocol
from envs.compiled.task import check_available
from envs.registration import register
from envs.vector import GoalOrder, VectorEnv
from envs.worlds import ACTION_SIZE, OBSERVATION_SIZE

__all__ = [
    "ACTION_SIZE",
    "OBSERVATION_SIZE",
    "Benchmark",
    "Protocol",
    "VectorEnv",
    "arguments",
    "get_benchmark",
    "get_protocol",
    "make",
]

_ENGINES = {
    "reference": "envs.reference:ReferenceEngine",
    "batched": "envs.compiled.engine:CompiledEngine",
}


def make(
    benchmark: Benchmark | str, protocol: Protocol | str, seeds: Sequence[int], **options: Any
) -> VectorEnv:
    """Seeds x tasks x worlds of a benchmark, as one vector environment (see `VectorEnv`).

    Args:
        options: as of `arguments`.

    Raises:
        ValueError: a name is unknown, a size is not positive, or the batched engine does not have a task.
    """
    return VectorEnv(**arguments(benchmark, protocol, seeds, **options))


def arguments(
    benchmark: Benchmark | str,
    protocol: Protocol | str,
    seeds: Sequence[int],
    *,
    engine: Literal["reference", "batched"] = "batched",
    worlds_per_task: int = 1,
    goal_order: GoalOrder = "random",
    num_workers: int | None = None,
    staggered: bool = False,
) -> dict[str, Any]:
    """What `make` gives to `VectorEnv`: another process can make the same one of it.

    Args:
        engine: "batched" simulates what Meta-World does, bit for bit, several times faster; "reference" is
            Meta-World itself.

    Raises:
        ValueError: a name is unknown, or the batched engine does not have a task.
    """
    if engine not in _ENGINES:
        raise ValueError(f"There is no engine {engine!r}: choose one of {', '.join(_ENGINES)}.")
    module, name = _ENGINES[engine].split(":")
    benchmark = get_benchmark(benchmark) if isinstance(benchmark, str) else benchmark
    if engine == "batched":
        for task in benchmark.tasks:
            check_available(task)
    return {
        "benchmark": benchmark,
        "protocol": get_protocol(protocol) if isinstance(protocol, str) else protocol,
        "seeds": seeds,
        "engine": getattr(importlib.import_module(module), name),
        "worlds_per_task": worlds_per_task,
        "goal_order": goal_order,
        "num_workers": num_workers,
        "staggered": staggered,
    }


register()
