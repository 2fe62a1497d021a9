"""What the vector environment and its engines agree on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple
from typing import Protocol as Interface

import numpy as np
from numpy.typing import NDArray

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
    """What a step of all N worlds came to.

    Attributes:
        observations: [N, O].
        rewards: [N].
        successes: bool [N], or float [N] with NaN where nothing is said of success.
        faults: says for some worlds, by position, what went wrong: they have to be reset, and the transition not to be
            used.
        terminations, truncations: bool [N]; None where no episode of the engine ends by itself.
    """

    observations: NDArray[np.float64]
    rewards: NDArray[np.float64]
    successes: NDArray[Any]
    faults: Mapping[int, str]
    terminations: NDArray[np.bool_] | None = None
    truncations: NDArray[np.bool_] | None = None


class Engine(Interface):
    """Simulates all N worlds.

    Attributes:
        observation_size, action_size: O and A.
        keeps_state: whether worlds go on where they were; otherwise `get_state` gives nothing.
    """

    observation_size: int
    action_size: int
    keeps_state: bool

    def reset(self, positions: NDArray[np.intp], starts: NDArray[np.float64], /) -> NDArray[np.float64]:
        """Starts new episodes in n worlds.

        Args:
            starts: how things are placed: goals [n, 6] (one of three numbers is padded); or seeds [n, 1].

        Returns:
            Their first observations [n, O].
        """

    def step(self, actions: NDArray[np.float64]) -> Transitions:
        """One step of every world, with actions [N, A] in [-1, 1]. What it returns is not changed later."""

    def get_state(self) -> NDArray[np.float64]:
        """All that the future of the worlds depends on [N, ...]."""

    def set_state(self, state: NDArray[np.float64], observations: NDArray[np.float64]) -> None:
        """Takes back what `get_state` gave, and the last observations [N, O]: the worlds go on bit-equal.

        Raises:
            ValueError: it is of another shape.
        """

    def close(self) -> None:
        """Ends its threads and processes; once more does nothing."""
