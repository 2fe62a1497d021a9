"""What the vector environment and its engines agree on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple
from typing import Protocol as Interface

import numpy as np
from numpy.typing import NDArray

from envs.benchmarks import Protocol

OBSERVATION_SIZE = 39
ACTION_SIZE = 4
GOAL_SIZE = 6


@dataclass(frozen=True)
class World:
    """One simulated robot: world number `index` of a task and a seed, at `position` in the vector environment."""

    position: int
    task: str
    seed: int
    index: int

    def __str__(self) -> str:
        return f"task {self.task}, world {self.index}, seed {self.seed}"


class Transitions(NamedTuple):
    """What a step of all N worlds came to: observations [N, 39], rewards [N] and successes [N] (bool).

    `faults` says for some worlds, by position, what went wrong: they have to be reset, and the transition not to be
    used.
    """

    observations: NDArray[np.float64]
    rewards: NDArray[np.float64]
    successes: NDArray[np.bool_]
    faults: Mapping[int, str]


class Engine(Interface):
    """Simulates all N worlds."""

    def __init__(self, worlds: Sequence[World], protocol: Protocol, num_workers: int) -> None: ...

    def reset(self, positions: NDArray[np.intp], goals: NDArray[np.float64]) -> NDArray[np.float64]:
        """Starts new episodes in n worlds, with things placed as goals [n, 6] say (one of three numbers is padded).

        Returns:
            Their first observations [n, 39].
        """

    def step(self, actions: NDArray[np.float64]) -> Transitions:
        """One step of every world, with actions [N, 4] in [-1, 1]. What it returns is not changed later."""

    def get_state(self) -> NDArray[np.float64]:
        """All that the future of the worlds depends on [N, ...]."""

    def set_state(self, state: NDArray[np.float64], observations: NDArray[np.float64]) -> None:
        """Takes back what `get_state` gave, and the last observations [N, 39]: the worlds go on bit-equal.

        Raises:
            ValueError: it is of another shape.
        """

    def close(self) -> None:
        """Ends its threads and processes; once more does nothing."""
