"""The goals of Meta-World's benchmarks, without building Meta-World's environments.

A goal ("rand_vec" in Meta-World) says where a task's object and target are placed. `metaworld.MT10(seed)`
draws 50 for each task from one random stream, and spends half a second a task on it: each of the 50 resets
places everything twice and lets the hand settle each time. The simulation draws nothing and only the second
vector of a reset is kept, so drawing from the same stream and keeping every other vector gives the same
goals, bit for bit, in a millisecond.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from envs.benchmarks import Benchmark
from envs.compiled.task import Task, load_task

GOALS_PER_TASK = 50
_DRAWS_PER_RESET = 2


@lru_cache(maxsize=256)
def benchmark_goals(benchmark: Benchmark, seed: int) -> tuple[NDArray[np.float64], ...]:
    """The 50 goals of each task, one read-only array [50, D] per task (D is 3 or 6).

    Equal to the `rand_vec`s of `metaworld.MT10(seed)` and its like, or, for benchmarks that Meta-World
    does not have, to those of `metaworld.MT1(task, seed)`.

    Raises:
        ValueError: the seed is not one that NumPy's legacy generator takes.
    """
    if not 0 <= seed < 2**32:
        raise ValueError(
            f"An environment seed is expected to be in [0, 2**32), but it is {seed}: choose another one."
        )
    tasks = [load_task(name) for name in benchmark.tasks]
    joint = np.random.RandomState(seed)
    return tuple(
        _draw_goals(task, joint if benchmark.joint_goals else np.random.RandomState(seed)) for task in tasks
    )


def _draw_goals(task: Task, stream: np.random.RandomState) -> NDArray[np.float64]:
    draws = [_draw_goal(task, stream) for _ in range(GOALS_PER_TASK * _DRAWS_PER_RESET)]
    goals = np.stack(draws[_DRAWS_PER_RESET - 1 :: _DRAWS_PER_RESET])
    goals.flags.writeable = False
    return goals


def _draw_goal(task: Task, stream: np.random.RandomState) -> NDArray[np.float64]:
    while True:
        goal = stream.uniform(task.reset_low, task.reset_high)
        second = goal[3:5] if task.kept_from is None else np.array(task.kept_from)
        if not task.min_distance or np.linalg.norm(goal[:2] - second) >= task.min_distance:
            return goal
