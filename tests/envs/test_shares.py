from itertools import product

import pytest

from envs.benchmarks import get_benchmark
from envs.shares import _SPARE_TASKS, _TASK_COST, _cost, queues, reach, share
from envs.worlds import World


def make_worlds(benchmark: str, seeds: int = 1, worlds_per_task: int = 1) -> list[World]:
    tasks = get_benchmark(benchmark).tasks
    places = product(range(seeds), tasks, range(worlds_per_task))
    return [World(position, task, seed, w) for position, (seed, task, w) in enumerate(places)]


def cost(worlds: list[World]) -> float:
    return sum(map(_cost, worlds)) + _TASK_COST * len({world.task for world in worlds})


@pytest.mark.parametrize("count", [1, 2, 3, 8, 16, 100])
@pytest.mark.parametrize("worlds_per_task", [1, 10])
@pytest.mark.parametrize("benchmark", ["MT3", "MT10", "MT50"])
def test_every_world_is_in_one_share(benchmark: str, worlds_per_task: int, count: int) -> None:
    worlds = make_worlds(benchmark, 2, worlds_per_task)
    shares = share(worlds, count)
    assert len(shares) <= count
    assert all(shares)
    assert sorted(world.position for part in shares for world in part) == list(range(len(worlds)))


def test_shares_cost_about_the_same() -> None:
    worlds = make_worlds("MT50", worlds_per_task=20)
    costs = [cost(part) for part in share(worlds, 16)]
    assert max(costs) < 1.05 * sum(costs) / 16
    assert len({len(part) for part in share(worlds, 16)}) > 1  # dear worlds are fewer


def test_worlds_of_a_task_stay_together() -> None:
    shares = share(make_worlds("MT10", seeds=3), 10)
    assert sorted(len({world.task for world in part}) for part in shares) == [1] * 10


@pytest.mark.parametrize("benchmark", ["MT3", "MT10", "MT25", "MT50"])
def test_one_share_has_all_whatever_is_rounded(benchmark: str) -> None:
    worlds = make_worlds(benchmark)
    assert [len(part) for part in share(worlds, 1)] == [len(worlds)]


def test_as_many_shares_as_worlds_at_most() -> None:
    assert len(share(make_worlds("MT10"), 16)) == 10


@pytest.mark.parametrize("count", [1, 2, 16])
@pytest.mark.parametrize(("benchmark", "worlds_per_task"), [("MT3", 1), ("MT10", 10), ("MT50", 3)])
def test_a_process_reaches_its_own_worlds_first_and_then_those_of_few_tasks(
    benchmark: str, worlds_per_task: int, count: int
) -> None:
    shares = share(make_worlds(benchmark, 2, worlds_per_task), count)
    every = queues(shares)
    assert [world for queue in every for world in queue] == [world for part in shares for world in part]
    assert all(len({world.task for world in queue}) == 1 for queue in every)
    for number, part in enumerate(shares):
        own, reached = reach(shares, number, portable=False), reach(shares, number, portable=True)
        assert sorted(world.position for i in own for world in every[i]) == sorted(w.position for w in part)
        assert reached[: len(own)] == own
        assert len(reached) == len(set(reached))
        tasks = {every[i][0].task for i in reached}
        limit = len({world.task for world in part}) + _SPARE_TASKS
        assert len(tasks) == min(limit, len({world.task for queue in every for world in queue}))
        assert set(reached) == {i for i, queue in enumerate(every) if queue[0].task in tasks}
