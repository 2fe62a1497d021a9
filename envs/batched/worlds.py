"""The worlds of one task, which lie in the buffers: what a step of one takes besides the physics is compiled."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from envs.batched.arrays import Array
from envs.batched.judgement import judgement
from envs.batched.native import Kernel
from envs.batched.observation import FRAME_SIZE, complete, frame
from envs.batched.simulation import Simulation, aim, squeeze
from envs.batched.step import Step
from envs.batched.task import load_task
from envs.goals import RESET_SPACES
from envs.worlds import GOAL_SIZE, ROW_SIZE, Buffers


class TaskWorlds:
    """The worlds of one task that are in the buffers, at any of the N positions.

    A world's row (`Buffers.rows`) holds the goal of its last reset, the vector of its simulation, its current frame,
    which the next observation shows as the previous one, and what the rewards need to know of the episode.

    Attributes:
        size: how much of a row is used.
        states: the vectors of the simulations [N, ...], as a view of the rows; likewise `frames` [N, 18].
        fields: what the rewards need to know, by name [N, ...], likewise.
        diverged: whether the simulation did in the step that was last made [N].
        step: makes one, with the actions that are in the buffers (see `envs.batched.step`).
        judge: its last part, which computes from what the sensors say what follows.
    """

    def __init__(self, name: str, reward_version: str, buffers: Buffers) -> None:
        self.name, self.buffers = name, buffers
        self.task = load_task(name)
        self.simulation = Simulation(self.task)
        self.diverged = np.zeros(len(buffers.rows), dtype=np.bool_)
        space = RESET_SPACES[name]
        self._goal_size = len(space.low)
        self._split(self._begin(np.resize(space.low, GOAL_SIZE))[2])
        self.judge = self._compile_judge(reward_version)
        self.step = Step(self.simulation, self.states, buffers, self._compile_aim(), self.judge)

    def _split(self, fields: dict[str, Array]) -> None:
        """Gives each part of a row its columns."""
        rows, start = self.buffers.rows, GOAL_SIZE
        shapes = {"states": (self.simulation.size,), "frames": (FRAME_SIZE,)}
        views: dict[str, NDArray[np.float64]] = {}
        for name, shape in [*shapes.items(), *((name, value.shape) for name, value in fields.items())]:
            end = start + math.prod(shape)
            views[name] = rows[:, start:end].reshape(len(rows), *shape)
            assert np.shares_memory(views[name], rows)
            start = end
        assert start <= ROW_SIZE
        self.size = start
        self.states, self.frames = views.pop("states"), views.pop("frames")
        self.fields = views

    # ---------------------------------------------------------------- one world

    def reset(self, position: int) -> NDArray[np.float64]:
        """A new episode at the goal that is due; returns its first observation, the only one that is not clipped."""
        goal = self.buffers.goals[position]
        start = self.buffers.starts[self.buffers.goal_numbers[position]]
        if not np.array_equal(start[:GOAL_SIZE], goal):
            start[GOAL_SIZE : self.size] = self._start(goal)
            start[:GOAL_SIZE] = (
                goal  # last: others may look for it, and if they make it again, it is the same
            )
        self.buffers.rows[position] = start
        first = self.frames[position]
        return np.concatenate([first, first, self.fields["target"][position]])

    # ---------------------------------------------------------------- the start of an episode

    def _start(self, goal: NDArray[np.float64]) -> NDArray[np.float64]:
        """What a row holds besides the goal. It depends on nothing else, so it is computed once per goal: it takes as
        long as a hundred steps."""
        state, first, fields = self._begin(goal)
        return np.concatenate([state, first, *(value.ravel() for value in fields.values())])

    def _begin(
        self, goal: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64], dict[str, Array]]:
        state, readings, fields = self.simulation.reset(goal[: self._goal_size])
        return state, frame(complete(readings, self.task))[0], fields

    # ---------------------------------------------------------------- machine code

    def _compile_aim(self) -> Kernel:
        """Moves the hand's target and the fingers' controls in the vector of a simulation."""
        task, simulation = self.task, self.simulation
        hands, fingers = self.states[:, simulation.hand], self.states[:, simulation.fingers]
        low, high = np.array(task.hand_low), np.array(task.hand_high)
        return Kernel(
            lambda row: {
                "hands": aim(row["hands"], row["actions"], low, high),
                "fingers": squeeze(row["actions"]),
            },
            {"hands": hands, "actions": self.buffers.actions},
            {"hands": hands, "fingers": fingers},
        )

    def _compile_judge(self, reward_version: str) -> Kernel:
        """Reads the sensors, of whichever world moved last, and writes a row and the buffers."""
        buffers, sensors = self.buffers, self.simulation.sensors
        before = {
            "actions": buffers.actions,
            "frames": self.frames,
            "observations": buffers.observations,
            "times": self.states[:, self.simulation.time.start],
        }
        after: dict[str, NDArray[np.float64] | NDArray[np.bool_]] = {
            "frames": self.frames,
            "observations": buffers.observations,
            "rewards": buffers.rewards,
            "successes": buffers.successes,
            "diverged": self.diverged,
            "invalid": buffers.invalid,
        }
        return Kernel(
            judgement(self.task, reward_version),
            {
                "sensors": np.broadcast_to(sensors, (len(buffers.rows), sensors.shape[1])),
                **before,
                **self.fields,
            },
            {**after, **{name: self.fields[name] for name in self.task.remembered}},
        )
