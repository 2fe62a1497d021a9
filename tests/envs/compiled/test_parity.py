"""The batched engine does what Meta-World does, for every declared task. The quick sample runs by default.

All of it, on 16 cores: `pytest -n 14 --dist worksteal -m slow tests/envs/compiled/test_parity.py`.
"""

import pytest

from envs.benchmarks import TASK_NAMES
from tests.envs.compiled.parity import Differences, compare, goals_of

QUICK = ("reach-v3", "push-v3", "pick-place-v3", "peg-insert-side-v3", "drawer-close-v3", "window-close-v3")
SHARDS = 5  # of the fifty goals
DRIVERS = ("scripted", "random")


def assert_equal(task: str, version: str, driver: str, num_goals: int, num_steps: int, **options) -> None:
    check(compare(task, version, driver, goals_of(task, num_goals), num_steps, **options))


def check(result: Differences) -> None:
    assert result.physics == 0, result
    assert result.first_observation < 1e-8, result
    assert result.observation < 1e-8, result
    assert result.reward < 1e-6, result
    assert result.successes == 0, result
    assert result.reference_solved == result.batched_solved


@pytest.mark.parametrize("driver", DRIVERS)
@pytest.mark.parametrize("version", ["v1", "v2"])
@pytest.mark.parametrize("task", QUICK)
def test_quick_sample(task: str, version: str, driver: str) -> None:
    assert_equal(task, version, driver, num_goals=4, num_steps=40, num_worlds=2)


@pytest.mark.slow
@pytest.mark.parametrize("synchronise", [True, False], ids=["synchronised", "free"])
@pytest.mark.parametrize("driver", DRIVERS)
@pytest.mark.parametrize("version", ["v1", "v2"])
@pytest.mark.parametrize("task", TASK_NAMES)
def test_whole_episodes(task: str, version: str, driver: str, synchronise: bool) -> None:
    assert_equal(task, version, driver, num_goals=6, num_steps=500, synchronise=synchronise)


@pytest.mark.slow
@pytest.mark.parametrize("shard", range(SHARDS))
@pytest.mark.parametrize("version", ["v1", "v2"])
@pytest.mark.parametrize("task", TASK_NAMES)
def test_scripted_policies_succeed_at_the_same_goals(task: str, version: str, shard: int) -> None:
    """Running freely from all fifty goals for a whole episode: not a percentage point apart, but equal."""
    check(compare(task, version, "scripted", goals_of(task, 50)[shard::SHARDS], num_steps=500, num_worlds=2))
