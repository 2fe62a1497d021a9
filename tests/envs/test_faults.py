"""What workers that die, hang or raise cost: the worlds that they were at, and no time to speak of."""

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator

import numpy as np
import pytest

import envs
from tests.envs.conftest import random_actions
from tests.envs.engines import DIE, HANG, RAISE, WAIT

THREE = envs.Benchmark("three", ("drawer-close-v3", "window-close-v3", "push-v3"))
SENTENCES = {
    DIE: "its worker process died (signal 9)",
    HANG: "its worker process did not answer within 1 s",
    RAISE: "its worker process raised: ArithmeticError: something went wrong",
}


@pytest.fixture
def troubled(monkeypatch: pytest.MonkeyPatch, make: Callable) -> Iterator[Callable]:
    """Makes environments whose worlds fail when the last number of their action is one of these."""
    for name in ("batched", "reference"):
        monkeypatch.setitem(envs._ENGINES, name, f"tests.envs.engines:Troubled{name.title()}")

    def make_troubled(num_workers: int = 2, **options) -> envs.VectorEnv:
        env = make(THREE, num_workers=num_workers, worlds_per_task=2, **options)
        env._pool.timeout = 1.0
        env.reset()
        return env

    return make_troubled


def act(**troubles: float) -> np.ndarray:
    """Actions of six worlds; those named p<position> have a number of trouble."""
    actions = np.zeros((6, 4))
    for position, trouble in troubles.items():
        actions[int(position[1:]), 3] = trouble
    return actions


@pytest.mark.parametrize("trouble", [DIE, HANG, RAISE])
def test_the_world_that_a_worker_was_at_is_lost_and_no_other(troubled, make, trouble) -> None:
    env, sound = troubled(), make(THREE, worlds_per_task=2)
    sound.reset()
    before = env.step(act())[0]
    sound.step(act())
    processes = env.processes
    began = time.monotonic()
    observation, rewards, _, truncations, infos = env.step(act(p2=trouble))
    assert time.monotonic() - began < 20
    expected = sound.step(act())
    kept = [0, 1, 3, 4, 5]
    assert infos["invalid"].tolist() == truncations.tolist() == [i == 2 for i in range(6)]
    assert rewards[2] == 0
    assert not infos["success"][2]
    np.testing.assert_array_equal(infos["final_obs"][2], before[2])
    np.testing.assert_array_equal(observation[2, :18], observation[2, 18:36])
    np.testing.assert_array_equal(observation[kept], expected[0][kept])
    np.testing.assert_array_equal(rewards[kept], expected[1][kept])
    assert env.faults() == [
        f"task window-close-v3, world 0, seed 0: {SENTENCES[trouble]}; the world was reset."
    ]
    assert env.faults() == []
    assert len({*processes, *env.processes}) == 3  # one is new
    for action in random_actions(3, 6):
        step, expected = env.step(action), sound.step(action)
        assert not step[4]["invalid"].any()
        np.testing.assert_array_equal(step[0][kept], expected[0][kept])


def test_several_workers_fail_in_one_step(troubled) -> None:
    env = troubled(3)
    infos = env.step(act(p0=DIE, p3=HANG, p4=RAISE, p5=DIE))[-1]
    assert infos["invalid"].tolist() == [True, False, False, True, True, True]
    assert len(env.faults()) == 4
    assert not env.step(act())[-1]["invalid"].any()


def test_worlds_that_make_every_process_fail_end_in_an_error(troubled) -> None:
    env = troubled(1)
    with pytest.raises(RuntimeError, match="keep failing"):
        env.step(act(p0=DIE, p1=DIE, p2=DIE, p3=DIE))


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
def test_a_worker_that_fails_between_two_steps_costs_no_world(troubled, make, number) -> None:
    env, sound = troubled(), make(THREE, worlds_per_task=2)
    sound.reset()
    os.kill(env.processes[0], number)
    for action in random_actions(3, 6):
        step, expected = env.step(action), sound.step(action)
        np.testing.assert_array_equal(step[0], expected[0])
        assert not step[4]["invalid"].any()
    if number == signal.SIGKILL:
        time.sleep(1.1)
        env.step(act())
        assert env.faults() == ["no world was lost: its worker process died (signal 9); it was replaced."]
    os.kill(env.processes[0], 0)


def test_a_worker_that_failed_unnoticed_does_not_keep_a_world_from_its_reset(troubled) -> None:
    env = troubled()
    position = env._pool.shares[0][0].position
    os.kill(env.processes[0], signal.SIGSTOP)
    infos = env.step(act(**{f"p{position}": DIE}))[-1]
    assert np.flatnonzero(infos["invalid"]).tolist() == [position]
    assert not env.step(act())[-1]["invalid"].any()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
def test_workers_that_fail_at_any_moment_of_compiled_steps(make, number) -> None:
    env = make(THREE, num_workers=2, worlds_per_task=20)
    env._pool.timeout = 1.0
    env.reset()
    generator = np.random.default_rng(0)
    lost = 0
    for k, action in enumerate(random_actions(6, 60)):
        victim = env.processes[k % 2]
        timer = threading.Timer(generator.uniform(0, 3e-3), os.kill, (victim, number))
        timer.start()
        observation, rewards, _, truncations, infos = env.step(action)
        timer.join()
        assert np.isfinite(observation).all()
        assert not rewards[infos["invalid"]].any()
        np.testing.assert_array_equal(truncations, infos["invalid"])
        assert infos["invalid"].sum() <= 2
        lost += infos["invalid"].sum()
    assert sum("the world was reset" in fault for fault in env.faults()) == lost


def test_a_worker_that_does_not_answer_is_replaced_at_the_next_reset(troubled) -> None:
    env = troubled()
    os.kill(env.processes[0], signal.SIGSTOP)
    observation = env.reset()[0]
    assert np.isfinite(observation).all()
    assert env.faults() == [
        f"{world}: {SENTENCES[HANG]}; the world was reset." for world in env._pool.shares[0]
    ]
    assert not env.step(act())[-1]["invalid"].any()


def test_worlds_of_the_reference_engine_go_with_their_worker(troubled) -> None:
    env = troubled(engine="reference")
    before = env.step(act())[0]
    lost = [world.position for world in env._pool.shares[0]]
    kept = [i for i in range(6) if i not in lost]
    env._pool.workers[0].process.kill()
    observation, rewards, _, truncations, infos = env.step(act())
    assert infos["invalid"][lost].all()
    assert truncations[lost].all()
    assert not infos["invalid"][kept].any()
    assert not rewards[lost].any()
    np.testing.assert_array_equal(infos["final_obs"][lost], before[lost])
    faults = env.faults()
    assert len(faults) == len(lost)
    assert "drawer-close-v3, world 0, seed 0: its worker process died (signal 9)" in faults[0]
    following = env.step(act())
    assert not following[4]["invalid"].any()
    assert not np.array_equal(following[0], observation)


@pytest.mark.parametrize("trouble", [HANG, RAISE])
def test_a_worker_of_the_reference_engine_that_fails_in_a_step(troubled, trouble) -> None:
    env = troubled(engine="reference")
    lost = [world.position for world in env._pool.shares[1]]
    infos = env.step(act(**{f"p{lost[0]}": trouble}))[-1]
    assert np.flatnonzero(infos["invalid"]).tolist() == sorted(lost)
    assert SENTENCES[trouble] in env.faults()[0]
    assert not env.step(act())[-1]["invalid"].any()


def test_who_steps_a_world_changes_nothing(troubled, make) -> None:
    """Workers are held up at one world after the other, so that others take over."""
    env, sound = troubled(3, horizon=7), make(THREE, worlds_per_task=2, horizon=7)
    np.testing.assert_array_equal(sound.reset(seed=5)[0], env.reset(seed=5)[0])
    actors = set()
    for k, action in enumerate(random_actions(20, 6)):
        action[k % 6, 3] = WAIT
        step, expected = env.step(action), sound.step(action)
        for x, y in zip((*step[:4], *step[4].values()), (*expected[:4], *expected[4].values()), strict=True):
            np.testing.assert_array_equal(x, y)
        actors.add(tuple((-env._pool.board._slots).tolist()))
    assert len(actors) > 1  # who steps which world differs
    state, expected_state = env.state_dict(), sound.state_dict()
    np.testing.assert_array_equal(state["worlds"], expected_state["worlds"])
