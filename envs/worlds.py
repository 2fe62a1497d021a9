"""What the vector environment and its engines agree on: the worlds, and the arrays that both sides share."""

from __future__ import annotations

import math
import mmap
import os
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple
from typing import Protocol as Interface

import numpy as np
from numpy.typing import NDArray

from envs.benchmarks import Protocol

OBSERVATION_SIZE = 39
ACTION_SIZE = 4
GOAL_SIZE = 6
ROW_SIZE = 128


@dataclass(frozen=True)
class World:
    """One simulated robot: world number `index` of a task and a seed, at `position` in the vector
    environment."""

    position: int
    task: str
    seed: int
    index: int

    def __str__(self) -> str:
        return f"task {self.task}, world {self.index}, seed {self.seed}"


@dataclass(frozen=True)
class Buffers:
    """Arrays over all N worlds in memory that the worker processes share.

    Written by the vector environment: `actions` [N, 4]; `goals` [N, 6], where the next reset places things
    (a goal of three numbers is padded), and `goal_numbers` [N], which of the M goals of all seeds and tasks that is;
    `cut` [N], whether the step about to be made is the last one of the episode. Written by the engine: `observations`
    [N, 39], after a reset if there was one; `final_observations` [N, 39], before it; `rewards`, `successes`, `invalid`
    [N] of the step just made. For the engine's own use: `rows` [N, 128], what it knows of each world; `starts`
    [M, 128], what it knows of each goal.
    """

    actions: NDArray[np.float64]
    goals: NDArray[np.float64]
    observations: NDArray[np.float64]
    final_observations: NDArray[np.float64]
    rewards: NDArray[np.float64]
    rows: NDArray[np.float64]
    starts: NDArray[np.float64]
    goal_numbers: NDArray[np.int64]
    successes: NDArray[np.bool_]
    invalid: NDArray[np.bool_]
    cut: NDArray[np.bool_]

    @classmethod
    def attach(cls, descriptor: int, num_worlds: int, num_goals: int) -> Buffers:
        """Maps the memory behind a file descriptor made by `allocate_buffers`."""
        memory = mmap.mmap(descriptor, _num_bytes(num_worlds, num_goals))
        arrays: dict[str, Any] = {}
        offset = 0
        for name, shape, dtype in _layout(num_worlds, num_goals):
            count = math.prod(shape)
            arrays[name] = np.frombuffer(memory, dtype, count, offset).reshape(shape)
            offset += count * np.dtype(dtype).itemsize
        return cls(**arrays)


def allocate_buffers(num_worlds: int, num_goals: int) -> int:
    """A file descriptor of memory for the buffers of so many worlds and goals; the caller closes it."""
    return allocate(_num_bytes(num_worlds, num_goals))


def _layout(num_worlds: int, num_goals: int) -> list[tuple[str, tuple[int, ...], Any]]:
    """Name, shape and type of each array, those with the largest alignment first."""
    return [
        ("rows", (num_worlds, ROW_SIZE), np.float64),
        ("starts", (num_goals, ROW_SIZE), np.float64),
        ("actions", (num_worlds, ACTION_SIZE), np.float64),
        ("goals", (num_worlds, GOAL_SIZE), np.float64),
        ("observations", (num_worlds, OBSERVATION_SIZE), np.float64),
        ("final_observations", (num_worlds, OBSERVATION_SIZE), np.float64),
        ("rewards", (num_worlds,), np.float64),
        ("goal_numbers", (num_worlds,), np.int64),
        ("successes", (num_worlds,), np.bool_),
        ("invalid", (num_worlds,), np.bool_),
        ("cut", (num_worlds,), np.bool_),
    ]


def _num_bytes(num_worlds: int, num_goals: int) -> int:
    arrays = _layout(num_worlds, num_goals)
    return sum(math.prod(shape) * np.dtype(dtype).itemsize for _, shape, dtype in arrays)


def allocate(num_bytes: int) -> int:
    """A file descriptor of anonymous memory, all zeros; the caller closes it."""
    if hasattr(os, "memfd_create"):
        descriptor = os.memfd_create("metaworld")
    else:
        with tempfile.TemporaryFile() as file:
            descriptor = os.dup(file.fileno())
    os.ftruncate(descriptor, num_bytes)
    return descriptor


class Fault(NamedTuple):
    """Something went wrong in the world at `position`: it was reset, and its last transition is not to be
    used."""

    position: int
    reason: str


class Compiled(NamedTuple):
    """Steps that machine code makes.

    Attributes:
        address: of the function that makes a step of the world at a position: it takes the position, 64 bits, and says,
            one bit, whether the world has had a fault or its episode is over.
        conclude: to be called with the position then.
    """

    address: Callable[[int], int]
    conclude: Callable[[int], list[Fault]]


class Engine(Interface):
    """Simulates some of the worlds; the vector environment has one engine per worker process.

    A fault in one world must not disturb the others: `step` resets that world, sets its `invalid` flag and
    reports.

    Attributes:
        portable: whether all that is known of a world lies in the buffers, so that any engine that was made for its
            task can step it. Otherwise a world stays in the process that it was reset in.
        compiled: None if steps are made by `step` alone.
    """

    portable: bool

    @property
    def compiled(self) -> Compiled | None: ...

    def __init__(self, worlds: Sequence[World], protocol: Protocol, buffers: Buffers) -> None: ...

    def reset(self, positions: Sequence[int]) -> list[Fault]:
        """Starts new episodes in the worlds at these positions."""

    def step(self, positions: Sequence[int]) -> list[Fault]:
        """One step of these worlds; those that are cut, and those with a fault, start a new episode."""

    def get_state(self, positions: Sequence[int]) -> dict[int, NDArray[np.float64]]:
        """All that the future of these worlds depends on, as a vector per position."""

    def set_state(self, state: dict[int, NDArray[np.float64]]) -> None:
        """Takes back what `get_state` gave: from there on, the worlds go on bit-equal."""
