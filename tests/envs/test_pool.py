"""Cores of their own for the calling thread and its workers."""

import os
import signal
import threading
from collections.abc import Callable, Iterator

import numpy as np
import pytest

import envs
from envs.cores import available_cores
from tests.envs.conftest import random_actions

pytestmark = pytest.mark.skipif(available_cores() < 2, reason="needs two cores")


@pytest.fixture
def two_cores() -> Iterator[set[int]]:
    before = os.sched_getaffinity(0)
    cores = set(sorted(before)[:2])
    os.sched_setaffinity(0, cores)
    yield cores
    os.sched_setaffinity(0, before)


def cores_of(env: envs.VectorEnv) -> list[set[int]]:
    return [os.sched_getaffinity(thread) for thread in (0, *env.processes)]


def test_pinned_threads_have_a_core_each(make: Callable, two_cores: set[int]) -> None:
    env = make("MT3", engine="batched", num_workers=1)
    other_thread, ended = threading.Event(), threading.Event()
    seen: list[set[int]] = []

    def look() -> None:
        other_thread.wait(60)
        seen.append(os.sched_getaffinity(0))
        ended.set()

    threading.Thread(target=look, daemon=True).start()
    for _ in range(2):  # once more changes nothing
        env.pin()
        mine, theirs = cores_of(env)
        assert len(mine) == len(theirs) == 1
        assert mine | theirs == two_cores
    other_thread.set()
    assert ended.wait(10)
    assert seen == [two_cores]
    env.unpin()
    assert cores_of(env) == [two_cores] * 2


def test_worlds_do_not_notice_how_processes_wait(make: Callable, two_cores: set[int]) -> None:
    expected = make("MT3", engine="batched", num_workers=0)
    waiting = [make("MT3", engine="batched", num_workers=1, spin=spin) for spin in (True, False, True)]
    waiting[-1].pin()
    observation = expected.reset()[0]
    for env in waiting:
        np.testing.assert_array_equal(env.reset()[0], observation)
    for action in random_actions(3, expected.num_envs):
        observation = expected.step(action)[0]
        for env in waiting:
            np.testing.assert_array_equal(env.step(action)[0], observation)


@pytest.mark.parametrize("num_workers", [0, 2, 3])
def test_with_fewer_or_more_threads_than_cores_nothing_is_pinned(
    make: Callable, two_cores: set[int], num_workers: int
) -> None:
    env = make("MT3", engine="batched", num_workers=num_workers)
    env.pin()
    assert cores_of(env) == [two_cores] * (1 + num_workers)
    env.unpin()


def test_a_new_worker_has_the_core_of_the_one_that_died(make: Callable, two_cores: set[int]) -> None:
    env = make("MT3", engine="batched", num_workers=1)
    env.reset()
    env.pin()
    before = cores_of(env)
    (process,) = env.processes
    os.kill(process, signal.SIGKILL)
    env.step(random_actions(1, env.num_envs)[0])
    assert env.processes != [process]
    assert cores_of(env) == before
    env.unpin()
    assert cores_of(env) == [two_cores] * 2


def test_closing_unpins(make: Callable, two_cores: set[int]) -> None:
    env = make("MT3", engine="batched", num_workers=1)
    env.pin()
    env.close()
    assert os.sched_getaffinity(0) == two_cores
