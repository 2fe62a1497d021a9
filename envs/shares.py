"""How the worlds are shared among the worker processes, and whom a process helps that is done with its own."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import accumulate, groupby

from envs.worlds import World

_RELATIVE_COST = {
    "assembly-v3": 1.35,
    "bin-picking-v3": 1.2,
    "box-close-v3": 1.8,
    "button-press-v3": 0.85,
    "button-press-topdown-v3": 0.85,
    "button-press-topdown-wall-v3": 0.85,
    "button-press-wall-v3": 0.9,
    "coffee-button-v3": 1.15,
    "coffee-pull-v3": 1.15,
    "coffee-push-v3": 1.1,
    "dial-turn-v3": 0.8,
    "disassemble-v3": 1.45,
    "door-close-v3": 0.9,
    "door-lock-v3": 1.25,
    "door-unlock-v3": 1.25,
    "faucet-close-v3": 0.85,
    "faucet-open-v3": 0.9,
    "hammer-v3": 1.4,
    "hand-insert-v3": 1.25,
    "handle-press-side-v3": 0.9,
    "handle-pull-v3": 0.9,
    "handle-pull-side-v3": 0.85,
    "lever-pull-v3": 0.9,
    "peg-unplug-side-v3": 1.6,
    "plate-slide-v3": 0.85,
    "plate-slide-back-v3": 0.9,
    "plate-slide-side-v3": 0.9,
    "shelf-place-v3": 1.15,
    "stick-pull-v3": 1.2,
    "stick-push-v3": 1.4,
    "sweep-into-v3": 1.3,
    "window-open-v3": 0.9,
}
"""What a step of a world costs over an episode of random actions, where that is far from the usual, which is 1."""

_TASK_COST = 0.05
"""What a process spends on a task whatever the number of worlds."""

_PRECISION = 1e-3

_SPARE_TASKS = 4
"""So many tasks besides its own can a process step: each takes memory, and more hardly make a step shorter."""


def share(worlds: Sequence[World], count: int) -> list[list[World]]:
    """At most `count` shares of about equal cost, a task's worlds in as few of them as possible.

    Of all ways to cut the worlds, sorted by task, into consecutive shares, the one whose costliest share is
    cheapest.
    """
    ordered = sorted(worlds, key=lambda world: world.task)
    low, high = 0.0, sum(map(_cost, ordered)) + _TASK_COST * len(ordered) + _PRECISION
    while high - low > _PRECISION:
        middle = (low + high) / 2
        low, high = (low, middle) if len(_cut(ordered, middle)) <= count else (middle, high)
    return _cut(ordered, high)


def queues(shares: Sequence[Sequence[World]]) -> list[list[World]]:
    """The worlds of each task in each share, one share after the other."""
    return [list(group) for share in shares for _, group in groupby(share, key=lambda world: world.task)]


def slots_of(queues: Sequence[Sequence[World]], chosen: Iterable[int]) -> list[int]:
    """The numbers of the worlds in the chosen ones of the queues, counted through all of them."""
    first = [0, *accumulate(map(len, queues))]
    return [slot for queue in chosen for slot in range(first[queue], first[queue + 1])]


def reach(shares: Sequence[Sequence[World]], number: int, portable: bool) -> list[int]:
    """The queues that process `number` takes worlds from: its own, then those nearest to it in the circle of all, of a
    few tasks.

    Args:
        portable: whether a process can step the worlds of other shares.
    """
    counts = [len(queues([share])) for share in shares]
    start, total = sum(counts[:number]), sum(counts)
    own = range(start, start + counts[number])
    every = queues(shares)
    chosen = list(own)
    if not portable:
        return chosen
    tasks = {every[queue][0].task for queue in own}
    limit = len(tasks) + _SPARE_TASKS
    for distance in range(1, total):
        for queue in ((own[-1] + distance) % total, (own[0] - distance) % total):
            task = every[queue][0].task
            if queue not in chosen and (task in tasks or len(tasks) < limit):
                chosen.append(queue)
                tasks.add(task)
    return chosen


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
