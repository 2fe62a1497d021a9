"""The vector environment over environments of the user's."""

from collections.abc import Callable, Iterator
from typing import Any

import gymnasium
import numpy as np
import pytest

import envs
from envs.custom import episode_seed

LINE = "tests.envs.own_environments:Line"


@pytest.fixture
def make() -> Iterator[Callable[..., envs.VectorEnv]]:
    """A vector environment over tasks of the class `Line` with these arguments."""
    made: list[envs.VectorEnv] = []

    def make_env(*kwargs: dict[str, Any], horizon: int = 5, num_workers: int = 0, **options: Any):
        tasks = [{"name": f"task{i}", "env": LINE, "kwargs": k} for i, k in enumerate(kwargs)]
        benchmark = envs.CustomBenchmark.from_mapping({"tasks": tasks, "horizon": horizon})
        seeds = options.pop("seeds", (0,))
        made.append(envs.make(benchmark, benchmark.protocol, seeds, num_workers=num_workers, **options))
        return made[-1]

    yield make_env
    for env in made:
        env.close()


@pytest.mark.parametrize("num_workers", [0, 1])
def test_gymnasium_conventions(make, num_workers) -> None:
    env = make({}, {}, seeds=(0, 1), worlds_per_task=2, num_workers=num_workers)
    assert isinstance(env, gymnasium.vector.VectorEnv)
    assert env.layout == (2, 2, 2)
    assert env.single_observation_space.shape == (3,)
    assert env.single_action_space.shape == (1,)
    observation, info = env.reset()
    assert observation.shape == (8, 3)
    assert observation.dtype == np.float64
    assert info == {}
    assert len(np.unique(observation[:, 0])) == 8  # every world begins somewhere else
    for k in range(1, 8):
        previous = observation
        observation, rewards, terminations, truncations, infos = env.step(np.zeros((8, 1)))
        assert not np.shares_memory(previous, observation)
        np.testing.assert_allclose(rewards, previous[:, 0])
        assert not terminations.any()
        assert truncations.all() == infos["_final_obs"].all() == (k == 5)
        assert np.isnan(infos["success"]).all()
        if k == 5:  # the next episode has begun, and the old one's last observation is there
            assert (infos["final_obs"][:, 2] == 5).all()
            assert (observation[:, 2] == 0).all()
            assert (observation[:, 0] != previous[:, 0]).all()


def test_in_processes_it_is_the_same(make) -> None:
    options: dict[str, Any] = {"worlds_per_task": 2, "horizon": 3}
    kinds = ({"says": "success", "successes": (2,)}, {"ends": 2})
    ours, theirs = (make(*kinds, num_workers=n, **options) for n in (0, 1))
    generator = np.random.default_rng(0)
    np.testing.assert_array_equal(ours.reset()[0], theirs.reset()[0])
    for _ in range(8):
        actions = generator.uniform(-1, 1, (4, 1))
        for one, other in zip(ours.step(actions)[:4], theirs.step(actions)[:4], strict=True):
            np.testing.assert_array_equal(one, other)


def test_what_an_episode_begins_with_is_a_seed(make) -> None:
    env = make({}, seeds=(3,), worlds_per_task=2)
    expected = [np.random.default_rng(episode_seed(3, "task0", w, 0)).uniform() for w in (0, 1)]
    np.testing.assert_allclose(env.reset()[0][:, 0], expected, rtol=1e-6)
    again, _ = env.reset()
    assert not np.isin(again[:, 0], expected).any()
    np.testing.assert_array_equal(env.reset(seed=3)[0], make({}, seeds=(3,), worlds_per_task=2).reset()[0])


def test_episodes_in_order_do_not_depend_on_the_number_of_worlds(make) -> None:
    def places(worlds: int) -> list[float]:
        env = make({}, worlds_per_task=worlds, horizon=1, goal_order="sequential")
        found = [*env.reset()[0][:, 0]]
        while len(found) < 6:
            found += [*env.step(np.zeros((worlds, 1)))[0][:, 0]]
        return found[:6]

    assert places(1) == places(2) == places(3)


def test_terminations_and_own_time_limits(make) -> None:
    env = make({"ends": 2}, {"truncates": 3}, {"ends": 5}, {"ends": 1, "truncates": 1})
    env.reset()
    seen = [env.step(np.zeros((4, 1)))[2:4] for _ in range(5)]
    terminations, truncations = (np.array(x, dtype=int).T.tolist() for x in zip(*seen, strict=True))
    assert terminations == [[0, 1, 0, 1, 0], [0] * 5, [0, 0, 0, 0, 1], [1] * 5]
    assert truncations == [[0] * 5, [0, 0, 1, 0, 0], [0, 0, 0, 0, 1], [1] * 5]


def test_actions_are_scaled_to_the_bounds(make) -> None:
    env = make({"bound": 1.0}, {"bound": 0.1})
    env.reset()
    for action, scaled in ((-1, [-1, -0.1]), (0, [1, 0.1]), (1, [3, 0.3]), (7, [3, 0.3])):
        observation = env.step(np.full((2, 1), float(action)))[0]
        np.testing.assert_allclose(observation[:, 1], scaled, rtol=1e-6)


@pytest.mark.parametrize("key", ["success", "is_success"])
def test_success_where_something_is_said_of_it(make, key) -> None:
    env = make({"says": key, "successes": (2,)}, {"says": key, "successes": (4,), "said_from": 4}, {})
    env.reset()
    said = np.array([env.step(np.zeros((3, 1)))[4]["success"] for _ in range(4)]).T
    np.testing.assert_array_equal(said[0], [0, 1, 0, 0])
    np.testing.assert_array_equal(said[1], [np.nan] * 3 + [1])
    assert np.isnan(said[2]).all()


def test_what_is_not_finite_is_a_fault(make) -> None:
    env = make({"not_finite_at": 2}, {})
    env.reset()
    env.step(np.zeros((2, 1)))
    observation, _, terminations, truncations, infos = env.step(np.zeros((2, 1)))
    assert infos["invalid"].tolist() == truncations.tolist() == [True, False]
    assert not terminations.any()
    assert observation[0, 2] == 0
    assert env.faults() == [
        "task task0, world 0, seed 0: the observation or the reward is not finite; the world was reset."
    ]


@pytest.mark.parametrize("num_workers", [0, 1])
def test_code_that_fails_is_named_with_its_traceback(make, num_workers, capsys) -> None:
    env = make({}, {"fails_at": 2}, num_workers=num_workers)
    env.reset()
    env.step(np.zeros((2, 1)))
    with pytest.raises(RuntimeError) as caught:
        env.step(np.zeros((2, 1)))
    assert str(caught.value) == (
        "The environment of task task1, world 0, seed 0 failed: IndexError: the point is lost"
    )
    assert "own_environments.py" in capsys.readouterr().err


def test_a_process_that_dies(make) -> None:
    env = make({}, num_workers=1)
    env.reset()
    env._engine._processes.env.processes[0].kill()
    env._engine._processes.env.processes[0].join()
    with pytest.raises(RuntimeError, match="died: resume from the last checkpoint"):
        env.step(np.zeros((1, 1)))


def test_a_state_goes_on_with_new_episodes(make) -> None:
    env, other = make({}, worlds_per_task=2), make({}, worlds_per_task=2)
    assert not env.keeps_state
    env.reset()
    env.step(np.zeros((2, 1)))
    other.load_state_dict(env.state_dict())
    with pytest.raises(ValueError, match="reset"):
        other.step(np.zeros((2, 1)))
    new, _ = other.reset()
    assert (new[:, 2] == 0).all()
    np.testing.assert_array_equal(new, env.reset()[0])  # as if the first one had ended its episodes here


@pytest.mark.parametrize("engine", ["batched", "reference", "fast"])
def test_only_its_engine_runs_them(make, engine) -> None:
    with pytest.raises(
        ValueError, match=r"which the engine \w+ does not run: choose gymnasium|no engine 'fast'"
    ):
        make({}, engine=engine)
    with pytest.raises(ValueError, match="has Meta-World's tasks, which the engine gymnasium does not run"):
        envs.make("MT3", "paper", (0,), engine="gymnasium")
