"""MuJoCo for the worlds of one task: exactly what Meta-World does with it, without the Python around it.

What a world is lies in a vector: MuJoCo's integration state with the solver's warm start, and the places of what a
reset moved in the model. It is loaded into a model and its `MjData` before a step and stored after it.
"""

from __future__ import annotations

import copy
import ctypes
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from envs.compiled.arrays import Array
from envs.compiled.scene import FRAME_SKIP, Scene
from envs.compiled.task import Reading, Task
from envs.headless import mujoco

SETTLING_STEPS = 50
ACTION_SCALE = 1.0 / 100
_HAND_QUATERNION = (1.0, 0.0, 1.0, 0.0)

_STATE = mujoco.mjtState
SPECIFICATION = int(
    _STATE.mjSTATE_FULLPHYSICS
    | _STATE.mjSTATE_WARMSTART
    | _STATE.mjSTATE_CTRL
    | _STATE.mjSTATE_MOCAP_POS
    | _STATE.mjSTATE_MOCAP_QUAT
)
_OBJECTS = {
    "body": mujoco.mjtObj.mjOBJ_XBODY,
    "site": mujoco.mjtObj.mjOBJ_SITE,
    "geom": mujoco.mjtObj.mjOBJ_GEOM,
    "joint": mujoco.mjtObj.mjOBJ_JOINT,
}
_SENSORS = {
    "position": (mujoco.mjtSensor.mjSENS_FRAMEPOS,),
    "quaternion": (mujoco.mjtSensor.mjSENS_FRAMEQUAT,),
    "axes": (
        mujoco.mjtSensor.mjSENS_FRAMEXAXIS,
        mujoco.mjtSensor.mjSENS_FRAMEYAXIS,
        mujoco.mjtSensor.mjSENS_FRAMEZAXIS,
    ),
    "joint": (mujoco.mjtSensor.mjSENS_JOINTPOS,),
    "grip": (mujoco.mjtSensor.mjSENS_USER,),  # filled in by `Simulation.feel`
}
_WIDTHS = {"position": 3, "quaternion": 4, "axes": 9, "joint": 1, "grip": 1}
_PADS = ("leftpad_geom", "rightpad_geom")
_CALLBACK = ctypes.CFUNCTYPE(None)  # without arguments, a null pointer
NUM_ADDRESSES = 6

Columns = dict[str, slice | int]


def locate(readings: Mapping[str, Reading]) -> Columns:
    """Where each reading is in the row of sensor data, which the clock begins."""
    columns: Columns = {}
    start = 1
    for name, reading in readings.items():
        width = _WIDTHS[reading.kind]
        columns[name] = start if reading.kind == "joint" else slice(start, start + width)
        start += width
    return columns


def _assets() -> Path:
    """Where Meta-World keeps its models, found without importing it: that takes longer than compiling a model."""
    package = find_spec("metaworld")
    assert package is not None
    assert package.origin is not None
    return Path(package.origin).parent / "assets" / "sawyer_xyz"


def build_model(task: Task) -> mujoco.MjModel:
    """The task's model with a sensor for each reading, and with the weld that Meta-World sets between hand
    and mocap.

    Sensors only read, and what is there to be looked at only (two thirds of the geoms, and six sevenths of the
    memory) has no mass and touches nothing: with the one and without the other, the simulation is the same. MuJoCo
    would compile the meshes first and then discard them, which takes four times as long.
    """
    specification = mujoco.MjSpec.from_file(str(_assets() / task.model))
    specification.compiler.discardvisual = True
    read = {reading.name for reading in task.all_readings.values() if reading.object == "geom"}
    for geom in specification.geoms:
        if geom.contype == geom.conaffinity == 0 and geom.name not in read:
            geom.delete()
    used = {geom.meshname for geom in specification.geoms}
    for mesh in specification.meshes:
        if mesh.name not in used:
            mesh.delete()
    specification.add_sensor(type=mujoco.mjtSensor.mjSENS_CLOCK)
    for reading in task.all_readings.values():
        for sensor in _SENSORS[reading.kind]:
            specification.add_sensor(
                type=sensor, objtype=_OBJECTS[reading.object], objname=reading.name, dim=1
            )  # MuJoCo knows the dimension of its own sensors and takes ours for "grip" only
    model = specification.compile()
    welds = model.eq_type == mujoco.mjtEq.mjEQ_WELD
    model.eq_data[welds] = [0.0, 0.0, 0.0, 0.0, 0.0, 0.0, -1.0, 0.0, 0.0, 0.0, 5.0]
    return model


class Simulation(Scene):
    """A world of a task, which starts as a new one whose hand has settled.

    Attributes:
        size: of what a world is, as a vector: the integration state (`physics_size` numbers), then the places of the
            bodies and sites that the task's resets move.
        time, hand, fingers: where in the vector are its time, where its hand is to be [3], and the controls of its
            fingers [2].
    """

    def __init__(self, task: Task) -> None:
        super().__init__(build_model(task), task.moved_bodies, task.moved_sites)
        self.task, model = task, self.model
        assert (model.nmocap, model.nu, model.nplugin) == (1, 2, 0)
        assert (model.opt.integrator, model.opt.enableflags) == (mujoco.mjtIntegrator.mjINT_EULER, 0)
        self.physics_size = mujoco.mj_stateSize(model, SPECIFICATION)
        self.size = self.physics_size + 3 * len(self.bodies + self.sites)
        self.time, self.hand, self.fingers = (
            self._part(kind) for kind in (_STATE.mjSTATE_TIME, _STATE.mjSTATE_MOCAP_POS, _STATE.mjSTATE_CTRL)
        )
        self._columns = locate(task.all_readings)
        self._pads = [model.geom(name).id for name in _PADS]
        self._gripped = {
            model.geom(reading.name).id: self._columns[name]
            for name, reading in task.all_readings.items()
            if reading.kind == "grip"
        }
        self._settle()

    def _part(self, kind: mujoco.mjtState) -> slice:
        """Where in a world's vector one kind of state is."""
        start = mujoco.mj_stateSize(self.model, SPECIFICATION & (int(kind) - 1))
        return slice(start, start + mujoco.mj_stateSize(self.model, int(kind)))

    def copy(self, model: mujoco.MjModel | None = None) -> Simulation:
        """Another one in the same state, which another thread may use meanwhile.

        Args:
            model: of a copy, which is used again.
        """
        other = copy.copy(self)
        other.data = copy.copy(self.data)
        if self.bodies or self.sites:  # a model that nobody writes to is shared
            other.model = copy.copy(self.model) if model is None else model
            other.model.body_pos[:], other.model.site_pos[:] = self.model.body_pos, self.model.site_pos
        return other

    def addresses(self) -> list[int]:
        """What a step in this simulation needs to know of it, NUM_ADDRESSES integers (`envs.compiled.step`)."""
        model, data = self.model, self.data
        self._callback = _CALLBACK(self.feel) if self.feels else _CALLBACK()
        return [
            model._address,
            data._address,
            data.sensordata.ctypes.data,
            model.body_pos.ctypes.data,
            model.site_pos.ctypes.data,
            ctypes.cast(self._callback, ctypes.c_void_p).value or 0,
        ]

    # ---------------------------------------------------------------- what the sensors say

    def read(self, sensors: NDArray[np.float64]) -> dict[str, Array]:
        """The readings by name, as views of rows of sensor data."""
        return {name: sensors[:, column] for name, column in self._columns.items()}

    @property
    def feels(self) -> bool:
        """Whether some sensors are filled in by `feel`."""
        return bool(self._gripped)

    def feel(self) -> None:
        """Fills in what is gripped: what both pads touch with a force (of the first row of each contact)."""
        data = self.data
        geoms, rows = data.contact.geom, data.contact.efc_address
        forces = data.efc_force[rows]
        for geom, column in self._gripped.items():
            touches = (geoms == geom).any(axis=1)
            pressed = [forces[touches & (geoms == pad).any(axis=1)].sum() > 0 for pad in self._pads]
            data.sensordata[column] = all(pressed)

    # ---------------------------------------------------------------- a reset of one world

    def reset(
        self, goal: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], dict[str, Array], dict[str, Array]]:
        """A new episode at a goal [D], as Meta-World makes it in a new world: everything is done twice.

        The first pass matters only for what it moves in the model; then the data are reset, and the second pass settles
        the hand among the things moved.

        Returns:
            A world's vector [size], the readings [1, ...] (they may be stale, as Meta-World's are), and
            what `Task.reset` gave together with "tcp_start".
        """
        model, data = self.model, self.data
        self.place(goal)
        mujoco.mj_resetData(model, data)
        self._settle()
        tcp_start = self.tcp
        given = self.place(goal)
        state = np.empty(self.size)
        mujoco.mj_getState(model, data, state[: self.physics_size], SPECIFICATION)
        state[self.physics_size :] = [*model.body_pos[self.bodies].flat, *model.site_pos[self.sites].flat]
        sensors = data.sensordata[None].copy()
        for name, reading in self.task.all_readings.items():
            if reading.kind == "joint":  # Meta-World reads joints from qpos, which is never stale
                sensors[0, self._columns[name]] = data.joint(reading.name).qpos[0]
        return state, self.read(sensors), {**given, "tcp_start": tcp_start}

    def place(self, goal: NDArray[np.float64]) -> dict[str, Array]:
        """Places things for a goal [D] (`Task.reset`)."""
        given = self.task.reset(self, goal.copy())
        return {name: np.asarray(value, np.float64) for name, value in given.items()}

    def _settle(self) -> None:
        """Puts the hand at its start, gripper open."""
        self.data.mocap_pos[0] = self.task.hand_start
        self.data.mocap_quat[0] = _HAND_QUATERNION
        self.data.ctrl[:] = [-1.0, 1.0]
        mujoco.mj_step(self.model, self.data, SETTLING_STEPS * FRAME_SKIP)
