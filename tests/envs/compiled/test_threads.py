"""Threads that step records: with a made-up step, and as real environments that are forked, interrupted and killed."""

import gc
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, IterableDataset

import envs
from envs.compiled.compiled_task import RECORD
from envs.compiled.machine_code import Code
from envs.compiled.native import Place, define
from envs.compiled.simulation import NUM_ADDRESSES
from envs.compiled.threads import Threads
from tests.envs.conftest import random_actions

_code = Code()
define(_code, "count", lambda r: {"x": r["x"] + 1.0}, {"x": Place(1, 0)}, num_pointers=2)
define(_code, "halve", lambda r: {"x": r["x"] * 0.5}, {"x": Place(1, 0)}, num_pointers=2)
_compiled = _code.compile()


def make_threads(num_worlds: int, num_threads: int) -> tuple[np.ndarray, Threads]:
    """Records of two tasks: a step of the first adds one to the first number of a record, the other halves it."""
    records = np.zeros(num_worlds, RECORD)
    records["task"] = np.arange(num_worlds) % 2
    simulations = np.zeros((num_threads, 2, NUM_ADDRESSES), np.int64)
    return records, Threads(records, [_compiled("count"), _compiled("halve")], simulations)


@pytest.mark.parametrize("num_threads", [1, 2, 5])
@pytest.mark.parametrize("num_worlds", [1, 2, 3, 100])
def test_every_step_is_made_once_by_somebody(num_worlds: int, num_threads: int) -> None:
    records, threads = make_threads(num_worlds, num_threads)
    x = records["state"][:, 0]
    x[1::2] = 2.0**1000
    for step in range(1, 1501):
        if step % 500 == 0:
            time.sleep(5e-3)  # all threads have gone to sleep
        threads.step()
        assert (x[::2] == step).all()
        assert (x[1::2] == 2.0 ** (1000 - step)).all()
    threads.close()
    threads.close()


def test_denormal_numbers_are_kept_whatever_the_caller_does_with_its_own() -> None:
    torch.set_flush_denormal(True)
    try:
        records, threads = make_threads(20_000, 3)  # which are started now
        x = records["state"][:, 0]
        x[1::2] = 2.0**-1060
        for _ in range(10):
            threads.step()
        torch.set_flush_denormal(False)
        assert (x[1::2] == 2.0**-1070).all()
        torch.set_flush_denormal(True)
        threads.step()
        assert np.array([2.0**-1060])[0] * 1.0 == 0.0  # the caller goes on as before
    finally:
        torch.set_flush_denormal(False)
    assert (x[1::2] == 2.0**-1071).all()


def alive() -> set[threading.Thread]:
    return set(threading.enumerate())


def test_threads_end_when_they_are_closed_or_nobody_has_them() -> None:
    before = alive()
    _, threads = make_threads(10, 4)
    assert len(alive() - before) == 3
    threads.close()
    assert alive() == before
    _, threads = make_threads(10, 4)
    del threads
    gc.collect()
    assert alive() == before


def test_an_environment_that_cannot_go_on_leaves_no_thread(make: Callable) -> None:
    before = alive()

    def fail() -> None:
        env = envs.make("MT1:reach", "paper", [0], worlds_per_task=3, num_workers=3)
        env.reset()
        env.step(np.full((3, 4), np.nan))

    with pytest.raises(ValueError, match="NaN"):
        fail()
    gc.collect()
    assert alive() == before


# ------------------------------------------------------------------------------------------------ processes


def observe(num_steps: int) -> list[float]:
    """Steps an environment of its own, with threads."""
    env = envs.make("MT1:reach", "paper", [0], worlds_per_task=3, num_workers=2)
    env.reset()
    sums = [float(env.step(action)[0].sum()) for action in random_actions(num_steps, 3)]
    env.close()
    return sums


@pytest.mark.parametrize("method", ["fork", "spawn", pytest.param("forkserver", marks=pytest.mark.slow)])
def test_children_step_environments_of_their_own(method: str) -> None:
    expected = observe(5)
    with ProcessPoolExecutor(1, get_context(method)) as executor:
        assert executor.submit(observe, 5).result(timeout=300) == expected


class Steps(IterableDataset[float]):
    """What `observe` gives, in a worker of a data loader."""

    def __init__(self, env: envs.VectorEnv | None = None) -> None:
        self.env = env

    def __iter__(self) -> Iterator[float]:
        return iter(observe(5))


@pytest.mark.parametrize("method", ["fork", pytest.param("spawn", marks=pytest.mark.slow)])
def test_workers_of_a_data_loader_step_environments_of_their_own(make: Callable, method: str) -> None:
    env = make(worlds_per_task=3, num_workers=3)  # whose threads a fork does not have
    env.reset()
    env.step(np.zeros((3, 4)))
    loader = DataLoader(Steps(), batch_size=None, num_workers=1, multiprocessing_context=method)
    assert list(loader) == observe(5)


def test_an_environment_is_not_sent_to_another_process(make: Callable) -> None:
    with pytest.raises(TypeError, match=r"cannot be copied or sent to another process: make another one"):
        pickle.dumps(Steps(make()))


def test_a_fork_goes_on_with_the_environment_that_it_has(make: Callable) -> None:
    env, actions = make(worlds_per_task=3, num_workers=3), random_actions(4, 3)
    env.reset()
    env.step(actions[0])
    read, write = os.pipe()
    child = os.fork()
    if not child:
        sums = [env.step(action)[0].sum() for action in actions[1:]]
        env.close()
        os.write(write, np.array(sums).tobytes())
        os._exit(0)
    expected = [env.step(action)[0].sum() for action in actions[1:]]
    assert os.waitpid(child, 0)[1] == 0
    np.testing.assert_array_equal(np.frombuffer(os.read(read, 1000)), expected)


RUN = """
import sys  # nothing guards what follows
import numpy as np
import envs
engine, what = sys.argv[1:]
env = envs.make("MT1:reach", "paper", [0], worlds_per_task=2, num_workers=2, engine=engine)
env.reset()
if what == "crash":
    env._engine._threads._simulations[:, :, 0] = 8
print("ready", flush=True)
if what == "fail":
    sys.stdin.readline()
    env.step(np.full((2, 4), np.nan))
while what != "exit":
    env.step(np.zeros((2, 4)))
"""


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Starts a process with an environment that it steps for ever, and waits until it does."""
    processes, script = [], tmp_path / "script.py"
    script.write_text(RUN, encoding="utf-8")

    def start_process(engine: str = "batched", what: str = "step") -> subprocess.Popen[str]:
        arguments = [sys.executable, script, engine, what]
        process = subprocess.Popen(
            arguments,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
            start_new_session=True,
        )
        processes.append(process)
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        return process

    yield start_process
    for process in processes:
        process.kill()
        process.communicate()


def test_a_program_ends_though_it_closes_nothing(start: Callable) -> None:
    process = start(what="exit")
    assert process.wait(timeout=300) == 0
    assert process.stderr.read() == ""


@pytest.mark.parametrize("engine", ["batched", "reference"])
def test_ctrl_c_ends_a_program_in_the_midst_of_steps(start: Callable, engine: str) -> None:
    process = start(engine)
    helpers = children(process.pid)
    os.killpg(process.pid, signal.SIGINT)
    assert process.wait(timeout=300) in (-signal.SIGINT, 1)
    assert process.stderr.read().rstrip().endswith("KeyboardInterrupt")
    wait_until_gone(helpers)


@pytest.mark.parametrize("engine", ["batched", "reference"])
def test_a_program_that_fails_leaves_nothing(start: Callable, engine: str) -> None:
    process = start(engine, "fail")
    helpers = children(process.pid)
    process.stdin.write("\n")
    process.stdin.flush()
    assert process.wait(timeout=300) == 1
    assert "ValueError: Finite actions are expected, but some are NaN or infinite." in process.stderr.read()
    wait_until_gone(helpers)


def test_a_crash_in_machine_code_ends_the_program(start: Callable) -> None:
    assert start(what="crash").wait(timeout=300) == -signal.SIGSEGV


def children(process: int) -> list[int]:
    with open(f"/proc/{process}/task/{process}/children") as file:
        direct = [int(child) for child in file.read().split()]
    return direct + [grandchild for child in direct for grandchild in children(child)]


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
@pytest.mark.parametrize("engine", ["batched", "reference"])
def test_nothing_is_left_of_a_program_that_was_killed(start: Callable, engine: str) -> None:
    process = start(engine)
    helpers = children(process.pid)
    assert bool(helpers) == (engine == "reference")
    process.kill()
    process.wait()
    wait_until_gone(helpers)


def wait_until_gone(processes: list[int]) -> None:
    deadline = time.monotonic() + 300
    while any(os.path.exists(f"/proc/{process}") for process in processes):
        assert time.monotonic() < deadline
        time.sleep(0.05)
