"""Meta-World, or environments of the user's, for many seeds, tasks and worlds at once: one vector environment."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from functools import partial
from typing import Any, Literal, get_args

import gymnasium

from envs.benchmarks import BENCHMARKS, Benchmark, Protocol, get_benchmark, get_protocol
from envs.custom import CustomBenchmark, CustomProtocol
from envs.gymnasium_engine import GymnasiumEngine
from envs.vector import GoalOrder, VectorEnv
from envs.worlds import ACTION_SIZE, OBSERVATION_SIZE

__all__ = [
    "ACTION_SIZE",
    "OBSERVATION_SIZE",
    "Benchmark",
    "CustomBenchmark",
    "CustomProtocol",
    "EngineName",
    "Protocol",
    "VectorEnv",
    "arguments",
    "get_benchmark",
    "get_protocol",
    "make",
]

EngineName = Literal["batched", "reference", "gymnasium"]

_ENGINES = {
    "reference": "envs.reference:ReferenceEngine",
    "batched": "envs.compiled.engine:CompiledEngine",
}


def make(
    benchmark: Benchmark | CustomBenchmark | str,
    protocol: Protocol | CustomProtocol | str,
    seeds: Sequence[int],
    **options: Any,
) -> VectorEnv:
    """Seeds x tasks x worlds of a benchmark, as one vector environment (see `VectorEnv`).

    Args:
        options: as of `arguments`.

    Raises:
        ValueError: a name is unknown, or a size is not positive.
    """
    return VectorEnv(**arguments(benchmark, protocol, seeds, **options))


def arguments(
    benchmark: Benchmark | CustomBenchmark | str,
    protocol: Protocol | CustomProtocol | str,
    seeds: Sequence[int],
    *,
    engine: EngineName | None = None,
    worlds_per_task: int = 1,
    goal_order: GoalOrder = "random",
    num_workers: int | None = None,
    staggered: bool = False,
) -> dict[str, Any]:
    """What `make` gives to `VectorEnv`: another process can make the same one of it.

    Args:
        engine: "batched" simulates what Meta-World does, bit for bit, several times faster, and "reference" is
            Meta-World itself; "gymnasium" runs environments of the user's. By default it is batched or gymnasium.

    Raises:
        ValueError: a name is unknown, or the engine is not one for the benchmark.
    """
    benchmark = get_benchmark(benchmark) if isinstance(benchmark, str) else benchmark
    engine = check_engine(engine, benchmark)
    if isinstance(benchmark, CustomBenchmark):
        maker: Any = partial(GymnasiumEngine, benchmark)
    else:
        module, name = _ENGINES[engine].split(":")
        maker = getattr(importlib.import_module(module), name)
    return {
        "benchmark": benchmark,
        "protocol": get_protocol(protocol) if isinstance(protocol, str) else protocol,
        "seeds": seeds,
        "engine": maker,
        "worlds_per_task": worlds_per_task,
        "goal_order": goal_order,
        "num_workers": num_workers,
        "staggered": staggered,
    }


def check_engine(engine: EngineName | None, benchmark: Benchmark | CustomBenchmark) -> EngineName:
    """The engine, or what None stands for.

    Raises:
        ValueError: there is no such engine, or it does not run the benchmark.
    """
    own = isinstance(benchmark, CustomBenchmark)
    fitting: tuple[EngineName, ...] = ("gymnasium",) if own else ("batched", "reference")
    if engine is None:
        return fitting[0]
    if engine not in get_args(EngineName):
        raise ValueError(f"There is no engine {engine!r}: choose one of {', '.join(get_args(EngineName))}.")
    if engine not in fitting:
        whose = "environments of your own" if own else "Meta-World's tasks"
        raise ValueError(
            f"The benchmark {benchmark.name} has {whose}, which the engine {engine} does not run: choose "
            f"{' or '.join(fitting)}."
        )
    return engine


for _name in ("MT1", *BENCHMARKS):  # mtrl/MT1-v3 takes the task's name as `task`
    gymnasium.register(
        f"mtrl/{_name}-v3",
        entry_point="envs.registration:TaskEnv" if _name == "MT1" else None,
        vector_entry_point="envs.registration:make_vector_env",
        kwargs={} if _name == "MT1" else {"benchmark": _name},
    )
