"""Environments of a user's, as tests need them."""

from typing import Any

import gymnasium
import numpy as np
from gymnasium.spaces import Box, Discrete


class Line(gymnasium.Env):
    """A point on a line from a random place: observations are place, last action and step; the reward is the place.

    Args:
        ends: terminate at this step.
        truncates: truncate at this step.
        bound: actions are in [-bound, 3·bound].
        says: the key in `info` for success, which is at the steps of `successes`; nothing is said before `said_from`.
    """

    def __init__(
        self,
        ends: int | None = None,
        truncates: int | None = None,
        bound: float = 1.0,
        says: str | None = None,
        successes: tuple[int, ...] = (),
        said_from: int = 1,
        fails_at: int | None = None,
        not_finite_at: int | None = None,
        size: int = 3,
    ) -> None:
        self.observation_space = Box(-np.inf, np.inf, (size,), np.float32)
        self.action_space = Box(-bound, 3 * bound, (1,), np.float32)
        self.ends, self.truncates, self.says = ends, truncates, says
        self.successes, self.said_from = successes, said_from
        self.fails_at, self.not_finite_at, self.size = fails_at, not_finite_at, size

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        super().reset(seed=seed)
        self.place, self.count, self.action = float(self.np_random.uniform()), 0, 0.0
        return self.observe(), {}

    def observe(self) -> np.ndarray:
        return np.resize(np.array([self.place, self.action, self.count], np.float32), self.size)

    def step(self, action: np.ndarray) -> Any:
        assert self.action_space.contains(action), action
        self.count += 1
        self.action = float(action[0])
        if self.count == self.fails_at:
            raise IndexError("the point is lost")
        info = {}
        if self.says is not None and self.count >= self.said_from:
            info[self.says] = self.count in self.successes
        reward = np.nan if self.count == self.not_finite_at else self.place
        return self.observe(), reward, self.count == self.ends, self.count == self.truncates, info


class Chooser(gymnasium.Env):
    """Its actions are not continuous."""

    observation_space = Box(-1.0, 1.0, (3,), np.float32)
    action_space = Discrete(2)


class Endless(Line):
    """Its actions have no bounds."""

    def __init__(self) -> None:
        super().__init__()
        self.action_space = Box(-np.inf, np.inf, (1,), np.float32)


class Picture(Line):
    """Its observations have three dimensions."""

    def __init__(self) -> None:
        super().__init__()
        self.observation_space = Box(0, 255, (4, 4, 3), np.uint8)


class NotOne:
    """No environment."""
