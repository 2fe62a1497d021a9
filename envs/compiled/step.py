"""A whole step of a world as machine code, which calls MuJoCo's library.

With Python between the calls, a step would take several microseconds more, and hold the lock that other threads need.
"""

from __future__ import annotations

from pathlib import Path

import llvmlite.binding as llvm
from llvmlite import ir

from envs.compiled.machine_code import DOUBLE, INT32, POINTER, VOID, Code, field, function_at, load
from envs.compiled.native import Place
from envs.compiled.scene import FRAME_SKIP
from envs.compiled.simulation import NUM_ADDRESSES, SPECIFICATION, Simulation
from envs.headless import mujoco

_FUNCTIONS = {
    "mj_setState": (POINTER, INT32),
    "mj_getState": (POINTER, INT32),
    "mj_checkPos": (),
    "mj_checkVel": (),
    "mj_forwardSkip": (INT32, INT32),
    "mj_checkAcc": (),
    "mj_Euler": (),
    "mj_forward": (),
}


def load_library() -> None:
    """Makes the functions of MuJoCo's library known to what is compiled.

    Raises:
        RuntimeError: it is not where MuJoCo's package has it on the platforms that are known.
    """
    package = Path(mujoco.__file__).parent
    found = [*package.glob("libmujoco*.so*"), *package.glob("libmujoco*.dylib"), *package.glob("mujoco.dll")]
    if not found:
        raise RuntimeError(
            f"The batched engine needs MuJoCo's library, which is expected in {package}, but is not there: use the "
            "reference engine (--engine reference), or install MuJoCo from PyPI."
        )
    llvm.load_library_permanently(str(found[0]))


def define_step(
    code: Code, name: str, simulation: Simulation, state: Place, aim: ir.Function, outcome: ir.Function
) -> None:
    """Adds the function that makes a step, given `Simulation.addresses` and the address of a world's record.

    Args:
        state: where in the record the simulation's vector is.
        aim: moves the targets in the vector, given the record.
        outcome: makes of the sensors what a step came to, given the record and the sensors.
    """
    builder = code.define(name, VOID, [POINTER, POINTER])
    addresses, record = builder.function.args
    *loaded, feel = range(NUM_ADDRESSES)
    model, data, sensors, body_pos, site_pos = (load(builder, addresses, i, POINTER) for i in loaded)
    vector = field(builder, record, state.offset // 8, DOUBLE)

    def call(name: str, *arguments: ir.Value) -> None:
        function = code.declare(name, VOID, [POINTER, POINTER, *_FUNCTIONS[name]])
        builder.call(function, [model, data, *arguments])

    builder.call(aim, [record])
    call("mj_setState", vector, INT32(SPECIFICATION))
    places = [(body_pos, 3 * i + k) for i in simulation.bodies for k in range(3)]
    places += [(site_pos, 3 * i + k) for i in simulation.sites for k in range(3)]
    for index, (array, i) in enumerate(places, simulation.physics_size):
        builder.store(load(builder, vector, index, DOUBLE), field(builder, array, i, DOUBLE))
    for _ in range(FRAME_SKIP):  # `mj_step`, but for the sensors
        call("mj_checkPos")
        call("mj_checkVel")
        call("mj_forwardSkip", INT32(0), INT32(1))
        call("mj_checkAcc")
        call("mj_Euler")
    call("mj_forward")
    if simulation.feels:
        builder.call(function_at(builder, addresses, feel, []), [])
    builder.call(outcome, [record, sensors])
    call("mj_getState", vector, INT32(SPECIFICATION))
    builder.ret_void()
