"""Which worlds of a step are still to be made, which are taken and which are done: a board that all processes see.

A step is begun by opening all worlds and ringing a bell. Worker processes claim one world after the other, and the step
is over when all are done, whoever did them. A worker that comes late finds nothing to claim, or a world of the next
step: a claim is good for whichever step is open, so nothing can be out of date. The worlds of a queue that took the
longest in an earlier step come first, so that the workers end at about the same time.
"""

from __future__ import annotations

import mmap
import os
import time
from collections.abc import Mapping, Sequence

import numpy as np

from envs import atomics, claims
from envs.claims import LINE
from envs.worlds import allocate

_PAUSES = 100  # of the processor, some microseconds: then whoever wants the core gets it
_DONE = -1
_COST_BITS = 50  # enough for eleven days in nanoseconds


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
        places = (words.ctypes.data + 8 * LINE * np.arange(lines)).tolist()
        self._bell, self._done, self._waiting = places[:3]
        self._asleep = places[3 : 3 + num_workers]
        self._sleepers, self._heads = np.split(words[3 * LINE : lines * LINE : LINE], [num_workers])
        self._slots, self._order, self._costs = words[lines * LINE :].reshape(3, self.num_slots)
        self._ends = np.cumsum(np.array(queue_sizes, np.int64))
        self._starts = self._ends - queue_sizes
        self._queue_ranks = np.repeat(np.arange(len(queue_sizes)) << _COST_BITS, queue_sizes)
        self._next_order = np.arange(self.num_slots)
        self.exact = True

    # ---------------------------------------------------------------- for a worker

    def claimer(
        self,
        worker: int,
        queues: Sequence[int],
        num_own: int | None = None,
        steps: Mapping[int, tuple[int, int]] | None = None,
    ) -> Claimer:
        """Claims for a worker.

        Args:
            queues: where from. Of several that are not empty, from the one whose next slot took the longest.
            num_own: from so many of them first (default: all), from the others only when those are empty.
            steps: for slots that machine code can do: the address of a function and its argument, 64 bits; the function
                says (one bit) whether something is left to do.
        """
        return Claimer(self, worker, queues, len(queues) if num_own is None else num_own, steps or {})

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
        self._order[:] = self._next_order
        self.reopen()

    def sort(self) -> None:
        """Prepares the order of the next step, by what the slots cost in the last one."""
        self._next_order = np.argsort(self._queue_ranks - self._costs, kind="stable")

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
    """One slot after the other, for a worker (see `Board.claimer`)."""

    def __init__(
        self,
        board: Board,
        worker: int,
        queues: Sequence[int],
        num_own: int,
        steps: Mapping[int, tuple[int, int]],
    ) -> None:
        compiled = np.array([steps.get(slot, (0, 0)) for slot in range(board.num_slots)], np.int64).T.copy()
        self._arrays = (np.array(queues, np.int64), compiled, board)  # whose addresses follow
        self._fields = claims.Fields(
            mark=worker + 1,
            queues=self._arrays[0].ctypes.data,
            own=num_own,
            count=len(queues),
            heads=board._heads.ctypes.data,
            ends=board._ends.ctypes.data,
            order=board._order.ctypes.data,
            slots=board._slots.ctypes.data,
            costs=board._costs.ctypes.data,
            done=board._done,
            total=board.num_slots,
            waiting=board._waiting,
            steps=compiled[0].ctypes.data,
            arguments=compiled[1].ctypes.data,
        )

    def claim(self) -> int:
        """Does what machine code can do.

        Returns:
            A slot that is this worker's now and still to be done; `claims.NONE` if none is left; `claims.LAST` if
            somebody sleeps, besides, who waits for the step to end.
        """
        slot: int = claims.claim(self._fields)
        return slot

    def finish(self, slot: int) -> bool:
        """It is done. Whether that was the last one, and somebody sleeps who waits for it."""
        return bool(claims.finish(self._fields, slot))


def allocate_board(num_workers: int, queue_sizes: Sequence[int]) -> int:
    """A file descriptor of memory for a board on which all is done; the caller closes it."""
    descriptor = allocate(_num_bytes(num_workers, queue_sizes))
    Board(descriptor, num_workers, queue_sizes)._slots[:] = _DONE
    return descriptor


def _num_bytes(num_workers: int, queue_sizes: Sequence[int]) -> int:
    return 8 * (LINE * (3 + num_workers + len(queue_sizes)) + 3 * sum(queue_sizes))


def _exceeds(word: int, value: int, seconds: float) -> bool:
    if atomics.exceeds(word, value, 0):
        return True
    deadline = time.perf_counter() + seconds
    while time.perf_counter() < deadline:
        if atomics.exceeds(word, value, _PAUSES):
            return True
        os.sched_yield()
    return False
