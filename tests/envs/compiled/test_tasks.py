"""Properties that every task declaration has, whatever it declares."""

import numpy as np
import pytest
import torch

import envs
from envs.benchmarks import TASK_NAMES
from envs.compiled.observation import complete, frame
from envs.compiled.task import available_tasks, check_available, load_task
from envs.goals import GOALS_PER_TASK, RESET_SPACES
from tests.envs.compiled.parity import SomeWorlds, goals_of, step
from tests.envs.compiled.test_parity import QUICK


def check_torch(name: str) -> None:
    """Observation, reward and success are the same functions of tensors as of arrays, and change no argument."""
    worlds = SomeWorlds(name, "v2", 2)
    for index, goal in enumerate(goals_of(name, 2)):
        worlds.reset(index, goal)
    generator = np.random.default_rng(0)
    for _ in range(3):
        actions = generator.uniform(-1, 1, (2, 4))
        simulated = step(worlds, actions)
    task = worlds.task
    arrays = [{k: np.array(v) for k, v in simulated.items()}, {"action": actions}, worlds.fields]
    tensors = [{k: torch.from_numpy(np.array(v)) for k, v in group.items()} for group in arrays]
    before = [{k: v.copy() for k, v in group.items()} for group in arrays]
    results = []
    for readings, action, state in (arrays, tensors):
        completed = complete(readings, task)
        results.append([completed["objects"], frame(completed)])
        if task.remember is not None:
            new = task.remember(completed, action["action"], state)
            assert set(new) == set(task.remembered)
            results[-1].extend(new.values())
            state = {**state, **new}
        for reward in (task.reward_v1, task.reward_v2):
            results[-1].extend(reward(completed, action["action"], state))
    for array, tensor in zip(*results, strict=True):
        assert isinstance(tensor, torch.Tensor)
        assert tensor.shape == array.shape
        assert tensor.dtype == (torch.bool if array.dtype == np.bool_ else torch.float64)
        np.testing.assert_allclose(tensor.numpy(), array, rtol=1e-9, atol=1e-12)
    for group, copy in zip(arrays, before, strict=True):
        for key, value in copy.items():
            np.testing.assert_array_equal(group[key], value)


@pytest.mark.parametrize("name", QUICK)
def test_functions_run_on_torch_tensors(name: str) -> None:
    check_torch(name)


@pytest.mark.slow
@pytest.mark.parametrize("name", available_tasks())
def test_functions_run_on_torch_tensors_for_every_task(name: str) -> None:
    check_torch(name)


@pytest.mark.parametrize("name", available_tasks())
def test_declarations_are_complete(name: str) -> None:
    task = load_task(name)
    assert name in TASK_NAMES
    assert (task.remember is not None) == bool(task.remembered)
    assert len(task.hand_start) == 3
    assert GOALS_PER_TASK == 50
    assert len(RESET_SPACES[name].low) in (3, 6)


def test_a_missing_task_is_named_with_the_nearest() -> None:
    with pytest.raises(
        ValueError, match=r"does not have the task 'reach-without-v3' \(the nearest that it has is 'reach"
    ):
        check_available("reach-without-v3")
    with pytest.raises(ValueError, match="does not have the task 'unknown-v3'"):
        envs.make(envs.Benchmark("other", ("unknown-v3",)), "paper", [0], engine="batched")
