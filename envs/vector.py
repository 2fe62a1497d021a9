"""The vector environment: seeds x tasks x worlds, on any engine, with Gymnasium's conventions."""

from __future__ import annotations

import zlib
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Literal

import gymnasium
import numpy as np
from gymnasium.spaces import Box
from gymnasium.vector import AutoresetMode
from gymnasium.vector.utils import batch_space
from numpy.typing import ArrayLike, NDArray

from envs.benchmarks import Benchmark, Protocol
from envs.cores import available_cores, default_workers
from envs.goals import benchmark_goals
from envs.pool import Outcome, Pool
from envs.worlds import ACTION_SIZE, GOAL_SIZE, OBSERVATION_SIZE, World

GoalOrder = Literal["random", "sequential"]
_MAX_HORIZON = 500


class VectorEnv(gymnasium.vector.VectorEnv[NDArray[np.float64], NDArray[np.floating], NDArray[Any]]):
    """S seeds x T tasks x W worlds, flattened in this order: N worlds that never influence each other.

    Observations float64 [N, 39] (the goal in the last three numbers), actions [N, 4] (clipped to [-1, 1]),
    rewards float64 [N]. `terminations` are never set. `truncations` are set at the horizon, and after a
    fault. A world whose episode ended starts the next one in the same step: `observations` then holds the
    new episode's first one. Every step's `infos`, arrays over all worlds:

    - "success" [N]: whether the step just made solves the task;
    - "final_obs" [N, 39], where "_final_obs" [N]: the observation that the ended episode closed with;
    - "invalid" [N]: the world had a fault (its process died or hung, its simulation diverged, NaN) and was
      reset; the transition must not be learned from. `faults()` says what happened.

    What world w of a task sees depends on nothing but the seed, the task and w.

    Args:
        seeds: one per trained agent; they decide the goals, and which one comes when.
        engine: the engine's class, "module:Class".
        worlds_per_task: W.
        goal_order: "random" draws a goal at each reset; "sequential" takes goal (k·W + w) mod num_goals at
            reset k of world w, so that the W worlds of a task go through all goals in order.
        num_workers: processes to spread the worlds over (default: as `default_workers` says); 0 uses this one.
        timeout: seconds after which a worker process that does not answer is replaced.
        spin: whether processes may keep a core of their own busy for some milliseconds while they wait for each other,
            which makes steps quicker, or soon leave it to others.
        staggered: world w begins its first episode with w·horizon/W steps as already made, so that the episodes of a
            task end at different times, evenly spread. Later episodes have their full length.

    Raises:
        ValueError: a size is not positive, or the horizon is longer than Meta-World's 500 steps.
    """

    layout: tuple[int, int, int]

    def __init__(
        self,
        benchmark: Benchmark,
        protocol: Protocol,
        seeds: Sequence[int],
        engine: str,
        worlds_per_task: int = 1,
        goal_order: GoalOrder = "random",
        num_workers: int | None = None,
        timeout: float = 60.0,
        spin: bool = True,
        staggered: bool = False,
    ) -> None:
        _check(len(seeds) > 0, "At least one seed is expected, but none was given.")
        _check(
            worlds_per_task > 0, f"worlds_per_task is expected to be positive, but it is {worlds_per_task}."
        )
        _check(
            0 < protocol.horizon <= _MAX_HORIZON,
            f"The horizon is expected to be in [1, {_MAX_HORIZON}], but it is {protocol.horizon}.",
        )
        _check(
            0 < protocol.num_goals <= 50,
            f"num_goals is expected to be in [1, 50], but it is {protocol.num_goals}.",
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
        self.initial_seed = tuple(int(seed) for seed in seeds)
        self.layout = (len(seeds), len(benchmark.tasks), worlds_per_task)
        self.num_envs = int(np.prod(self.layout))
        self.metadata = {"autoreset_mode": AutoresetMode.SAME_STEP, "render_modes": []}
        self.single_observation_space = Box(-np.inf, np.inf, (OBSERVATION_SIZE,), np.float64)
        self.single_action_space = Box(-1.0, 1.0, (ACTION_SIZE,), np.float32)
        self.observation_space = batch_space(self.single_observation_space, self.num_envs)
        self.action_space = batch_space(self.single_action_space, self.num_envs)

        self._worlds: list[World] = []
        self._resets = np.zeros(self.num_envs, dtype=np.int64)
        self._elapsed = np.zeros(self.num_envs, dtype=np.int64)
        index = np.tile(np.arange(worlds_per_task), self.num_envs // worlds_per_task)
        self._first_elapsed = index * protocol.horizon // worlds_per_task * staggered
        self._faults: list[str] = []
        self._started = False
        self._seed(self.initial_seed)
        self._pool = Pool(
            engine,
            self._worlds,
            protocol,
            default_workers(available_cores()) if num_workers is None else num_workers,
            timeout,
            num_goals=self.layout[0] * self.layout[1] * protocol.num_goals,
            spin=spin,
        )

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
            seeds = [seed + i for i in range(self.layout[0])] if isinstance(seed, int) else list(seed)
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
        return self._pool.buffers.observations.copy(), {}

    def step(
        self, actions: ArrayLike
    ) -> tuple[NDArray[np.float64], NDArray[Any], NDArray[Any], NDArray[Any], dict[str, Any]]:
        """One environment step of every world.

        Raises:
            ValueError: the actions have the wrong shape or are not finite.
        """
        _check(self._started, "reset() is expected before the first step().")
        actions = np.asarray(actions, dtype=np.float64)
        if actions.shape != (self.num_envs, ACTION_SIZE):
            raise ValueError(
                f"Actions of shape ({self.num_envs}, {ACTION_SIZE}) are expected, but they have {actions.shape}."
            )
        _check(bool(np.isfinite(actions).all()), "Finite actions are expected, but some are NaN or infinite.")
        buffers = self._pool.buffers
        actions.clip(-1.0, 1.0, out=buffers.actions)
        self._elapsed += 1
        np.greater_equal(self._elapsed, self.protocol.horizon, out=buffers.cut)
        outcome = self._pool.step()
        invalid, truncations = buffers.invalid.copy(), buffers.cut | buffers.invalid
        rewards, successes = buffers.rewards.copy(), buffers.successes.copy()
        final_observations = np.zeros((self.num_envs, OBSERVATION_SIZE))
        if outcome.lost or any(truncations.tolist()):
            lost = list(outcome.lost)
            truncations[lost] = False  # `_recover` counts the resets of those
            final_observations[truncations] = buffers.final_observations[truncations]
            final_observations[lost] = buffers.observations[lost]
            self._count_resets(np.flatnonzero(truncations))
            self._recover(outcome.lost)
            invalid[lost] = truncations[lost] = True
            rewards[lost], successes[lost] = 0.0, False
        self._report(outcome)
        infos = {
            "success": successes,
            "final_obs": final_observations,
            "_final_obs": truncations.copy(),
            "invalid": invalid,
        }
        terminations = np.zeros(self.num_envs, dtype=np.bool_)
        return buffers.observations.copy(), rewards, terminations, truncations, infos

    def faults(self) -> list[str]:
        """What went wrong since the last call: a sentence for each world that was reset because of it."""
        faults, self._faults = self._faults, []
        return faults

    def pin(self) -> None:
        """From now on the calling thread and each worker process have a core of their own, if that takes every core.

        For the time in which other processes keep the rest busy, as an evaluation beside training does: on sixteen
        cores a step took a quarter longer otherwise, and one in ten took twice as long. What the thread starts
        meanwhile shares its core.
        """
        self._pool.pin()

    def unpin(self) -> None:
        """They may run wherever they could before."""
        self._pool.unpin()

    @property
    def processes(self) -> list[int]:
        """The ids of the worker processes."""
        return [worker.process.pid for worker in self._pool.workers]

    def close_extras(self, **kwargs: Any) -> None:
        self._pool.close()

    # ---------------------------------------------------------------- exact continuation

    def state_dict(self) -> dict[str, Any]:
        """Everything that the future depends on: arrays and a list of integers."""
        _check(self._started, "reset() is expected before state_dict().")
        results, failures = self._pool.call("get_state", [(positions,) for positions in self._shares()])
        if failures:
            raise RuntimeError(f"The environments cannot be saved: {next(iter(failures.values()))}.")
        rows = {position: row for result in results for position, row in result.items()}
        worlds = np.zeros((self.num_envs, max(len(row) for row in rows.values())))
        for position, row in rows.items():
            worlds[position, : len(row)] = row
        return {
            "seeds": list(self._seeds),
            "resets": self._resets.copy(),
            "elapsed": self._elapsed.copy(),
            "observations": self._pool.buffers.observations.copy(),
            "worlds": worlds,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Goes on where `state_dict` was called, bit for bit.

        Raises:
            ValueError: the state is that of another number of worlds.
        """
        worlds = np.asarray(state["worlds"], dtype=np.float64)
        _check(
            len(worlds) == self.num_envs,
            f"The state of {self.num_envs} worlds is expected, but it is that of {len(worlds)}.",
        )
        self._seed([int(seed) for seed in state["seeds"]])
        self._resets[:] = np.asarray(state["resets"])
        self._elapsed[:] = np.asarray(state["elapsed"])
        self._set_next_goals(np.arange(self.num_envs))
        self._started = True
        rows = [({position: worlds[position] for position in positions},) for positions in self._shares()]
        failures = self._pool.call("set_state", rows)[1]
        if failures:
            raise RuntimeError(f"The environments cannot be restored: {next(iter(failures.values()))}.")
        self._pool.buffers.observations[:] = np.asarray(state["observations"])

    # ---------------------------------------------------------------- goals and resets

    def _seed(self, seeds: Sequence[int]) -> None:
        """Back to the beginning: the worlds, their goals and no reset so far."""
        self._seeds = tuple(seeds)
        self._goals = [benchmark_goals(self.benchmark, seed) for seed in seeds]
        self._worlds = [
            World(position, self.benchmark.tasks[t], seeds[s], int(w))
            for position, (s, t, w) in enumerate(np.ndindex(*self.layout))
        ]
        self._resets[:] = 0

    def _goal_index(self, world: World, number: int) -> int:
        """Which goal reset `number` has: the number is part of the seed, so no generator needs saving."""
        num_goals, num_worlds = self.protocol.num_goals, self.layout[2]
        if self.goal_order == "sequential":
            return (number * num_worlds + world.index) % num_goals
        entropy = [world.seed, zlib.crc32(world.task.encode()), world.index, number]
        return int(np.random.default_rng(entropy).integers(num_goals))

    def _set_next_goals(self, positions: NDArray[np.intp]) -> None:
        buffers = self._pool.buffers
        for position in positions.tolist():
            s, t, _ = np.unravel_index(position, self.layout)
            index = self._goal_index(self._worlds[position], int(self._resets[position]))
            buffers.goals[position] = np.resize(self._goals[s][t][index], GOAL_SIZE)
            buffers.goal_numbers[position] = (s * self.layout[1] + t) * self.protocol.num_goals + index

    def _count_resets(self, positions: NDArray[np.intp]) -> None:
        """The worlds at these positions have begun an episode: the goal of the next one is due."""
        self._elapsed[positions] = np.where(self._resets[positions], 0, self._first_elapsed[positions])
        self._resets[positions] += 1
        self._set_next_goals(positions)

    def _reset(self, positions: NDArray[np.intp]) -> None:
        self._set_next_goals(positions)
        failures = self._call_reset(set(positions.tolist()))
        self._count_resets(positions)
        if failures:
            self._report(Outcome(lost=failures))
            self._recover(failures)

    def _call_reset(self, positions: Collection[int]) -> dict[int, str]:
        """Resets the worlds at these positions; for those that are lost because their worker failed, what happened."""
        chosen = [[p for p in share if p in positions] for share in self._shares()]
        failures = self._pool.call("reset", [(share,) for share in chosen])[1]
        lost = chosen if self._pool.portable else self._shares()
        for i in failures:
            self._pool.restart(i)
        return {position: reason for i, reason in failures.items() for position in lost[i]}

    # ---------------------------------------------------------------- faults

    def _shares(self) -> list[list[int]]:
        """The positions of the worlds that each engine resets."""
        return [[world.position for world in share] for share in self._pool.shares]

    def _report(self, outcome: Outcome) -> None:
        reasons = [(fault.position, fault.reason) for fault in outcome.faults]
        for position, reason in (*reasons, *outcome.lost.items()):
            self._faults.append(f"{self._worlds[position]}: {reason}; the world was reset.")
        self._faults.extend(f"no world was lost: {reason}; it was replaced." for reason in outcome.replaced)

    def _recover(self, lost: Collection[int]) -> None:
        """Resets the worlds whose workers failed and were replaced.

        Raises:
            RuntimeError: a worker fails again at once.
        """
        if lost:
            again = self._call_reset(lost)
            if again:  # of a worker that failed unnoticed while it had nothing to do: it is replaced by now
                again = self._call_reset(again)
            if again:
                raise RuntimeError(f"Worker processes keep failing: {next(iter(again.values()))}.")
            self._count_resets(np.array(list(lost), dtype=np.intp))


def _check(condition: bool, sentence: str) -> None:
    if not condition:
        raise ValueError(sentence)
