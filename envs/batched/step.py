"""A whole step of a world as one function of machine code, which calls MuJoCo's library.

With Python between the calls, a step would take several microseconds more, and drive the physics out of the caches.
"""

from __future__ import annotations

import ctypes

import mujoco
import numpy as np
from numpy.typing import NDArray

from envs.batched.native import Kernel
from envs.batched.simulation import FRAME_SKIP, SPECIFICATION, Simulation
from envs.machine_code import compile_code, pointer
from envs.worlds import Buffers

_CODE = """
define i1 @step(i64 %i) {{
  %state.offset = mul i64 %i, {state_size}
  %state = getelementptr i8, ptr {states}, i64 %state.offset
  call void {aim}(i64 %i)
  call void {mj_setState}(ptr {model}, ptr {data}, ptr %state, i32 {specification})
  {places}
  store i32 {flags_without_sensors}, ptr {flags_place}
  {steps}
  store i32 {flags}, ptr {flags_place}
  call void {mj_forward}(ptr {model}, ptr {data})
  {feel}
  call void {judge}(i64 %i)
  call void {mj_getState}(ptr {model}, ptr {data}, ptr %state, i32 {specification})
  %cut.place = getelementptr i8, ptr {cut}, i64 %i
  %cut = load i8, ptr %cut.place
  %invalid.place = getelementptr i8, ptr {invalid}, i64 %i
  %invalid = load i8, ptr %invalid.place
  %either = or i8 %cut, %invalid
  %ended = icmp ne i8 %either, 0
  ret i1 %ended
}}
"""
_NUMBER = """%from.{i} = getelementptr double, ptr %state, i64 {index}
  %number.{i} = load double, ptr %from.{i}
  store double %number.{i}, ptr {place}"""
_LIBRARY = ctypes.CDLL(mujoco._functions.__file__)  # its symbols include MuJoCo's own, which it is linked to
_FUNCTIONS = {
    name: pointer(ctypes.cast(_LIBRARY[name], ctypes.c_void_p).value or 0)
    for name in ("mj_setState", "mj_getState", "mj_step", "mj_forward")
}
_NO_SENSORS = int(mujoco.mjtDisableBit.mjDSBL_SENSOR)


class Step:
    """A call with i is a step of world i; it says whether the episode is over, at a cut or by a fault.

    Args:
        simulation: of the worlds' task.
        states: the vectors of the worlds [N, size].
        aim: moves the targets in the vector of a world.
        judge: makes of the sensors what follows from a step.

    Attributes:
        address: of the function, which takes 64 bits and gives one.
    """

    def __init__(
        self,
        simulation: Simulation,
        states: NDArray[np.float64],
        buffers: Buffers,
        aim: Kernel,
        judge: Kernel,
    ) -> None:
        feel = ctypes.CFUNCTYPE(None)(simulation.feel)
        feel_address = ctypes.cast(feel, ctypes.c_void_p).value or 0
        flags = simulation.model.opt.disableflags
        model, data = pointer(simulation.model._address), pointer(simulation.moving._address)
        code = _CODE.format(
            model=model,
            data=data,
            specification=SPECIFICATION,
            states=pointer(states.ctypes.data),
            state_size=states.strides[0],
            aim=pointer(aim.address),
            judge=pointer(judge.address),
            places="\n  ".join(_numbers(simulation)),
            flags=flags,
            flags_without_sensors=flags | _NO_SENSORS,
            flags_place=pointer(_flags_address(simulation.model)),
            steps="\n  ".join([f"call void {_FUNCTIONS['mj_step']}(ptr {model}, ptr {data})"] * FRAME_SKIP),
            feel=f"call void {pointer(feel_address)}()" if simulation.feels else "",
            cut=pointer(buffers.cut.ctypes.data),
            invalid=pointer(buffers.invalid.ctypes.data),
            **_FUNCTIONS,
        )
        self._engine = compile_code(code)
        self._used = (simulation, states, buffers, aim, judge, feel)
        self.address = self._engine.get_function_address("step")
        self._call = ctypes.CFUNCTYPE(ctypes.c_bool, ctypes.c_int64)(self.address)

    def __call__(self, i: int) -> bool:
        ended: bool = self._call(i)
        return ended


def _numbers(simulation: Simulation) -> list[str]:
    """What copies the places of what resets move from the end of a world's vector into the model."""
    places = [moved.ctypes.data + 8 * k for moved in simulation.moved for k in range(3)]
    return [
        _NUMBER.format(i=i, index=simulation.physics_size + i, place=pointer(place))
        for i, place in enumerate(places)
    ]


def _flags_address(model: mujoco.MjModel) -> int:
    """Where `mjOption.disableflags` is: eight integers after `o_friction`, as mjmodel.h of MuJoCo 3.3 has it."""
    friction = model.opt.o_friction
    address: int = friction.ctypes.data + friction.nbytes + 8 * ctypes.sizeof(ctypes.c_int)
    there = ctypes.c_int.from_address(address)
    before = model.opt.disableflags
    model.opt.disableflags = before ^ _NO_SENSORS
    assert there.value == before ^ _NO_SENSORS
    model.opt.disableflags = before
    assert there.value == before
    return address
