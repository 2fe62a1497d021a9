"""Worker processes that run engines, and that may die or hang without taking anybody with them.

Observations, actions and the like lie in shared memory (`envs.worlds.Buffers`), and so does what is left to do of a
step (`envs.board.Board`); channels carry everything that is rare.
"""

from __future__ import annotations

import os
import select
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from envs.benchmarks import Protocol
from envs.board import Board, allocate_board
from envs.cores import available_cores, list_cores, pin
from envs.process import Worker, WorkerError
from envs.shares import queues, reach, share, slots_of
from envs.worker import Assignment, engine_class
from envs.worlds import Buffers, Engine, Fault, World, allocate_buffers

# Seconds that are waited without going to sleep: for the end of a step, where nobody needs the core, and by a worker
# for the next step, longer where it has a core of its own and the last step came within that time.
_PATIENCE = 5e-3
_SPIN, _LONG_SPIN = 200e-6, 2e-3
_LOOK = 1.0  # seconds after which a worker that died while it had nothing to do is noticed
_CHANCES = 3


@dataclass
class Outcome:
    """What happened in a step besides what the buffers say.

    Attributes:
        faults: the worlds that engines reset because of something.
        lost: the worlds whose worker failed, by position, and why: they have yet to be reset.
        replaced: why workers were replaced that no world was lost with.
    """

    faults: list[Fault] = field(default_factory=list)
    lost: dict[int, str] = field(default_factory=dict)
    replaced: list[str] = field(default_factory=list)


class Pool:
    """Engines for all worlds, in worker processes.

    Args:
        engine: where the engine's class is ("module:Class").
        num_workers: at most; 0 runs everything in this process, where nothing can be killed or timed out.
        timeout: seconds after which a worker that has not answered counts as hung. Starting one has
            `start_timeout`.
        num_goals: of all seeds and tasks (see `envs.worlds.Buffers`).
        spin: whether who waits may keep a core busy for a while, if there is one for each.

    Attributes:
        shares: the worlds that each engine resets, saves and restores.
        portable: whether the worlds survive their worker (see `envs.worlds.Engine`).
    """

    start_timeout = 300.0

    def __init__(
        self,
        engine: str,
        worlds: Sequence[World],
        protocol: Protocol,
        num_workers: int,
        timeout: float,
        num_goals: int = 0,
        spin: bool = True,
    ) -> None:
        self.engine, self.protocol, self.timeout, self.num_goals = engine, protocol, timeout, num_goals
        self.shares = share(worlds, num_workers) if num_workers else [list(worlds)]
        self.descriptors = [allocate_buffers(len(worlds), num_goals)]
        self.buffers = Buffers.attach(self.descriptors[0], len(worlds), num_goals)
        self.local: Engine | None = None
        self.workers: list[Worker] = []
        self._cores: list[int] = []  # of the caller's thread and the workers, while they are pinned
        self.portable = True
        if num_workers == 0:
            self.local = engine_class(engine)(worlds, protocol, self.buffers)
            self._everything = [world.position for world in worlds]
            return
        self._spins = spin and len(self.shares) < available_cores()
        self._queues = queues(self.shares)
        self._positions = [world.position for queue in self._queues for world in queue]
        sizes = [len(queue) for queue in self._queues]
        self.descriptors.append(allocate_board(len(self.shares), sizes))
        self.board = Board(self.descriptors[1], len(self.shares), sizes)
        self.workers = [self._start(number) for number in range(len(self.shares))]
        results, failures = self._collect(range(len(self.workers)), self.start_timeout)
        if failures:
            self.close()
            raise RuntimeError(f"An environment cannot be started: {next(iter(failures.values()))}.")
        self.portable = all(results)
        self._listen()

    def _start(self, number: int) -> Worker:
        long_spin = _LONG_SPIN if self._spins else _SPIN
        assignment = Assignment(
            self.engine, self.shares, number, self.protocol, self.num_goals, _SPIN, long_spin
        )
        return Worker(assignment, self.descriptors)

    def close(self) -> None:
        self.unpin()
        for worker in self.workers:
            worker.stop()
        self.workers, self.local = [], None
        for descriptor in self.descriptors:
            os.close(descriptor)
        self.descriptors = []

    # ---------------------------------------------------------------- cores

    def pin(self) -> None:
        """Keeps the caller's thread and each worker on a core of their own, if that takes every core there is.

        Otherwise two of them may share one, and a step waits for both one after the other, as long as other processes
        keep the rest busy: Linux does not move a thread to a core that runs something, be it in its idle class. The
        caller leaves its core to the others while it waits for a step.
        """
        cores = list_cores()
        if not self._cores and len(cores) == 1 + len(self.workers):
            first = os.getpid() % len(cores)  # the callers of several pools do not all wait on the same core
            self._cores = cores[first:] + cores[:first]
            self._caller = threading.get_native_id()
            for thread, core in zip(self._threads(), self._cores, strict=True):
                pin(thread, [core])

    def unpin(self) -> None:
        """Undoes `pin`."""
        if self._cores:
            for thread in self._threads():
                pin(thread, self._cores)
            self._cores = []

    def _threads(self) -> list[int]:
        return [self._caller, *(worker.process.pid for worker in self.workers)]

    # ---------------------------------------------------------------- messages

    def call(
        self, name: str, arguments: Sequence[tuple[Any, ...]] | None = None
    ) -> tuple[list[Any], dict[int, str]]:
        """Calls a method of every engine at once.

        Args:
            arguments: those of each engine.

        Returns:
            The results that arrived, and for each worker that died, hung or raised, what happened.
        """
        if self.local is not None:
            return [getattr(self.local, name)(*(arguments[0] if arguments else ()))], {}
        for i, worker in enumerate(self.workers):
            worker.send((name, *(arguments[i] if arguments else ())))
        self.board.ring()
        return self._collect(range(len(self.workers)), self.timeout)

    def restart(self, index: int) -> None:
        """Replaces a worker by a new process; if the worlds are not portable, they have yet to be reset.

        Raises:
            RuntimeError: the new one does not come up either.
        """
        self.workers[index].stop()
        self.board.wake(index)
        self.workers[index] = self._start(index)
        if self._cores:
            pin(self.workers[index].process.pid, [self._cores[1 + index]])  # it has inherited the caller's
        failures = self._collect([index], self.start_timeout)[1]
        self._listen()
        if failures:
            raise RuntimeError(f"A worker process cannot be restarted: {failures[index]}.")

    def _collect(self, waiting: Sequence[int], timeout: float) -> tuple[list[Any], dict[int, str]]:
        """Waits for one result of each of these workers, at most `timeout` seconds in all."""
        results: list[Any] = []
        failures: dict[int, str] = {}
        deadline = time.monotonic() + timeout
        for i in waiting:
            try:
                result: tuple[Any, ...] = ()
                while not result:
                    if not self.workers[i].channel.ready(max(0.0, deadline - time.monotonic())):
                        self.workers[i].process.kill()  # it shall not answer when nobody expects it
                        raise WorkerError(f"its worker process did not answer within {timeout:g} s")
                    result = self.workers[i].receive()
                results.extend(result)
            except WorkerError as error:
                failures[i] = str(error)
        return results, failures

    # ---------------------------------------------------------------- steps

    def step(self) -> Outcome:
        """One step of every world.

        Raises:
            RuntimeError: a worker fails again and again, or a new one does not come up.
        """
        outcome = Outcome()
        if self.local is not None:
            outcome.faults = self.local.step(self._everything)
            return outcome
        self.board.open()
        self._wake()
        self.board.sort()  # while the workers work
        deadline = time.monotonic() + self.timeout
        chances = dict.fromkeys(range(len(self.workers)), _CHANCES)
        while not self.board.complete(_PATIENCE if self._spins and not self._cores else 0.0):
            failures = self._hear(self._sleep(deadline), outcome)
            if not failures and time.monotonic() >= deadline:
                reason = f"its worker process did not answer within {self.timeout:g} s"
                failures = dict.fromkeys(self._late(), reason)
            for i, reason in failures.items():
                chances[i] -= 1
                if not chances[i]:
                    raise RuntimeError(f"Worker processes keep failing: {reason}.")
                self._replace(i, reason, outcome)
                deadline = time.monotonic() + self.timeout
        if self.buffers.invalid.any() or time.monotonic() > self._heard + _LOOK:
            for i, reason in self._hear(self._speakers(0.0), outcome).items():
                self._replace(i, reason, outcome)
        return outcome

    def _wake(self) -> None:
        for i in self.board.sleepers():
            self.workers[i].send()

    def _sleep(self, deadline: float) -> list[int]:
        """Sleeps until the step is complete or a worker says something; the workers that do."""
        self.board.wait(True)
        seconds = 0.0 if self.board.complete() else max(0.0, deadline - time.monotonic())
        speakers = self._speakers(seconds if self.board.exact else min(seconds, 0.01))
        self.board.wait(False)
        return speakers

    def _speakers(self, seconds: float) -> list[int]:
        """The workers that have said something, within so many seconds."""
        self._heard = time.monotonic()
        return [self._numbers[descriptor] for descriptor, _ in self._poll.poll(1000 * seconds)]

    def _listen(self) -> None:
        """Prepares to listen to all workers there are."""
        self._numbers = {worker.channel.descriptor: i for i, worker in enumerate(self.workers)}
        self._poll = select.poll()
        for descriptor in self._numbers:
            self._poll.register(descriptor, select.POLLIN)
        self._heard = time.monotonic()

    def _hear(self, speakers: Sequence[int], outcome: Outcome) -> dict[int, str]:
        """Takes in what workers said during a step; those that failed, and how."""
        failures = {}
        for i in speakers:
            try:
                while self.workers[i].channel.ready(0.0):
                    for faults in self.workers[i].receive():
                        outcome.faults.extend(faults)
            except WorkerError as error:
                failures[i] = str(error)
        return failures

    def _late(self) -> list[int]:
        """The workers that hold up the step: those that are at work, and those that should be."""
        free = set(self.board.free())
        at_work = [i for i in range(len(self.workers)) if self.board.taken(i)]
        return at_work or [i for i in range(len(self.workers)) if not free.isdisjoint(self._reached(i))]

    def _reached(self, index: int) -> list[int]:
        """The slots that a worker may claim."""
        return slots_of(self._queues, reach(self.shares, index, self.portable))

    def _replace(self, index: int, reason: str, outcome: Outcome) -> None:
        """Replaces a worker that failed during a step: what it was at is lost, or all it had."""
        self.workers[index].process.kill()
        self.workers[index].process.wait()
        slots = self.board.taken(index) if self.portable else self._reached(index)
        self.board.give_up(slots)
        outcome.lost |= {self._positions[slot]: reason for slot in slots}
        if not slots:
            outcome.replaced.append(reason)
        self.restart(index)
        self.board.reopen()
        self._wake()
