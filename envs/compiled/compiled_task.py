"""The worlds of a task, which lie in records: what a step of one takes is compiled."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial

import numpy as np
from numpy.typing import NDArray

from envs.compiled.arrays import Array, Arrays
from envs.compiled.machine_code import Code
from envs.compiled.native import Place, define, places_of
from envs.compiled.observation import FRAME_SIZE, complete, frame
from envs.compiled.outcome import outcome_of
from envs.compiled.simulation import ACTION_SCALE, Simulation
from envs.compiled.step import define_step, load_library
from envs.compiled.task import Task, load_task
from envs.headless import mujoco
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
        state: what a record's "state" begins with: "simulation", "frame", and what the rewards need to know of the
            episode, in all `size` numbers.
        step, outcome: the addresses of functions (see `define_step`).
        initial_states: of the goals that there have been so far (see `initial_state`).
    """

    def __init__(self, name: str, reward_version: str) -> None:
        load_library()
        self.task = load_task(name)
        self.simulation = Simulation(self.task)
        low = np.array(self.task.reset_low)
        given = self.simulation.copy().place(low) | {"tcp_start": low[:3]}
        shapes = {"simulation": (self.simulation.size,), "frame": (FRAME_SIZE,)}
        shapes |= {name: value.shape for name, value in given.items()}
        self.state = np.dtype([(name, np.float64, shape) for name, shape in shapes.items()])
        self.size = self.state.itemsize // 8
        assert self.size <= STATE_SIZE
        self.initial_states: dict[bytes, tuple[NDArray[np.float64], NDArray[np.float64]]] = {}
        self._code = self._compile(reward_version)
        self.step, self.outcome = self._code("step"), self._code("outcome")

    def _compile(self, reward_version: str) -> Callable[[str], int]:
        simulation, code = self.simulation, Code()
        record, state = places_of(RECORD), places_of(self.state)  # a record begins with its state
        del record["state"]
        vector = state.pop("simulation")
        hand, fingers, time = (
            Place(0, vector.offset + 8 * part.start, shape)
            for part, shape in ((simulation.hand, (3,)), (simulation.fingers, (2,)), (simulation.time, ()))
        )
        targets = {"hand": hand, "fingers": fingers, "action": record["action"]}
        aim = define(code, "aim", partial(_aim, self.task), targets)
        sensors = Place(1, 0, (simulation.model.nsensordata,))
        seen = {**record, **state, "time": time, "sensors": sensors}
        outcome = define(code, "outcome", outcome_of(self.task, reward_version), seen, num_pointers=2)
        define_step(code, "step", simulation, vector, aim, outcome)
        return code.compile()

    def states(self, records: NDArray[np.void]) -> NDArray[np.void]:
        """The states of n worlds of this task; to change them changes the records."""
        return records["state"][:, : self.size].view(self.state)[:, 0]

    def initial_state(
        self, goal: NDArray[np.float64], model: mujoco.MjModel
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """How an episode begins at a goal: its state, and the first observation, the only one that is not clipped.

        It depends on nothing else, so it is computed once per goal: Meta-World resets twice, and lets the hand settle
        for 50 steps each time.

        Args:
            model: of a copy of this task's simulation, to do it in.
        """
        key = goal.tobytes()
        if key not in self.initial_states:
            own = goal[: len(self.task.reset_low)]
            vector, readings, given = self.simulation.copy(model).reset(own)
            first = frame(complete(readings, self.task))[0]
            state = np.zeros(1, self.state)
            for name, value in {"simulation": vector, "frame": first, **given}.items():
                state[name] = value
            observation = np.concatenate([first, first, given["target"]])
            self.initial_states[key] = state.view(np.float64), observation
        return self.initial_states[key]


def _aim(task: Task, record: Arrays) -> dict[str, Array]:
    """What an action [n, 4] does: it moves where the hand is to be [n, 3], within a box, and controls the fingers."""
    hand = record["hand"] + record["action"][:, :3] * ACTION_SCALE
    return {
        "hand": np.minimum(np.maximum(hand, np.array(task.hand_low)), np.array(task.hand_high)),
        "fingers": record["action"][:, 3:] * np.array([1.0, -1.0]),
    }


@cache
def compiled_task(name: str, reward_version: str) -> CompiledTask:
    return CompiledTask(name, reward_version)
