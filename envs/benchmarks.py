"""Which tasks are trained together (benchmarks), and the rules they are trained and evaluated by (protocols)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

from envs.suggestion import suggestion, unknown

MAX_HORIZON = 500  # of Meta-World's own environments


def _tasks(names: str) -> tuple[str, ...]:
    return tuple(f"{name}-v3" for name in names.split())


TASK_NAMES = _tasks("""
    assembly basketball bin-picking box-close button-press-topdown button-press-topdown-wall button-press
    button-press-wall coffee-button coffee-pull coffee-push dial-turn disassemble door-close door-lock door-open
    door-unlock hand-insert drawer-close drawer-open faucet-open faucet-close hammer handle-press-side handle-press
    handle-pull-side handle-pull lever-pull pick-place-wall pick-out-of-hole pick-place plate-slide plate-slide-side
    plate-slide-back plate-slide-back-side peg-insert-side peg-unplug-side soccer stick-push stick-pull push
    push-wall push-back reach reach-wall shelf-place sweep-into sweep window-open window-close
""")
"""All fifty Meta-World v3 tasks, in Meta-World's order, which is that of MT50."""

_MT3 = _tasks("drawer-close window-open window-close")
_MT10 = _tasks("""
    reach push pick-place door-open drawer-open drawer-close button-press-topdown peg-insert-side window-open
    window-close
""")
_MT25 = _MT10 + _tasks("""
    coffee-pull pick-out-of-hole disassemble pick-place-wall basketball stick-pull button-press-wall faucet-open
    door-lock lever-pull sweep-into faucet-close coffee-button button-press-topdown-wall dial-turn
""")


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
        success: an episode succeeds if it does at any of its steps.
        reward_version: Meta-World's reward functions, "v1" (2019) or "v2" (2021).
        normalize_rewards: divide each task's rewards by a running estimate of their standard deviation.
        horizon: environment steps until an episode is cut off (a truncation, never a termination).
        num_goals: how many of a task's 50 goals are used, from the first one on.
        evaluation_interval: environment steps per task between two evaluations.
        evaluation_episodes: episodes per task and seed in each evaluation.

    Raises:
        ValueError: there are fewer than one or more than Meta-World's steps or goals.
    """

    success: ClassVar[Literal["any", "final"]] = "any"
    name: str
    reward_version: Literal["v1", "v2"]
    normalize_rewards: bool
    horizon: int
    num_goals: int
    evaluation_interval: int
    evaluation_episodes: int

    def __post_init__(self) -> None:
        for name, value, most in (("horizon", self.horizon, MAX_HORIZON), ("num_goals", self.num_goals, 50)):
            if not 0 < value <= most:
                raise ValueError(f"{name} of a protocol is expected to be in [1, {most}], but it is {value}.")


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
    given = name.strip() if isinstance(name, str) else f"[{', '.join(name)}]"
    inside = given[1:-1] if given.startswith("[") and given.endswith("]") else given
    parts = inside.split(",") if isinstance(name, str) else name
    names = [part.strip(" \"'") for part in parts] or [""]
    if names in [[known] for known in BENCHMARKS]:
        return BENCHMARKS[names[0]]
    if len(names) == 1 and not names[0].startswith("MT1:") and not _is_task(names[0]):
        short = [task.removesuffix("-v3") for task in TASK_NAMES]
        choice = f"choose one of {', '.join(BENCHMARKS)}, or tasks of your own such as reach,push,door-open."
        hint = suggestion(names[0], [*BENCHMARKS, *TASK_NAMES, *short], choice, cutoff=0.6)
        raise ValueError(f"There is no benchmark {given!r}: {hint}")
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
