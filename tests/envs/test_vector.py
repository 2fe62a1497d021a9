"""The vector environment's conventions, whatever the engine. Meta-World itself is the reference."""

import pickle

import gymnasium
import numpy as np
import pytest
from metaworld.env_dict import ALL_V3_ENVIRONMENTS
from metaworld.types import Task

import envs
from envs.goals import benchmark_goals
from tests.envs.conftest import random_actions

ENGINES = ["reference", "batched"]
THREE = envs.Benchmark("three", ("drawer-close-v3", "window-close-v3", "push-v3"))


def meta_world(task: str, goal: np.ndarray, reward_version: str = "v2"):
    """Meta-World's own environment, at a goal."""
    cls = ALL_V3_ENVIRONMENTS[task]
    env = cls(reward_function_version=reward_version)
    description = {"rand_vec": goal.copy(), "env_cls": cls, "partially_observable": False}
    env.set_task(Task(task, pickle.dumps(description)))
    return env


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("protocol", ["metaworld_plus", "paper"])
def test_worlds_are_meta_worlds(make, engine, protocol) -> None:
    env = make("MT1:drawer-close", protocol, seeds=(4,), horizon=12, engine=engine, goal_order="sequential")
    goals = benchmark_goals(env.benchmark, 4)[0]
    observation, _ = env.reset()
    actions = random_actions(24, 1)
    for episode in range(2):
        goal = goals[episode % env.protocol.num_goals]
        truth = meta_world("drawer-close-v3", goal, env.protocol.reward_version)
        np.testing.assert_allclose(observation[0], truth.reset()[0], atol=1e-12)
        for k in range(12):
            action = actions[12 * episode + k]
            observation, rewards, terminations, truncations, infos = env.step(action)
            expected, reward, _, _, info = truth.step(action[0])
            final = truncations[0]
            closing = infos["final_obs"] if final else observation
            np.testing.assert_allclose(closing[0], expected, atol=1e-12)
            np.testing.assert_allclose(rewards[0], reward, rtol=1e-9)
            assert infos["success"][0] == bool(info["success"])
            assert final == infos["_final_obs"][0] == (k == 11)
            assert not terminations.any()
            assert not infos["invalid"].any()


@pytest.mark.parametrize("engine", ENGINES)
def test_gymnasium_conventions(make, engine) -> None:
    env = make("MT1:window-close", seeds=(0, 1), worlds_per_task=2, horizon=5, engine=engine)
    assert isinstance(env, gymnasium.vector.VectorEnv)
    assert env.metadata["autoreset_mode"] == gymnasium.vector.AutoresetMode.SAME_STEP
    assert env.layout == (2, 1, 2)
    assert env.num_envs == 4
    observation, info = env.reset(seed=3)
    assert env.observation_space.contains(observation)
    assert info == {}
    for _ in range(6):
        previous = observation
        result = env.step(env.action_space.sample())
        observation, rewards, terminations, truncations, infos = result
        assert env.observation_space.contains(observation)
        assert not np.shares_memory(previous, observation)
        assert rewards.shape == terminations.shape == truncations.shape == (4,)
        assert (rewards.dtype, terminations.dtype, truncations.dtype) == (np.float64, np.bool_, np.bool_)
        assert infos["success"].shape == infos["invalid"].shape == (4,)
        assert infos["final_obs"].shape == (4, 39)
        # The last three numbers are the goal, the previous frame is in the middle.
        np.testing.assert_array_equal(observation[~truncations, 18:36], previous[~truncations, :18])
    recorded = gymnasium.wrappers.vector.RecordEpisodeStatistics(env)
    recorded.reset(seed=0)
    for _ in range(5):
        infos = recorded.step(env.action_space.sample())[-1]
    assert infos["episode"]["l"].tolist() == [5, 5, 5, 5]


@pytest.mark.parametrize("engine", ENGINES)
def test_seeding_really_seeds(make, engine) -> None:
    env = make("MT1:reach", seeds=(0, 1), worlds_per_task=2, engine=engine)
    first = env.reset(seed=[7, 8])[0]
    second = env.reset()[0]
    assert not np.array_equal(first, second)
    np.testing.assert_array_equal(env.reset(seed=7)[0], first)
    np.testing.assert_array_equal(env.reset()[0], second)
    other = make("MT1:reach", seeds=(7, 8), worlds_per_task=2, engine=engine)
    np.testing.assert_array_equal(other.reset()[0], first)
    np.testing.assert_array_equal(other.reset(seed=other.initial_seeds)[0], first)


@pytest.mark.parametrize("engine", ENGINES)
def test_worlds_depend_on_their_own_seed_task_and_number_only(make, engine) -> None:
    """Alone or among others, a world is the same (the goals of these benchmarks are drawn task by task)."""
    actions = random_actions(7, 12)
    many = make(THREE, seeds=(5, 6), worlds_per_task=2, horizon=4, engine=engine)
    one = make("MT1:window-close", seeds=(6,), worlds_per_task=1, horizon=4, engine=engine)
    position = int(np.ravel_multi_index((1, 1, 0), many.layout))
    np.testing.assert_array_equal(many.reset()[0][position], one.reset()[0][0])
    for action in actions:
        a, b = many.step(action), one.step(action[position : position + 1])
        for x, y in zip(a[:4], b[:4], strict=True):
            np.testing.assert_array_equal(x[position], y[0])


def test_staggered_worlds_end_their_first_episodes_one_after_the_other(make) -> None:
    env = make(
        "MT1:reach", seeds=(0, 1), worlds_per_task=4, horizon=10, staggered=True, goal_order="sequential"
    )
    plain = make("MT1:reach", seeds=(0, 1), worlds_per_task=4, horizon=10, goal_order="sequential")
    first = plain.reset()[0]
    ends: list[set[int]] = [set() for _ in range(8)]
    for seed in (None, (0, 1)):  # a seed begins everything anew
        np.testing.assert_array_equal(env.reset(seed=seed)[0], first)
        for ended in ends:
            ended.clear()
        for k in range(1, 26):
            for world in np.flatnonzero(env.step(np.zeros((8, 4)))[3]):
                ends[world].add(k)
        assert ends == 2 * [{10, 20}, {8, 18}, {5, 15, 25}, {3, 13, 23}]
    env.reset()  # a later episode has its full length, whatever began it
    assert [env.step(np.zeros((8, 4)))[3].any() for _ in range(10)] == [False] * 9 + [True]


def test_staggered_worlds_go_on_where_they_were_saved(make) -> None:
    options = {"worlds_per_task": 3, "horizon": 9}
    env, other = make(staggered=True, **options), make(staggered=True, **options)
    env.reset()
    actions = random_actions(22, 3)
    for action in actions[:2]:
        env.step(action)
    other.load_state_dict(pickle.loads(pickle.dumps(env.state_dict())))
    for action in actions[2:]:
        a, b = env.step(action), other.step(action)
        for x, y in zip((*a[:4], *a[4].values()), (*b[:4], *b[4].values()), strict=True):
            np.testing.assert_array_equal(x, y)


def test_more_worlds_than_steps_are_staggered_too(make) -> None:
    env = make(worlds_per_task=5, horizon=2, staggered=True)
    env.reset()
    assert env.step(np.zeros((5, 4)))[3].tolist() == [False, False, False, True, True]


def test_sequential_goals_cover_all_goals_in_order(make) -> None:
    env = make("MT1:reach", worlds_per_task=4, horizon=1, goal_order="sequential")
    goals = benchmark_goals(env.benchmark, 0)[0]
    observation = env.reset()[0]
    seen = [observation[:, -3:]]
    for _ in range(13):
        seen.append(env.step(np.zeros((4, 4)))[0][:, -3:])
    np.testing.assert_array_equal(np.concatenate(seen)[:50], goals[:, 3:])
    np.testing.assert_array_equal(np.concatenate(seen)[50:], goals[:6, 3:])


def test_one_goal_is_the_first_one(make) -> None:
    env = make("MT1:reach", "paper", horizon=1)
    goal = benchmark_goals(env.benchmark, 0)[0][0, 3:]
    env.reset()
    for _ in range(3):
        np.testing.assert_array_equal(env.step(np.zeros((1, 4)))[0][0, -3:], goal)


@pytest.mark.parametrize(("engine", "num_workers"), [("reference", 0), ("batched", 0), ("batched", 2)])
def test_saving_and_restoring_is_bit_equal_to_not_having_stopped(make, engine, num_workers) -> None:
    options = {"seeds": (0, 3), "horizon": 15, "engine": engine}
    env, other = make(THREE, **options), make(THREE, num_workers=num_workers, **options)
    env.reset()
    actions = random_actions(40, 6)
    for action in actions[:20]:
        env.step(action)
    other.load_state_dict(pickle.loads(pickle.dumps(env.state_dict())))
    for action in actions[20:]:
        a, b = env.step(action), other.step(action)
        for x, y in zip(a[:4], b[:4], strict=True):
            np.testing.assert_array_equal(x, y)
        for key in a[4]:
            np.testing.assert_array_equal(a[4][key], b[4][key])


@pytest.mark.parametrize("engine", ENGINES)
def test_what_was_restored_can_be_reset_in_part(make, engine) -> None:
    options = {"worlds_per_task": 2, "engine": engine}
    env, other = make(**options), make(**options)
    env.reset()
    env.step(random_actions(1, 2)[0])
    other.load_state_dict(env.state_dict())
    mask = {"reset_mask": np.array([False, True])}
    np.testing.assert_array_equal(env.reset(options=mask)[0], other.reset(options=mask)[0])


def test_the_state_of_other_tasks_is_refused(make) -> None:
    env, other = make("MT1:reach"), make("MT1:drawer-close")
    env.reset()
    with pytest.raises(ValueError, match="it is of other tasks, or of another version"):
        other.load_state_dict(env.state_dict())


def test_reset_mask_resets_some_worlds(make) -> None:
    env = make("MT1:reach", worlds_per_task=3)
    env.reset()
    before = env.step(random_actions(1, 3)[0])[0]
    after = env.reset(options={"reset_mask": np.array([False, True, False])})[0]
    np.testing.assert_array_equal(before[[0, 2]], after[[0, 2]])
    assert not np.array_equal(before[1], after[1])


@pytest.mark.parametrize(
    ("engine", "num_workers"), [("batched", 1), ("batched", 3), ("batched", 9), ("reference", 4)]
)
def test_the_number_of_workers_changes_nothing(make, engine, num_workers) -> None:
    options = {"seeds": (1, 2), "horizon": 10, "engine": engine}
    one, other = make(THREE, **options), make(THREE, num_workers=num_workers, **options)
    np.testing.assert_array_equal(one.reset()[0], other.reset()[0])
    for action in random_actions(25, 6):
        a, b = one.step(action), other.step(action)
        for x, y in zip((*a[:4], *a[4].values()), (*b[:4], *b[4].values()), strict=True):
            np.testing.assert_array_equal(x, y)


@pytest.mark.parametrize("velocity", [1e12, np.nan])
@pytest.mark.parametrize("engine", ENGINES)
def test_a_diverging_simulation_is_reported_and_reset(make, engine, velocity, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    env = make(THREE, seeds=(2,), engine=engine)
    env.reset()
    before = env.step(np.zeros((3, 4)))[0]
    if engine == "reference":
        env._engine._processes.env.envs[0].envs[1].environment.data.qvel[:] = velocity
    else:
        task = env._engine.tasks[1]
        model = task.simulation.model
        simulation = task.states(env._engine.records)["simulation"][1]
        simulation[1 + model.nq : 1 + model.nq + model.nv] = velocity
    observation, rewards, _, truncations, infos = env.step(np.zeros((3, 4)))
    assert infos["invalid"].tolist() == truncations.tolist() == [False, True, False]
    assert rewards[1] == 0
    np.testing.assert_array_equal(infos["final_obs"][1], before[1])
    np.testing.assert_array_equal(observation[1, :18], observation[1, 18:36])
    (fault,) = env.faults()
    assert fault == "task window-close-v3, world 0, seed 2: the simulation diverged; the world was reset."
    assert not env.step(np.zeros((3, 4)))[-1]["invalid"].any()
    assert list(tmp_path.iterdir()) == []


def test_a_reward_that_is_not_finite_is_reported_and_the_world_reset(make) -> None:
    env = make(THREE, seeds=(2,))
    env.reset()
    env.step(np.zeros((3, 4)))
    env._engine.tasks[2].states(env._engine.records)["object_start"][2] = np.nan
    _, rewards, _, truncations, infos = env.step(np.zeros((3, 4)))
    assert infos["invalid"].tolist() == truncations.tolist() == [False, False, True]
    assert rewards[2] == 0
    reason = "the observation or the reward is not finite"
    assert env.faults() == [f"task push-v3, world 0, seed 2: {reason}; the world was reset."]
    assert not env.step(np.zeros((3, 4)))[-1]["invalid"].any()


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"seeds": ()}, "At least one seed"),
        ({"worlds_per_task": 0}, "worlds_per_task"),
        ({"horizon": 0}, "horizon"),
        ({"horizon": 501}, "horizon"),
        ({"engine": "fast"}, "engine"),
        ({"goal_order": "shuffled"}, "goal_order"),
        ({"num_workers": -1}, "num_workers"),
        ({"seeds": (-1,)}, "seed"),
    ],
)
def test_bad_arguments_are_refused(make, options, sentence) -> None:
    with pytest.raises(ValueError, match=sentence):
        make(**options)


def test_bad_actions_are_refused(make) -> None:
    env = make()
    with pytest.raises(ValueError, match="reset"):
        env.step(np.zeros((1, 4)))
    env.reset()
    with pytest.raises(ValueError, match="shape"):
        env.step(np.zeros(4))
    with pytest.raises(ValueError, match="NaN"):
        env.step(np.full((1, 4), np.nan))


def test_actions_are_clipped(make) -> None:
    one, other = make(), make()
    one.reset(), other.reset()
    action = np.array([[3.0, -2.0, 0.5, 9.0]])
    for x, y in zip(one.step(action)[:3], other.step(np.clip(action, -1, 1))[:3], strict=True):
        np.testing.assert_array_equal(x, y)


def test_a_seed_of_numpy_is_a_seed() -> None:
    env = envs.make("MT1:reach-v3", "metaworld_plus", [0, 1], num_workers=1)
    first, _ = env.reset(seed=np.int64(7))
    again, _ = env.reset(seed=7)
    np.testing.assert_array_equal(first, again)
    env.close()
