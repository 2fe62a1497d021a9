"""Which tasks are trained together (benchmarks), and the rules they are trained and evaluated by (protocols)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from envs.suggestion import suggestion, unknown

TASK_NAMES: tuple[str, ...] = (
    "assembly-v3",
    "basketball-v3",
    "bin-picking-v3",
    "box-close-v3",
    "button-press-topdown-v3",
    "button-press-topdown-wall-v3",
    "button-press-v3",
    "button-press-wall-v3",
    "coffee-button-v3",
    "coffee-pull-v3",
    "coffee-push-v3",
    "dial-turn-v3",
    "disassemble-v3",
    "door-close-v3",
    "door-lock-v3",
    "door-open-v3",
    "door-unlock-v3",
    "hand-insert-v3",
    "drawer-close-v3",
    "drawer-open-v3",
    "faucet-open-v3",
    "faucet-close-v3",
    "hammer-v3",
    "handle-press-side-v3",
    "handle-press-v3",
    "handle-pull-side-v3",
    "handle-pull-v3",
    "lever-pull-v3",
    "pick-place-wall-v3",
    "pick-out-of-hole-v3",
    "pick-place-v3",
    "plate-slide-v3",
    "plate-slide-side-v3",
    "plate-slide-back-v3",
    "plate-slide-back-side-v3",
    "peg-insert-side-v3",
    "peg-unplug-side-v3",
    "soccer-v3",
    "stick-push-v3",
    "stick-pull-v3",
    "push-v3",
    "push-wall-v3",
    "push-back-v3",
    "reach-v3",
    "reach-wall-v3",
    "shelf-place-v3",
    "sweep-into-v3",
    "sweep-v3",
    "window-open-v3",
    "window-close-v3",
)
"""All fifty Meta-World v3 tasks, in Meta-World's order, which is that of MT50."""

_MT10 = (
    "reach-v3",
    "push-v3",
    "pick-place-v3",
    "door-open-v3",
    "drawer-open-v3",
    "drawer-close-v3",
    "button-press-topdown-v3",
    "peg-insert-side-v3",
    "window-open-v3",
    "window-close-v3",
)
_MT25 = (
    *_MT10,
    "coffee-pull-v3",
    "pick-out-of-hole-v3",
    "disassemble-v3",
    "pick-place-wall-v3",
    "basketball-v3",
    "stick-pull-v3",
    "button-press-wall-v3",
    "faucet-open-v3",
    "door-lock-v3",
    "lever-pull-v3",
    "sweep-into-v3",
    "faucet-close-v3",
    "coffee-button-v3",
    "button-press-topdown-wall-v3",
    "dial-turn-v3",
)
_MT3 = ("drawer-close-v3", "window-open-v3", "window-close-v3")


@dataclass(frozen=True)
class Benchmark:
    """An ordered set of tasks; a task's position is its index on the T axis everywhere.

    `joint_goals`: one random stream draws the goals of all tasks in turn, as `metaworld.MT10(seed)` does.
    Otherwise each task has the goals that `metaworld.MT1(task, seed)` gives it.
    """

    name: str
    tasks: tuple[str, ...]
    joint_goals: bool = False


@dataclass(frozen=True)
class Protocol:
    """The rules of an experiment. Two runs compare only if their protocols are equal.

    Attributes:
        reward_version: Meta-World's reward functions, "v1" (2019) or "v2" (2021).
        normalize_rewards: divide each task's rewards by a running estimate of their standard deviation.
        horizon: environment steps until an episode is cut off (a truncation, never a termination).
        num_goals: how many of a task's 50 goals are used, from the first one on.
        evaluation_interval: environment steps per task between two evaluations.
        evaluation_episodes: episodes per task and seed in each evaluation.
    """

    name: str
    reward_version: Literal["v1", "v2"]
    normalize_rewards: bool
    horizon: int
    num_goals: int
    evaluation_interval: int
    evaluation_episodes: int


BENCHMARKS: dict[str, Benchmark] = {
    "MT3": Benchmark("MT3", _MT3),
    "MT10": Benchmark("MT10", _MT10, joint_goals=True),
    "MT25": Benchmark("MT25", _MT25, joint_goals=True),
    "MT50": Benchmark("MT50", TASK_NAMES, joint_goals=True),
}

PROTOCOLS: dict[str, Protocol] = {
    "metaworld_plus": Protocol("metaworld_plus", "v2", False, 500, 50, 20_000, 50),
    "paper": Protocol("paper", "v1", True, 150, 1, 10_000, 10),
}


def task_name(name: str) -> str:
    """Meta-World's full name of a task: "reach" and "reach-v3" are both "reach-v3".

    Raises:
        ValueError: there is no such task.
    """
    full = name if name.endswith("-v3") else f"{name}-v3"
    if full not in TASK_NAMES:
        raise unknown("task", full, TASK_NAMES)
    return full


def get_benchmark(name: str | Sequence[str]) -> Benchmark:
    """The benchmark called "MT3", "MT10", "MT25", "MT50" or "MT1:<task>", or that of tasks in an order of one's own.

    Args:
        name: also "reach,push,door-open" or a list of these. The tasks of a named benchmark are that benchmark.

    Raises:
        ValueError: there is no such benchmark or task, or a task is named twice.
    """
    parts = name.strip("[] ").split(",") if isinstance(name, str) else name
    names = [part.strip(" \"'") for part in parts] or [""]
    if names in [[known] for known in BENCHMARKS]:
        return BENCHMARKS[names[0]]
    if len(names) == 1 and not names[0].startswith("MT1:") and not _is_task(names[0]):
        short = [task.removesuffix("-v3") for task in TASK_NAMES]
        choice = f"choose one of {', '.join(BENCHMARKS)}, or tasks of your own such as reach,push,door-open."
        hint = suggestion(names[0], [*BENCHMARKS, *TASK_NAMES, *short], choice, cutoff=0.6)
        raise ValueError(f"There is no benchmark {names[0]!r}: {hint}")
    if names == ["MT1:"]:
        raise ValueError("The benchmark MT1: needs the name of a task, such as MT1:reach.")
    if "" in names:
        raise ValueError(
            f"A benchmark of several tasks needs a task between each two commas, such as reach,push,door-open; got "
            f"{','.join(names)!r}."
        )
    tasks = tuple(task_name(n.removeprefix("MT1:") if len(names) == 1 else n) for n in names)
    twice = [task for i, task in enumerate(tasks) if task in tasks[:i]]
    if twice:
        raise ValueError(f"Each task of a benchmark is named once, and {twice[0]!r} is there twice.")
    if len(tasks) == 1:
        return Benchmark(f"MT1:{tasks[0]}", tasks)
    for benchmark in BENCHMARKS.values():
        if benchmark.tasks == tasks:
            return benchmark
    return Benchmark(",".join(task.removesuffix("-v3") for task in tasks), tasks)


def _is_task(name: str) -> bool:
    return name in TASK_NAMES or f"{name}-v3" in TASK_NAMES


def get_protocol(name: str) -> Protocol:
    """The protocol called "metaworld_plus" or "paper".

    Raises:
        ValueError: there is no such protocol.
    """
    if name not in PROTOCOLS:
        raise unknown("protocol", name, PROTOCOLS)
    return PROTOCOLS[name]
