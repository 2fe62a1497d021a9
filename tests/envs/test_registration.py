"""The environments under Gymnasium's names."""

import gymnasium
import numpy as np
import pytest

import envs


def test_make_vec_makes_the_vector_environment() -> None:
    env = gymnasium.make_vec("mtrl/MT1-v3", task="reach", num_envs=4, seeds=(0, 1), num_workers=0)
    assert isinstance(env, envs.VectorEnv)
    assert env.layout == (2, 1, 2)
    assert env.reset()[0].shape == (4, 39)
    env.close()


def test_every_benchmark_is_registered() -> None:
    for name in ("MT1", "MT3", "MT10", "MT25", "MT50"):
        assert gymnasium.spec(f"mtrl/{name}-v3").vector_entry_point == "envs.registration:make_vector_env"


def test_a_number_of_worlds_that_cannot_be_shared_is_refused() -> None:
    with pytest.raises(ValueError, match="multiple of 20"):
        gymnasium.make_vec("mtrl/MT10-v3", num_envs=30, seeds=(0, 1))
    with pytest.raises(ValueError, match="task"):
        gymnasium.make_vec("mtrl/MT1-v3")


def test_make_makes_one_world_of_one_task() -> None:
    """As Gymnasium's checker wants it, the same for equal seeds of any kind of integer, and to the episode's end."""
    env = gymnasium.make("mtrl/MT1-v3", task="reach-v3")
    first, _ = env.reset(seed=7)
    again, _ = env.reset(seed=np.int64(7))
    other, _ = env.reset(seed=8)
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()
    assert env.observation_space.contains(first)
    truncated, steps = False, 0
    while not truncated:
        observation, reward, terminated, truncated, info = env.step(env.action_space.sample())
        steps += 1
        assert not terminated
        assert isinstance(reward, float)
        assert isinstance(info["success"], bool)
        np.testing.assert_array_equal(observation[-3:], other[-3:])
    assert steps == 500
    env.close()


def test_nothing_is_rendered() -> None:
    for make in (gymnasium.make, gymnasium.make_vec):
        with pytest.raises(ValueError, match="mtrl evaluate RUN --video DIR"):
            make("mtrl/MT1-v3", task="reach-v3", render_mode="rgb_array")
