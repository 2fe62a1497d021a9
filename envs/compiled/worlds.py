"""The worlds of a task, which lie in records: what a step of one takes is compiled."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache, partial
from typing import Any

import envs.headless  # noqa: F401  (before MuJoCo)

# isort: split
import mujoco
import numpy as np
from numpy.typing import NDArray

from envs.compiled.arrays import Array, Arrays
from envs.compiled.floats import standard_floats
from envs.compiled.machine_code import Code
from envs.compiled.native import Place, define
from envs.compiled.observation import FRAME_SIZE, complete, frame
from envs.compiled.outcome import outcome_of
from envs.compiled.simulation import ACTION_SCALE, Simulation
from envs.compiled.step import define_step, load_library
from envs.compiled.task import Task, load_task
from envs.worlds import ACTION_SIZE, OBSERVATION_SIZE

STATE_SIZE = 128

RECORD = np.dtype(
    [
        ("state", np.float64, STATE_SIZE),
        ("action", np.float64, ACTION_SIZE),
        ("observation", np.float64, OBSERVATION_SIZE),
        ("reward", np.float64),
        ("task", np.int64),
        ("cost", np.int64),
        ("success", np.bool_),
        ("invalid", np.bool_),
        ("diverged", np.bool_),
    ],
    align=True,
)
"""What is known of a world.

"state" is all that its future depends on: the vector of its simulation, its current frame, which the next observation
shows as the previous one, and what the rewards need to know of the episode. "action" is read by a step, which writes
"observation" [39], "reward", "success", whether the simulation "diverged", and whether the transition is "invalid".
"task" is its task's number, "cost" the nanoseconds of its last step.
"""


class CompiledTask:
    """A task of Meta-World with one of its reward versions, as machine code.

    Attributes:
        simulation: of which each thread needs a copy.
        size: how much of a record's "state" is used.
        parts: where in it is what, by name, and its shape: "simulation", "frame", and what the rewards need to know.
        step, outcome: the addresses of functions (see `define_step`).
    """

    def __init__(self, name: str, reward_version: str) -> None:
        load_library()
        self.task = load_task(name)
        with standard_floats():
            self.simulation = Simulation(self.task)
            low = np.array(self.task.reset_low)
            given = self.simulation.copy().place(low) | {"tcp_start": low[:3]}
        self._goal_size = len(low)
        shapes = {name: value.shape for name, value in given.items()}
        self.parts: dict[str, tuple[slice, tuple[int, ...]]] = {}
        self.size = 0
        for part, shape in {"simulation": (self.simulation.size,), "frame": (FRAME_SIZE,), **shapes}.items():
            end = self.size + math.prod(shape)
            self.parts[part] = slice(self.size, end), shape
            self.size = end
        assert self.size <= STATE_SIZE
        self._starts: dict[bytes, tuple[NDArray[np.float64], NDArray[np.float64]]] = {}
        self._code = self._compile(reward_version)
        self.step, self.outcome = self._code("step"), self._code("outcome")

    def _compile(self, reward_version: str) -> Callable[[str], int]:
        task, simulation, code = self.task, self.simulation, Code()
        fields = {name: _place("state", shape, part.start) for name, (part, shape) in self.parts.items()}
        vector, frames = fields.pop("simulation"), fields.pop("frame")
        hand, fingers, time = (
            Place(0, vector.offset + 8 * part.start, shape)
            for part, shape in ((simulation.hand, (3,)), (simulation.fingers, (2,)), (simulation.time, ()))
        )
        action = _place("action", (ACTION_SIZE,))
        targets = {"hands": hand, "fingers": fingers}
        aiming = define(code, "aim", partial(_aim, task), {"hands": hand, "actions": action}, targets)
        observation = _place("observation", (OBSERVATION_SIZE,))
        outcome = define(
            code,
            "outcome",
            outcome_of(task, reward_version),
            {
                "sensors": Place(1, 0, (simulation.model.nsensordata,)),
                "actions": action,
                "frames": frames,
                "observations": observation,
                "times": time,
                **fields,
            },
            {
                "frames": frames,
                "observations": observation,
                "rewards": _place("reward"),
                "successes": _place("success", dtype=np.bool_),
                "diverged": _place("diverged", dtype=np.bool_),
                "invalid": _place("invalid", dtype=np.bool_),
                **{name: fields[name] for name in task.remembered},
            },
            num_pointers=2,
        )
        define_step(code, "step", simulation, vector, aiming, outcome)
        return code.compile()

    def views(self, records: NDArray[np.void]) -> dict[str, NDArray[np.float64]]:
        """The parts of the states of n worlds of this task, by name [n, ...]; to change them changes the records."""
        return {
            name: records["state"][:, part].reshape(len(records), *shape)
            for name, (part, shape) in self.parts.items()
        }

    def start(
        self, goal: NDArray[np.float64], model: mujoco.MjModel
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """How an episode begins at a goal: a record's "state", and the first observation, the only one that is not
        clipped.

        It depends on nothing else, so it is computed once per goal: Meta-World resets twice, and lets the hand settle
        for 50 steps each time.

        Args:
            model: of a copy of this task's simulation, to do it in.
        """
        key = goal.tobytes()
        if key not in self._starts:
            with standard_floats():
                vector, readings, fields = self.simulation.copy(model).reset(goal[: self._goal_size])
            first = frame(complete(readings, self.task))[0]
            record = np.zeros(1, RECORD)
            views = self.views(record)
            for name, value in {"simulation": vector, "frame": first, **fields}.items():
                views[name][0] = value
            self._starts[key] = record["state"][0], np.concatenate([first, first, fields["target"]])
        return self._starts[key]

    def has_start(self, goal: NDArray[np.float64]) -> bool:
        """Whether `start` need not compute anything."""
        return goal.tobytes() in self._starts


def _aim(task: Task, record: Arrays) -> dict[str, Array]:
    """What an action [n, 4] does: it moves where the hand is to be [n, 3], within a box, and controls the fingers."""
    hands = record["hands"] + record["actions"][:, :3] * ACTION_SCALE
    return {
        "hands": np.minimum(np.maximum(hands, np.array(task.hand_low)), np.array(task.hand_high)),
        "fingers": record["actions"][:, 3:] * np.array([1.0, -1.0]),
    }


@cache
def compiled_task(name: str, reward_version: str) -> CompiledTask:
    return CompiledTask(name, reward_version)


def _place(name: str, shape: tuple[int, ...] = (), start: int = 0, dtype: Any = np.float64) -> Place:
    assert RECORD.fields is not None
    return Place(0, RECORD.fields[name][1] + 8 * start, shape, dtype)
