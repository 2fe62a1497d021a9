"""A worker process: it claims worlds and steps them, and between steps does what messages say."""

from __future__ import annotations

import importlib
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from envs.benchmarks import Protocol
from envs.board import Board
from envs.channel import Channel
from envs.claims import LAST
from envs.process import live
from envs.shares import queues, reach, slots_of
from envs.worlds import Buffers, Engine, World

_DAY = 86400.0


@dataclass(frozen=True)
class Assignment:
    """What a worker is told first.

    Attributes:
        engine: where the engine's class is ("module:Class").
        shares: the worlds, as they are shared among the workers.
        number: which of the workers it is.
        num_goals: of all seeds and tasks (see `envs.worlds.Buffers`).
        spin: seconds that it waits for the next step without going to sleep.
        long_spin: the same where the last step came as soon.
    """

    engine: str
    shares: Sequence[Sequence[World]]
    number: int
    protocol: Protocol
    num_goals: int
    spin: float
    long_spin: float


def engine_class(path: str) -> type[Engine]:
    """The class at `path` ("module:Class")."""
    module, name = path.split(":")
    engine: type[Engine] = getattr(importlib.import_module(module), name)
    return engine


def serve(channel_descriptor: int, buffer_descriptor: int, board_descriptor: int) -> None:
    """The process's life. Its first message is an `Assignment`; the reply says whether its engine is portable.

    Later ones are a method's name and its arguments. A reply is whether it went well, and the result or the traceback
    as text. Faults of a step are sent likewise, before the world counts as done. Nothing, sent by either side, only
    wakes the other.
    """
    live(channel_descriptor, lambda channel: _Worker(channel, buffer_descriptor, board_descriptor).run())


class _Worker:
    def __init__(self, channel: Channel, buffer_descriptor: int, board_descriptor: int) -> None:
        task: Assignment = channel.receive()
        self.channel, self.number, self.spin, self.long_spin = channel, task.number, task.spin, task.long_spin
        shared = queues(task.shares)
        engine = engine_class(task.engine)
        reached = reach(task.shares, task.number, engine.portable)
        buffers = Buffers.attach(buffer_descriptor, sum(map(len, shared)), task.num_goals)
        self.engine = engine([world for i in reached for world in shared[i]], task.protocol, buffers)
        self.compiled = self.engine.compiled
        self.board = Board(board_descriptor, len(task.shares), [len(queue) for queue in shared])
        self.positions = [world.position for queue in shared for world in queue]  # of the slots
        num_own = len(queues([task.shares[task.number]]))
        self.claimer = self.board.claimer(
            task.number, reached, num_own, self._compiled_steps(shared, reached)
        )
        channel.send((True, engine.portable))

    def _compiled_steps(
        self, shared: Sequence[Sequence[World]], reached: Sequence[int]
    ) -> dict[int, tuple[int, int]]:
        if self.compiled is None:
            return {}
        return {
            slot: (self.compiled.address(self.positions[slot]), self.positions[slot])
            for slot in slots_of(shared, reached)
        }

    def run(self) -> None:
        spin = self.long_spin
        while True:
            bell = self.board.bell()
            self._step()
            if self.channel.ready(0.0):
                self._answer()
                continue
            started = time.perf_counter()
            if not self.board.rings(bell, spin):
                self._sleep(bell)
            # Where steps come too seldom, as when a GPU learns meanwhile, it soon leaves the core to others.
            soon = time.perf_counter() - started < self.long_spin
            spin = self.long_spin if soon else self.spin

    def _step(self) -> None:
        """Steps worlds until none is left."""
        while (slot := self.claimer.claim()) >= 0:
            position = self.positions[slot]
            faults = self.compiled.conclude(position) if self.compiled else self.engine.step([position])
            if faults:
                self.channel.send((True, faults))
            if self.claimer.finish(slot):
                self.channel.send()
        if slot == LAST:
            self.channel.send()

    def _answer(self) -> None:
        message: tuple[Any, ...] | None = self.channel.receive()
        if message is not None:
            name, *arguments = message
            self.channel.send((True, getattr(self.engine, name)(*arguments)))

    def _sleep(self, bell: int) -> None:
        if self.board.doze(self.number, bell):
            self.channel.ready(_DAY)
        self.board.wake(self.number)
