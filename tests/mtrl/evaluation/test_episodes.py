"""Episodes are counted, ordered and evaluated right, whatever number of worlds shares them."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

import envs
from envs.goals import benchmark_goals
from envs.worlds import Transitions
from mtrl.evaluation.episodes import Episodes, EpisodeTracker, nan_mean, run_episodes
from tests.mtrl.conftest import TINY, FakeEngine

CPU = torch.device("cpu")


def make_env(num_worlds: int = 1, num_goals: int = 5, seeds=(3, 4)) -> envs.VectorEnv:
    protocol = replace(TINY, num_goals=num_goals)
    return envs.make(
        "MT3",
        protocol,
        seeds,
        engine="reference",
        worlds_per_task=num_worlds,
        goal_order="sequential",
        num_workers=0,
    )


def towards_goal(observation: Tensor) -> Tensor:
    """A policy that reaches some goals of `FakeEngine` and misses others."""
    action = torch.zeros(*observation.shape[:-1], 4)
    action[..., :3] = (observation[..., -3:] - observation[..., :3]) * torch.tensor([1.0, 0.5, 1.5]) * 0.7
    return action


class Recorder:
    """A policy that notes which goal each world has at each step."""

    def __init__(self) -> None:
        self.goals: list[np.ndarray] = []

    def __call__(self, observation: Tensor) -> Tensor:
        self.goals.append(observation[..., -3:].numpy().copy())
        return towards_goal(observation)


def test_tracker_follows_each_world_apart() -> None:
    tracker = EpisodeTracker((1, 1, 2))
    rewards = np.array([[1.0, 10.0], [2.0, 20.0], [3.0, 30.0], [4.0, 40.0]])
    success = np.array([[False, False], [True, False], [False, False], [True, True]])
    done = np.array([[False, False], [False, False], [True, False], [False, True]])
    finished = [
        tracker.step(r[None, None], s[None, None], d[None, None])
        for r, s, d in zip(rewards, success, done, strict=True)
    ]
    nan = np.nan
    np.testing.assert_array_equal(finished[2].success[0, 0], [1.0, nan])  # at any step, not at the last
    np.testing.assert_array_equal(finished[2].success_at_end[0, 0], [0.0, nan])
    np.testing.assert_array_equal(finished[2].returns[0, 0], [6.0, nan])
    np.testing.assert_array_equal(finished[2].steps_to_success[0, 0], [2.0, nan])
    np.testing.assert_array_equal(finished[3].returns[0, 0], [nan, 100.0])
    np.testing.assert_array_equal(finished[3].steps_to_success[0, 0], [nan, 4.0])
    assert all(np.isnan(v).all() for f in finished[:2] for v in vars(f).values())
    np.testing.assert_array_equal(tracker.returns[0, 0], [4.0, 0.0])
    np.testing.assert_array_equal(tracker.length[0, 0], [1.0, 0.0])


def test_tracker_state_in_the_middle_of_an_episode() -> None:
    first, second = EpisodeTracker((1, 1, 1)), EpisodeTracker((1, 1, 1))
    yes, no = np.array([[[True]]]), np.array([[[False]]])
    first.step(np.array([[[5.0]]]), yes, no)
    second.load_state_dict(first.state_dict())
    for tracker in (first, second):
        finished = tracker.step(np.array([[[1.0]]]), no, yes)
        assert finished.returns.item() == 6.0
        assert finished.success.item() == 1.0
        assert finished.steps_to_success.item() == 1.0


@pytest.mark.parametrize("num_worlds", [1, 2, 3])
def test_every_goal_is_met_once_in_order(fake: Callable, num_worlds: int) -> None:
    env, recorder = make_env(num_worlds), Recorder()
    run_episodes(env, recorder, 5, CPU)
    steps = np.stack(recorder.goals)[:: TINY.horizon]  # [rounds, S, T, W, 3]
    for s, seed in enumerate((3, 4)):
        for t, goals in enumerate(benchmark_goals(env.benchmark, seed)):
            met = steps[:, s, t].reshape(-1, 3)[:5]
            np.testing.assert_allclose(met, goals[:5, :3], rtol=1e-6)


@pytest.mark.parametrize("num_worlds", [2, 3, 5, 7])
def test_outcomes_do_not_depend_on_the_number_of_worlds(fake: Callable, num_worlds: int) -> None:
    alone = run_episodes(make_env(1), towards_goal, 5, CPU)
    shared = run_episodes(make_env(num_worlds), towards_goal, 5, CPU)
    for name, values in vars(alone).items():
        assert values.shape == (2, 3, 5)
        np.testing.assert_allclose(getattr(shared, name), values, rtol=1e-6, err_msg=name)
    assert 0 < alone.success.mean() < 1


def test_outcomes_are_those_of_one_episode_at_a_time(fake: Callable) -> None:
    found = run_episodes(make_env(), towards_goal, 5, CPU)
    env = make_env()
    observation, _ = env.reset(seed=(3, 4))
    for episode in range(5):
        returns, steps, success = np.zeros(6), np.full(6, np.nan), np.zeros(6, dtype=bool)
        for step in range(1, TINY.horizon + 1):
            action = towards_goal(torch.from_numpy(observation.astype(np.float32)))
            observation, rewards, _, truncated, infos = env.step(action.numpy())
            success = infos["success"]
            returns += rewards
            steps[success & np.isnan(steps)] = step
        assert truncated.all()
        np.testing.assert_allclose(found.returns[..., episode].ravel(), returns)
        np.testing.assert_array_equal(found.steps_to_success[..., episode].ravel(), steps)
        np.testing.assert_array_equal(found.success[..., episode].ravel(), ~np.isnan(steps))
        np.testing.assert_array_equal(found.success_at_end[..., episode].ravel(), success)


def test_evaluating_twice_gives_the_same(fake: Callable) -> None:
    env = make_env(2)
    first = run_episodes(env, towards_goal, 3, CPU)
    second = run_episodes(env, towards_goal, 3, CPU)
    for name, values in vars(first).items():
        np.testing.assert_array_equal(getattr(second, name), values)


def test_one_goal_of_the_protocol_is_met_in_every_episode(fake: Callable) -> None:
    recorder = Recorder()
    run_episodes(make_env(num_goals=1), recorder, 3, CPU)
    goals = np.stack(recorder.goals)
    assert (goals == goals[0]).all()


class BreakingEngine(FakeEngine):
    """The world of seed 3's first task breaks in the third step of the second episode."""

    def step(self, actions: NDArray[np.float64]) -> Transitions:
        transitions = super().step(actions)
        if self.steps != TINY.horizon + 3:
            return transitions
        transitions.rewards[0] = np.nan
        return transitions._replace(faults={0: "it broke"})


def test_an_episode_broken_by_a_fault_is_reported_and_has_no_outcome(
    fake: Callable, capsys: pytest.CaptureFixture[str]
) -> None:
    fake(BreakingEngine)
    broken = run_episodes(make_env(), towards_goal, 4, CPU)
    fake(FakeEngine)
    sound = run_episodes(make_env(), towards_goal, 4, CPU)
    assert "it broke" in capsys.readouterr().err
    for name in ("success", "success_at_end", "returns"):
        values, expected = getattr(broken, name), getattr(sound, name)
        assert np.isnan(values[0, 0, 1])
        np.testing.assert_array_equal(values[0, 0, [0, 2, 3]], expected[0, 0, [0, 2, 3]])
        np.testing.assert_array_equal(values[1:], expected[1:])
    np.testing.assert_allclose(nan_mean(broken.success)[0, 0], sound.success[0, 0, [0, 2, 3]].mean())


def test_json_has_null_where_there_is_no_number() -> None:
    nan, one = np.full((1, 1, 2), np.nan), np.ones((1, 1, 2))
    assert Episodes(one, one, one, nan).to_json()["steps_to_success"] == [[[None, None]]]
