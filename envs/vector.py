"""The vector environment: seeds x tasks x worlds, on any engine, with Gymnasium's conventions."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import gymnasium
import numpy as np
from gymnasium.spaces import Box
from gymnasium.vector import AutoresetMode
from gymnasium.vector.utils import batch_space
from numpy.typing import ArrayLike, NDArray

from envs.benchmarks import Benchmark, Protocol
from envs.cores import available_cores
from envs.custom import CustomBenchmark, CustomProtocol, episode_seed
from envs.goals import benchmark_goals
from envs.worlds import GOAL_SIZE, Engine, World

GoalOrder = Literal["random", "sequential"]


class VectorEnv(gymnasium.vector.VectorEnv[NDArray[np.float64], NDArray[np.floating], NDArray[Any]]):
    """S seeds x T tasks x W worlds, flattened in this order: N worlds that never influence each other.

    Observations float64 [N, O], actions [N, A] (clipped to [-1, 1]), rewards float64 [N]; in Meta-World O is 39, with
    the goal in the last three numbers, and A is 4. `terminations` are set where a task ends by itself, in Meta-World
    never. `truncations` are set at the horizon, and after a fault. A world whose episode ended starts the next one in
    the same step: `observations` then holds the new episode's first one. Every step's `infos`, arrays over all worlds:

    - "success" [N]: whether the step just made solves the task; where nothing says so, NaN;
    - "final_obs" [N, O], where "_final_obs" [N]: the observation that the ended episode closed with;
    - "invalid" [N]: the world had a fault (its simulation diverged, NaN) and was reset; the transition must not be
      learned from. `faults()` says what happened.

    What world w of a task sees depends on nothing but the seed, the task and w.

    Args:
        seeds: one per trained agent; they decide the goals, and which one comes when, or from which seeds the episodes
            of environments of the user's start.
        engine: makes the engine of worlds, protocol and number of workers.
        worlds_per_task: W.
        goal_order: "random" draws a goal at each reset; "sequential" takes goal (k·W + w) mod num_goals at
            reset k of world w, so that the W worlds of a task go through all goals in order. (Episode k·W + w of an
            environment of the user's then has a seed of its own, whatever W is.)
        num_workers: threads that simulate, the calling one among them (default: one per core), and no more than there
            are worlds. The engine reference has as many processes, gymnasium one per world, and both none with 0.
        staggered: world w begins its first episode with w·horizon/W steps as already made, so that the episodes of a
            task end at different times, evenly spread. Later episodes have their full length.

    Raises:
        ValueError: a size is not positive.

    Attributes:
        layout: (S, T, W).
        keeps_state: whether `load_state_dict` continues episodes; otherwise `reset` is to follow it.
    """

    layout: tuple[int, int, int]

    def __init__(
        self,
        benchmark: Benchmark | CustomBenchmark,
        protocol: Protocol | CustomProtocol,
        seeds: Sequence[int],
        engine: Callable[[Sequence[World], Any, int], Engine],
        worlds_per_task: int = 1,
        goal_order: GoalOrder = "random",
        num_workers: int | None = None,
        staggered: bool = False,
    ) -> None:
        _check(len(seeds) > 0, "At least one seed is expected, but none was given.")
        _check(
            worlds_per_task > 0, f"worlds_per_task is expected to be positive, but it is {worlds_per_task}."
        )
        _check(
            goal_order in ("random", "sequential"),
            f"goal_order is expected to be 'random' or 'sequential', but it is {goal_order!r}.",
        )
        _check(
            num_workers is None or num_workers >= 0,
            f"num_workers is expected to be 0 or more, but it is {num_workers}.",
        )
        self.benchmark, self.protocol, self.goal_order = benchmark, protocol, goal_order
        self.initial_seeds = tuple(int(seed) for seed in seeds)
        self.layout = (len(seeds), len(benchmark.tasks), worlds_per_task)
        self.num_envs = int(np.prod(self.layout))
        self.metadata = {"autoreset_mode": AutoresetMode.SAME_STEP, "render_modes": []}
        self._worlds: list[World] = []
        self._resets = np.zeros(self.num_envs, dtype=np.int64)
        self._elapsed = np.zeros(self.num_envs, dtype=np.int64)
        index = np.tile(np.arange(worlds_per_task), self.num_envs // worlds_per_task)
        self._first_elapsed = index * protocol.horizon // worlds_per_task * staggered
        self._faults: list[str] = []
        self._started = False
        self._seed(self.initial_seeds)
        self._engine = engine(
            self._worlds, protocol, available_cores() if num_workers is None else num_workers
        )
        self.keeps_state = self._engine.keeps_state
        observation_size, action_size = self._engine.observation_size, self._engine.action_size
        self.single_observation_space = Box(-np.inf, np.inf, (observation_size,), np.float64)
        self.single_action_space = Box(-1.0, 1.0, (action_size,), np.float32)
        self.observation_space = batch_space(self.single_observation_space, self.num_envs)
        self.action_space = batch_space(self.single_action_space, self.num_envs)
        self._observations = np.zeros((self.num_envs, observation_size))

    # ---------------------------------------------------------------- episodes

    def reset(
        self, *, seed: int | Sequence[int] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[np.float64], dict[str, Any]]:
        """Starts a new episode in every world, or in those of `options["reset_mask"]` (bool [N]).

        Args:
            seed: everything as in an environment newly made with these seeds: S of them, or the first of S
                successive ones. None goes on with the goals where they were.
        """
        if seed is not None:
            seeds = (
                [seed + i for i in range(self.layout[0])]
                if isinstance(seed, (int, np.integer))
                else list(seed)
            )
            _check(
                len(seeds) == self.layout[0],
                f"{self.layout[0]} seeds are expected, but {len(seeds)} were given.",
            )
            self._seed([int(s) for s in seeds])
        mask = np.ones(self.num_envs, dtype=np.bool_)
        if options is not None and "reset_mask" in options:
            mask = np.asarray(options["reset_mask"], dtype=np.bool_)
            _check(
                mask.shape == (self.num_envs,),
                f"reset_mask is expected to have shape ({self.num_envs},), but it has {mask.shape}.",
            )
            _check(self._started or bool(mask.all()), "The first reset is expected to be one of all worlds.")
        self._reset(np.flatnonzero(mask))
        self._started = True
        return self._observations.copy(), {}

    def step(
        self, actions: ArrayLike
    ) -> tuple[NDArray[np.float64], NDArray[Any], NDArray[Any], NDArray[Any], dict[str, Any]]:
        """One environment step of every world.

        Raises:
            ValueError: the actions have the wrong shape or are not finite.
        """
        _check(self._started, "reset() is expected before the first step().")
        actions = np.asarray(actions, dtype=np.float64)
        if actions.shape != self.action_space.shape:
            raise ValueError(
                f"Actions of shape {self.action_space.shape} are expected, but they have {actions.shape}."
            )
        _check(bool(np.isfinite(actions).all()), "Finite actions are expected, but some are NaN or infinite.")
        made = self._engine.step(actions.clip(-1.0, 1.0))
        self._elapsed += 1
        invalid = np.zeros(self.num_envs, dtype=np.bool_)
        invalid[list(made.faults)] = True
        self._faults += [
            f"{self._worlds[i]}: {reason}; the world was reset." for i, reason in made.faults.items()
        ]
        never = np.zeros(self.num_envs, dtype=np.bool_)
        terminations = never if made.terminations is None else made.terminations
        truncations = (self._elapsed >= self.protocol.horizon) | invalid
        if made.truncations is not None:
            truncations |= made.truncations
        ended = terminations | truncations
        self._observations = made.observations
        final_observations = np.where(ended[:, None], made.observations, 0.0)
        if ended.any():
            self._reset(np.flatnonzero(ended))
        infos = {
            "success": made.successes,
            "final_obs": final_observations,
            "_final_obs": ended,
            "invalid": invalid,
        }
        return self._observations.copy(), made.rewards, terminations, truncations, infos

    def faults(self) -> list[str]:
        """What went wrong since the last call: a sentence for each world that was reset because of it."""
        faults, self._faults = self._faults, []
        return faults

    def close_extras(self, **kwargs: Any) -> None:
        self._engine.close()

    def __reduce__(self) -> Any:
        raise TypeError(
            "An environment cannot be copied or sent to another process: make another one there "
            "(`VectorEnv(**envs.arguments(...))`) and give it this one's `state_dict()`."
        )

    # ---------------------------------------------------------------- exact continuation

    def state_dict(self) -> dict[str, Any]:
        """Everything that the future depends on: arrays and a list of integers."""
        _check(self._started, "reset() is expected before state_dict().")
        return {
            "seeds": list(self._seeds),
            "resets": self._resets.copy(),
            "elapsed": self._elapsed.copy(),
            "observations": self._observations.copy(),
            "worlds": self._engine.get_state(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Goes on where `state_dict` was called, bit for bit; without `keeps_state` with new episodes after a `reset`.

        Raises:
            ValueError: the state is that of another number of worlds, or of other tasks.
        """
        worlds = np.asarray(state["worlds"], dtype=np.float64)
        _check(
            len(worlds) == self.num_envs,
            f"The state of {self.num_envs} worlds is expected, but it is that of {len(worlds)}.",
        )
        self._observations = np.array(state["observations"])
        self._engine.set_state(worlds, self._observations)
        self._seed([int(seed) for seed in state["seeds"]])
        self._resets[:] = np.asarray(state["resets"])
        self._elapsed[:] = np.asarray(state["elapsed"])
        self._started = self.keeps_state

    # ---------------------------------------------------------------- goals and resets

    def _seed(self, seeds: Sequence[int]) -> None:
        """Back to the beginning: the worlds, their goals and no reset so far."""
        self._seeds = tuple(seeds)
        if isinstance(self.benchmark, Benchmark):
            self._goals = [benchmark_goals(self.benchmark, seed) for seed in seeds]
        self._worlds = [
            World(position, self.benchmark.tasks[t], seeds[s], int(w))
            for position, (s, t, w) in enumerate(np.ndindex(*self.layout))
        ]
        self._resets[:] = 0

    def _start(self, position: int) -> NDArray[np.float64]:
        """What the next episode of a world begins with, a goal [6] or a seed [1].

        Its number is part of what it is drawn from, so no generator needs saving.
        """
        world, number = self._worlds[position], int(self._resets[position])
        in_order = number * self.layout[2] + world.index
        numbers = [in_order] if self.goal_order == "sequential" else [world.index, number]
        if isinstance(self.protocol, CustomProtocol):
            return np.array([episode_seed(world.seed, world.task, *numbers)], dtype=np.float64)
        if self.goal_order == "sequential":
            index = in_order % self.protocol.num_goals
        else:
            entropy = [world.seed, zlib.crc32(world.task.encode()), *numbers]
            index = int(np.random.default_rng(entropy).integers(self.protocol.num_goals))
        s, t, _ = np.unravel_index(position, self.layout)
        return np.resize(self._goals[s][t][index], GOAL_SIZE)

    def _reset(self, positions: NDArray[np.intp]) -> None:
        """Starts new episodes in the worlds at these positions."""
        starts = np.stack([self._start(position) for position in positions.tolist()])
        self._observations[positions] = self._engine.reset(positions, starts)
        self._elapsed[positions] = np.where(self._resets[positions], 0, self._first_elapsed[positions])
        self._resets[positions] += 1


def _check(condition: bool, sentence: str) -> None:
    if not condition:
        raise ValueError(sentence)
