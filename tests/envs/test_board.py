"""Every world once per step, whoever is late, and nobody sleeps through a bell."""

import ctypes
import os
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from envs import atomics, claims
from envs.board import Board, Claimer, allocate_board
from envs.channel import Channel

SIZES = (3, 1, 4)


@pytest.fixture
def board() -> Iterator[Board]:
    descriptor = allocate_board(2, SIZES)
    yield Board(descriptor, 2, SIZES)
    os.close(descriptor)


def test_nothing_is_to_be_done_before_the_first_step(board: Board) -> None:
    assert board.claimer(0, [0, 1, 2]).claim() == -1
    assert board.bell() == 0


def test_slots_are_claimed_in_the_order_of_the_queues(board: Board) -> None:
    claimer = board.claimer(1, [2, 0])
    for _ in range(3):
        board.open()
        assert [claimer.claim() for _ in range(9)] == [4, 5, 6, 7, 0, 1, 2, -1, -1]
        assert board.taken(1) == [0, 1, 2, 4, 5, 6, 7]
        assert board.free() == [3]
        for slot in board.taken(1):
            assert not claimer.finish(slot)
        assert not board.complete()
        other = board.claimer(0, [0, 1, 2])
        board.wait(True)
        slot = other.claim()
        assert slot == 3
        assert other.finish(slot)  # the last one, and somebody waits
        assert board.complete()


def finish_all(claimer: Claimer) -> list[int]:
    """The slots that the claimer is given, in turn; each is done before the next."""
    slots = []
    while (slot := claimer.claim()) >= 0:
        slots.append(slot)
        claimer.finish(slot)
    assert slot == claims.NONE
    return slots


def test_own_queues_come_first_and_of_several_the_one_whose_next_slot_took_longest(board: Board) -> None:
    board._costs[:] = [2, 9, 4, 8, 3, 3, 7, 1]
    for own, expected in ((3, [1, 3, 6, 2, 4, 5, 0, 7]), (1, [6, 4, 5, 7, 1, 3, 2, 0])):
        board._costs[:] = [2, 9, 4, 8, 3, 3, 7, 1]
        board.sort()
        board.open()
        claimer = board.claimer(0, [2, 0, 1], own)
        taken = []
        while (slot := claimer.claim()) >= 0:
            taken.append(slot)
        assert taken == expected
        assert board.free() == []


def test_what_a_slot_took_is_measured(board: Board) -> None:
    claimer = board.claimer(0, [0, 1, 2])
    board.open()
    while (slot := claimer.claim()) >= 0:
        time.sleep(0.02 if slot == 5 else 0.0)
        claimer.finish(slot)
    assert board._costs[5] >= 20e6
    board.sort()
    board.open()
    assert claimer.claim() == 5


def test_machine_code_does_slots_and_leaves_what_it_cannot_finish(board: Board) -> None:
    done = []

    @ctypes.CFUNCTYPE(ctypes.c_bool, ctypes.c_int64)
    def step(argument: int) -> bool:
        done.append(argument)
        return argument == 106

    address = ctypes.cast(step, ctypes.c_void_p).value
    steps = {
        slot: (address, 100 + slot) for slot in range(8) if slot != 3
    }  # slot 3 is the caller's from the beginning
    claimer = board.claimer(0, [0, 1, 2], steps=steps)
    board.open()
    assert finish_all(claimer) == [3, 6]
    assert sorted(done) == [100, 101, 102, 104, 105, 106, 107]
    assert board.complete()
    board.open()
    board.wait(True)
    assert [claimer.claim(), claimer.finish(3)] == [3, False]
    assert [claimer.claim(), claimer.finish(6)] == [6, False]
    assert claimer.claim() == claims.LAST  # slot 7 was the last one
    assert board.complete()


def test_what_a_lost_worker_had_is_given_up_and_the_rest_is_claimed_by_others(board: Board) -> None:
    board.open()
    lost, other = board.claimer(0, [0, 1, 2]), board.claimer(1, [0, 1, 2])
    first, second = lost.claim(), lost.claim()
    lost.finish(first)
    board._heads[1] += 1  # it died between two operations of a claim
    board.give_up(board.taken(0))
    board.reopen()
    claimed = []
    while (slot := other.claim()) >= 0:
        assert not board.complete()
        claimed.append(slot)
        other.finish(slot)
    assert board.complete()
    assert sorted([first, second, *claimed]) == list(range(8))
    board.open()
    assert len(board.free()) == 8


@settings(max_examples=200, deadline=None)
@given(data=st.data())
def test_any_order_of_claims_does_every_slot_once(data: st.DataObject) -> None:
    sizes = data.draw(st.lists(st.integers(1, 5), min_size=1, max_size=5))
    descriptor = allocate_board(3, sizes)
    board = Board(descriptor, 3, sizes)
    os.close(descriptor)
    orders = [data.draw(st.permutations(range(len(sizes)))) for _ in range(3)]
    claimers = [board.claimer(worker, order) for worker, order in enumerate(orders)]
    for _ in range(2):
        board.open()
        done, taken = [], [[], [], []]
        while not board.complete():
            worker = data.draw(st.integers(0, 2))
            slot = claimers[worker].claim()
            if slot >= 0:
                taken[worker].append(slot)
            assert board.taken(worker) == sorted(taken[worker])
            if taken[worker] and (slot < 0 or data.draw(st.booleans())):
                done.append(taken[worker].pop())
                claimers[worker].finish(done[-1])
        assert sorted(done) == list(range(sum(sizes)))


def test_processes_with_random_delays_do_every_slot_once_per_step() -> None:
    sizes, num_workers, steps = [7, 2, 11], 4, 300
    descriptor = allocate_board(num_workers, sizes)
    board = Board(descriptor, num_workers, sizes)
    shape = (str(descriptor), str(num_workers))
    command = [sys.executable, "-m", "tests.envs.claimants", *shape]
    workers = [
        subprocess.Popen(
            [*command, str(worker), str(steps), ",".join(map(str, sizes))],
            pass_fds=[descriptor],
            stdout=subprocess.PIPE,
            text=True,
        )
        for worker in range(num_workers)
    ]
    assert [worker.stdout and worker.stdout.readline() for worker in workers] == ["ready\n"] * num_workers
    deadline = time.monotonic() + 60
    for _ in range(steps):
        board.open()
        while not board.complete(0.01):
            assert time.monotonic() < deadline
    board.ring()
    outputs = [worker.communicate()[0].split() for worker in workers]
    os.close(descriptor)
    counts = Counter(int(slot) for output in outputs for slot in output)
    assert counts == dict.fromkeys(range(20), steps)
    assert sum(bool(output) for output in outputs) > 1


def test_waiting_for_the_bell_ends_with_it_or_with_the_time(board: Board) -> None:
    began = time.monotonic()
    assert not board.rings(board.bell(), 0.05)
    assert time.monotonic() - began >= 0.05
    threading.Timer(0.05, board.ring).start()
    assert board.rings(0, 10.0)
    assert board.rings(0, 0.0)
    assert not board.rings(1, 0.0)


def test_who_goes_to_sleep_is_told_of_a_bell_before_and_woken_after(board: Board) -> None:
    bell = board.bell()
    board.ring()
    assert not board.doze(0, bell)
    assert board.sleepers() == [0]
    assert board.doze(1, board.bell())
    assert board.sleepers() == [1]
    assert board.sleepers() == []  # each is told once


def test_sleepers_may_come_and_go_while_they_are_looked_for() -> None:
    command = "import sys; from tests.envs.claimants import toggle; toggle(*map(int, sys.argv[1:]))"
    descriptor = allocate_board(16, SIZES)
    board = Board(descriptor, 16, SIZES)
    process = subprocess.Popen([sys.executable, "-c", command, str(descriptor)], pass_fds=[descriptor])
    told = set()
    deadline = time.monotonic() + 20
    try:
        while len(told) < 16:
            told |= set(board.sleepers())
            assert time.monotonic() < deadline
        for _ in range(20_000):
            board.sleepers()
    finally:
        process.kill()
        process.wait()
        os.close(descriptor)


def test_nobody_sleeps_through_a_bell(board: Board) -> None:
    """A worker that sleeps as soon as it can, and one that rings as soon as it was heard."""
    ours, theirs = (Channel(end.detach()) for end in socket.socketpair())
    rounds, heard = 3000, []

    def work() -> None:
        bell = 0
        while len(heard) < rounds:
            if board.bell() == bell and board.doze(0, bell):
                assert theirs.ready(10.0), "asleep, and nobody knows"
                theirs.receive()
            board.wake(0)
            if board.bell() > bell:
                bell = board.bell()
                heard.append(bell)

    worker = threading.Thread(target=work)
    worker.start()
    for i in range(rounds):
        deadline = time.monotonic() + 10
        while len(heard) < i:
            assert time.monotonic() < deadline
        board.ring()
        for _ in board.sleepers():
            ours.send()
    worker.join()
    assert heard == list(range(1, rounds + 1))
    ours.close()
    theirs.close()


def test_atomic_operations() -> None:
    words = np.zeros(4, np.int64)
    first = words.ctypes.data
    assert atomics.add(first, 5) == 0
    assert atomics.exchange(first, 7) == 5
    atomics.store(first + 8, -3)
    assert words.tolist() == [7, -3, 0, 0]
    assert atomics.load(first + 8) == -3
    assert atomics.exceeds(first, 6, 0)
    assert not atomics.exceeds(first, 7, 10)
