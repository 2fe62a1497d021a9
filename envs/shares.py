"""How the worlds are shared among the worker processes, so that none keeps the others waiting."""

from __future__ import annotations

from collections.abc import Sequence

from envs.worlds import World

_RELATIVE_COST = {
    "assembly-v3": 1.4,
    "bin-picking-v3": 1.2,
    "box-close-v3": 1.7,
    "coffee-button-v3": 1.2,
    "coffee-pull-v3": 1.3,
    "coffee-push-v3": 1.3,
    "disassemble-v3": 1.4,
    "door-lock-v3": 1.2,
    "door-unlock-v3": 1.2,
    "hammer-v3": 1.3,
    "handle-press-v3": 1.2,
    "peg-unplug-side-v3": 1.3,
    "stick-push-v3": 1.5,
    "sweep-into-v3": 1.8,
}
"""What a step of a world costs over an episode of random actions, where that is far from the usual, which is 1."""

_TASK_COST = 0.6
"""What a process spends on a task whatever the number of worlds: arrays of one world cost as much as of many."""


def share(worlds: Sequence[World], count: int) -> list[list[World]]:
    """At most `count` shares of about equal cost, a task's worlds in as few of them as possible.

    Of all ways to cut the worlds, sorted by task, into consecutive shares, the one whose costliest share is
    cheapest.
    """
    ordered = sorted(worlds, key=lambda world: world.task)
    low, high = 0.0, sum(map(_cost, ordered)) + _TASK_COST * len(ordered)
    while high - low > 1e-3:
        middle = (low + high) / 2
        low, high = (low, middle) if len(_cut(ordered, middle)) <= count else (middle, high)
    return _cut(ordered, high)


def _cost(world: World) -> float:
    return _RELATIVE_COST.get(world.task, 1.0)


def _cut(ordered: Sequence[World], limit: float) -> list[list[World]]:
    """Consecutive shares that cost no more than the limit, or consist of one world."""
    shares: list[list[World]] = []
    cost = limit
    for world in ordered:
        new_task = not shares or shares[-1][-1].task != world.task
        cost += _cost(world) + _TASK_COST * new_task
        if not shares or cost > limit:
            shares.append([])
            cost = _cost(world) + _TASK_COST
        shares[-1].append(world)
    return shares
