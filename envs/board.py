"""Which worlds of a step are still to be made, which are taken and which are done: a board that all processes see.

A step is begun by opening all worlds and ringing a bell. Worker processes claim one world after the other, and the step
is over when all are done, whoever did them. A worker that comes late finds nothing to claim, or a world of the next
step: a claim is good for whichever step is open, so nothing can be out of date.
"""

from __future__ import annotations

import mmap
import os
import time
from collections.abc import Sequence

import numpy as np

from envs import atomics
from envs.worlds import allocate

_LINE = 16  # words: two lines of a cache, which some processors fetch together
_PAUSES = 100  # of the processor, some microseconds: then whoever wants the core gets it
_DONE = -1


class Board:
    """Slots, one per world, numbered through the queues that they are in; all processes make it with the same sizes.

    Args:
        descriptor: of the memory that they share, made by `allocate_board`.
        num_workers: who claims: 0 to num_workers - 1.
        queue_sizes: how many slots each queue has.

    Attributes:
        exact: whether who does the last slot of a step knows that it is the last.
    """

    def __init__(self, descriptor: int, num_workers: int, queue_sizes: Sequence[int]) -> None:
        self.num_slots = sum(queue_sizes)
        memory = mmap.mmap(descriptor, _num_bytes(num_workers, queue_sizes))
        words = np.frombuffer(memory, np.int64)
        lines = 3 + num_workers + len(queue_sizes)
        places = (words.ctypes.data + 8 * _LINE * np.arange(lines)).tolist()
        self._bell, self._done, self._waiting = places[:3]
        self._asleep = places[3 : 3 + num_workers]
        self._sleepers, self._heads = np.split(words[3 * _LINE : lines * _LINE : _LINE], [num_workers])
        self._slots = words[lines * _LINE :]
        self._ends = np.cumsum(np.array(queue_sizes, np.int64))
        self._starts = self._ends - queue_sizes
        self.exact = True

    # ---------------------------------------------------------------- for a worker

    def claimer(self, worker: int, queues: Sequence[int]) -> Claimer:
        """Claims for a worker from these queues, in this order."""
        return Claimer(self, worker, queues)

    def bell(self) -> int:
        """How often it has rung."""
        count: int = atomics.load(self._bell)
        return count

    def rings(self, since: int, seconds: float) -> bool:
        """Whether the bell rings after that count, within so many seconds, which are spent without going to sleep."""
        return _exceeds(self._bell, since, seconds)

    def doze(self, worker: int, since: int) -> bool:
        """Says that a worker goes to sleep, and whether it may: not if the bell has rung after that count."""
        atomics.store(self._asleep[worker], 1)
        return self.bell() == since

    def wake(self, worker: int) -> bool:
        """Says that a worker does not sleep any more (any more than before)."""
        return bool(atomics.exchange(self._asleep[worker], 0))

    # ---------------------------------------------------------------- for who begins steps and waits for their end

    def open(self) -> None:
        """Begins a step: all slots are free."""
        self.exact = True
        atomics.store(self._done, 0)
        self._slots[:] = 0
        self.reopen()

    def reopen(self) -> None:
        """Lets workers look again for slots that are free."""
        atomics.fence()  # who sees a queue begin again shall see its slots free
        self._heads[:] = self._starts
        self.ring()

    def ring(self) -> None:
        atomics.add(self._bell, 1)

    def sleepers(self) -> list[int]:
        """The workers that sleep; each is told once, and will not see what was rung unless somebody wakes it."""
        # A copy, since NumPy does not find the places of what changes meanwhile.
        return [i for i, asleep in enumerate(self._sleepers.tolist()) if asleep and self.wake(i)]

    def complete(self, seconds: float = 0.0) -> bool:
        """Whether all slots are done, within so many seconds, which are spent without going to sleep."""
        if self.exact:
            return _exceeds(self._done, self.num_slots - 1, seconds)
        return bool((self._slots < 0).all())

    def wait(self, waiting: bool) -> None:
        """Says whether whoever does the last slot is to wake the one who waits for it."""
        atomics.store(self._waiting, waiting)

    def taken(self, worker: int) -> list[int]:
        """The slots that a worker has claimed and not done."""
        slots: list[int] = np.flatnonzero(self._slots == worker + 1).tolist()
        return slots

    def free(self) -> list[int]:
        """The slots that nobody has claimed."""
        slots: list[int] = np.flatnonzero(self._slots == 0).tolist()
        return slots

    def give_up(self, slots: Sequence[int]) -> None:
        """Counts slots as done whose worker is no more."""
        self._slots[list(slots)] = _DONE
        self.exact = False  # it may have died between doing a slot and counting it


class Claimer:
    """One slot after the other, for a worker."""

    def __init__(self, board: Board, worker: int, queues: Sequence[int]) -> None:
        self._queues = np.array(queues, np.int64)
        self._board, self._mark = board, worker + 1
        slots = board._slots.ctypes.data
        ends = board._ends.ctypes.data
        self._claim = (
            self._queues.ctypes.data,
            len(queues),
            board._heads.ctypes.data,
            ends,
            slots,
            self._mark,
        )
        self._finish = (board._done, board.num_slots, board._waiting)

    def claim(self) -> int:
        """A slot that is now this worker's, or -1 if none is free."""
        slot: int = atomics.claim(*self._claim)
        return slot

    def finish(self, slot: int) -> bool:
        """It is done. Whether that was the last one, and somebody sleeps who waits for it."""
        return bool(atomics.finish(self._claim[4], slot, -self._mark, *self._finish))


def allocate_board(num_workers: int, queue_sizes: Sequence[int]) -> int:
    """A file descriptor of memory for a board on which all is done; the caller closes it."""
    descriptor = allocate(_num_bytes(num_workers, queue_sizes))
    Board(descriptor, num_workers, queue_sizes)._slots[:] = _DONE
    return descriptor


def _num_bytes(num_workers: int, queue_sizes: Sequence[int]) -> int:
    return 8 * (_LINE * (3 + num_workers + len(queue_sizes)) + sum(queue_sizes))


def _exceeds(word: int, value: int, seconds: float) -> bool:
    if atomics.exceeds(word, value, 0):
        return True
    deadline = time.perf_counter() + seconds
    while time.perf_counter() < deadline:
        if atomics.exceeds(word, value, _PAUSES):
            return True
        os.sched_yield()
    return False
