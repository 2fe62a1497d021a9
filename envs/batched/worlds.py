"""All worlds of a process: what a step of theirs takes besides the physics is compiled."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import accumulate

import numpy as np
from numpy.typing import NDArray

from envs.batched.arrays import Array
from envs.batched.judgement import RESULTS, judgement
from envs.batched.native import Kernel
from envs.batched.observation import FRAME_SIZE, complete, frame
from envs.batched.simulation import Simulation, aim, squeeze
from envs.batched.task import load_task
from envs.goals import RESET_SPACES
from envs.worlds import ACTION_SIZE, GOAL_SIZE, OBSERVATION_SIZE


@dataclass(frozen=True)
class Rows:
    """Arrays over n worlds that are changed in place.

    Attributes:
        actions: of the step being made [n, 4].
        hands: where the hands are to be [n, 3].
        fingers: the controls of the fingers [n, 2].
        times: of the simulation [n].
        frames: the current frame, which the next observation shows as the previous one [n, 18].
        observations: of the last step [n, 39]; and likewise `rewards` and `successes` [n].
        diverged: whether the simulation did, in that step [n].
        finite: whether observation and reward are [n].
    """

    actions: NDArray[np.float64]
    hands: NDArray[np.float64]
    fingers: NDArray[np.float64]
    times: NDArray[np.float64]
    frames: NDArray[np.float64]
    observations: NDArray[np.float64]
    rewards: NDArray[np.float64]
    successes: NDArray[np.bool_]
    diverged: NDArray[np.bool_]
    finite: NDArray[np.bool_]

    @classmethod
    def zeros(cls, count: int) -> Rows:
        return cls(
            actions=np.zeros((count, ACTION_SIZE)),
            hands=np.zeros((count, 3)),
            fingers=np.zeros((count, 2)),
            times=np.zeros(count),
            frames=np.zeros((count, FRAME_SIZE)),
            observations=np.zeros((count, OBSERVATION_SIZE)),
            rewards=np.zeros(count),
            successes=np.zeros(count, dtype=np.bool_),
            diverged=np.zeros(count, dtype=np.bool_),
            finite=np.zeros(count, dtype=np.bool_),
        )

    def __getitem__(self, rows: slice) -> Rows:
        return Rows(**{name: array[rows] for name, array in vars(self).items()})


class TaskWorlds:
    """The n worlds of one task, as arrays.

    Args:
        rows: their arrays, which may be parts of larger ones.

    Attributes:
        goals: the goal of each world's last reset [n, 6].
        fields: what the rewards need to know of the episode, by name [n, ...].
        judge: computes the rows of a step from what the sensors say; there is one from the first reset on.
    """

    judge: Kernel

    def __init__(self, name: str, reward_version: str, rows: Rows) -> None:
        self.name, self.rows = name, rows
        self.task = load_task(name)
        self.simulation = Simulation(self.task, len(rows.hands))
        simulation = self.simulation
        simulation.hands, simulation.fingers, simulation.times = rows.hands, rows.fingers, rows.times
        self.goal_size = len(RESET_SPACES[name].low)
        self.goals = np.zeros((len(rows.hands), GOAL_SIZE))
        self.fields: dict[str, NDArray[np.float64]] = {}
        self._reward_version = reward_version
        self._starts: dict[bytes, tuple[NDArray[np.float64], NDArray[np.float64], dict[str, Array]]] = {}

    def reset(self, index: int, goal: NDArray[np.float64]) -> NDArray[np.float64]:
        """A new episode in one world; returns its first observation, the only one that is not clipped [39]."""
        state, first, fields = self._start(goal)
        if not self.fields:
            self.fields = {name: np.zeros((len(self.goals), *value.shape)) for name, value in fields.items()}
            self.judge = self._compile()
        self.goals[index] = goal
        self.simulation.set_state(index, state)
        self.rows.frames[index] = first
        for name, value in fields.items():
            self.fields[name][index] = value
        return np.concatenate([first, first, fields["target"]])

    def _start(
        self, goal: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64], dict[str, Array]]:
        """What an episode at this goal begins with. It depends on nothing else, so it is computed once per goal."""
        key = goal.tobytes()
        if key not in self._starts:
            state, readings, fields = self.simulation.reset(goal[: self.goal_size])
            self._starts[key] = state, frame(complete(readings, self.task))[0], fields
        return self._starts[key]

    def _compile(self) -> Kernel:
        rows = vars(self.rows)
        before = {name: rows[name] for name in ("actions", "frames", "times")}
        after = {name: rows[name] for name in RESULTS}
        return Kernel(
            judgement(self.task, self._reward_version),
            {"sensors": self.simulation.sensors, **before, **self.fields},
            {**after, **{name: self.fields[name] for name in self.task.remembered}},
        )


class Worlds:
    """The N worlds of several tasks, task by task.

    Args:
        counts: how many worlds of each task.

    Attributes:
        rows: their arrays [N, ...].
        groups: the worlds of each task.
    """

    def __init__(self, counts: Mapping[str, int], reward_version: str) -> None:
        ends = list(accumulate(counts.values()))
        self.count = ends[-1]
        self.rows = Rows.zeros(self.count)
        parts = [slice(end - count, end) for end, count in zip(ends, counts.values(), strict=True)]
        self.groups = [
            TaskWorlds(name, reward_version, self.rows[part])
            for name, part in zip(counts, parts, strict=True)
        ]
        self._places = [(group, i) for group in self.groups for i in range(counts[group.name])]
        tasks = [group.task for group, _ in self._places]
        low, high = np.array([task.hand_low for task in tasks]), np.array([task.hand_high for task in tasks])
        rows = self.rows
        self._aim = Kernel(
            lambda row: {
                "hands": aim(row["hands"], row["actions"], row["low"], row["high"]),
                "fingers": squeeze(row["actions"]),
            },
            {"hands": rows.hands, "actions": rows.actions, "low": low, "high": high},
            {"hands": rows.hands, "fingers": rows.fingers},
        )

    def place(self, index: int) -> tuple[TaskWorlds, int]:
        """The group that a world belongs to, and which of the group it is."""
        return self._places[index]

    def reset(self, index: int, goal: NDArray[np.float64]) -> NDArray[np.float64]:
        """A new episode in one world; returns its first observation [39]."""
        group, i = self._places[index]
        return group.reset(i, goal)

    def step(self, actions: NDArray[np.float64]) -> Rows:
        """One environment step of all worlds, with actions [N, 4] clipped to [-1, 1]; the next one overwrites what
        it returns."""
        self.rows.actions[:] = actions
        self._aim()
        for group in self.groups:
            group.simulation.advance()
            group.judge()
        return self.rows
