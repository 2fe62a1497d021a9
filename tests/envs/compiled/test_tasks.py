"""Properties that every task declaration has, whatever it declares."""

import pytest

import envs
from envs.benchmarks import TASK_NAMES
from envs.compiled.task import load_task
from envs.goals import GOALS_PER_TASK


@pytest.mark.parametrize("name", TASK_NAMES)
def test_declarations_are_complete(name: str) -> None:
    task = load_task(name)
    assert len(task.hand_start) == 3
    assert GOALS_PER_TASK == 50
    assert len(task.reset_low) == len(task.reset_high) in (3, 6)


def test_a_missing_task_is_named_with_the_nearest() -> None:
    with pytest.raises(ValueError, match="no task 'reach-without-v3': did you mean 'reach-"):
        load_task("reach-without-v3")
    with pytest.raises(ValueError, match="no task 'unknown-v3'"):
        envs.make(envs.Benchmark("other", ("unknown-v3",)), "paper", [0], engine="batched")
