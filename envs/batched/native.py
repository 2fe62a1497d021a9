"""Compiles a function of arrays to machine code: one call does what takes NumPy a call for each operation.

The function is traced (`envs.batched.trace`), and its operations become LLVM's, for one world. They keep to
IEEE 754: nothing is reordered, and no product and sum are fused, so the results are NumPy's to the last bit, save for
exp, log, sin and cos, which come from the C library.
"""

from __future__ import annotations

import ctypes
import struct
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from envs.batched.trace import Program, Traced, trace
from envs.machine_code import compile_code, pointer

_INSTRUCTIONS = {
    "add": "fadd double {}, {}",
    "subtract": "fsub double {}, {}",
    "multiply": "fmul double {}, {}",
    "divide": "fdiv double {}, {}",
    "negative": "fneg double {}",
    "abs": "call double @llvm.fabs.f64(double {})",
    "sqrt": "call double @llvm.sqrt.f64(double {})",
    "exp": "call double @exp(double {})",
    "log": "call double @log(double {})",
    "sin": "call double @sin(double {})",
    "cos": "call double @cos(double {})",
    "less": "fcmp olt double {}, {}",
    "less_equal": "fcmp ole double {}, {}",
    "greater": "fcmp ogt double {}, {}",
    "greater_equal": "fcmp oge double {}, {}",
    "equal": "fcmp oeq double {}, {}",
    "not_equal": "fcmp une double {}, {}",
    "and": "and i1 {}, {}",
    "or": "or i1 {}, {}",
    "not": "xor i1 {}, true",
    "where": "select i1 {}, {type} {}, {type} {}",
}
_TYPES = {np.dtype(np.float64): "double", np.dtype(np.bool_): "i1"}
_CODE = """
declare double @llvm.fabs.f64(double)
declare double @llvm.sqrt.f64(double)
declare double @exp(double)
declare double @log(double)
declare double @sin(double)
declare double @cos(double)

define void @kernel(i64 %i) {{
  {body}
  ret void
}}
"""

Arrays = Mapping[str, NDArray[np.float64] | NDArray[np.bool_]]
Function = Callable[[Mapping[str, Traced]], Mapping[str, Traced]]


class Kernel:
    """A function of arrays, compiled for the arrays that it is to read and to write: a call with i does row i of them.

    Args:
        function: takes and gives arrays [n, ...] by name.
        inputs, outputs: those arrays; rows are C-contiguous, but may lie anywhere. Inputs are float64. What is in row i
            of an output is overwritten by each call; an output may also be an input, which then changes in place.

    Attributes:
        address: of the machine code, a function of 64 bits.
    """

    def __init__(self, function: Function, inputs: Arrays, outputs: Arrays) -> None:
        arrays = [*inputs.values(), *outputs.values()]
        assert all(array[0].flags.c_contiguous and len(array) == len(arrays[0]) for array in arrays)
        program, results = trace(function, {name: array.shape[1:] for name, array in inputs.items()})
        assert all(results[name].shape[1:] == array.shape[1:] for name, array in outputs.items())
        self._engine = compile_code(_write(program, results, inputs, outputs))
        self._arrays = arrays  # their memory and the engine's are there as long as the kernel may be called
        self.address = self._engine.get_function_address("kernel")
        # It takes no time, so it keeps Python's lock, which is quicker.
        self._call = ctypes.PYFUNCTYPE(None, ctypes.c_int64)(self.address)

    def __call__(self, i: int) -> None:
        self._call(i)


def _write(program: Program, results: Mapping[str, Traced], inputs: Arrays, outputs: Arrays) -> str:
    """The program in LLVM's language, for row i. It reads everything before it writes."""
    lines: list[str] = []
    for kind, arrays in (("in", inputs), ("out", outputs)):
        for name, array in arrays.items():
            lines.append(f"%{kind}.{name}.offset = mul i64 %i, {array.strides[0]}")
            start = pointer(array.ctypes.data)
            lines.append(f"%{kind}.{name} = getelementptr i8, ptr {start}, i64 %{kind}.{name}.offset")
    values: list[str] = []  # what the result of each operation is called
    for number, (name, arguments, dtype) in enumerate(program.operations):
        values.append(_constant(arguments[0], dtype) if name == "constant" else f"%v{number}")
        if name == "input":
            array, element = arguments
            lines.append(f"%p{number} = getelementptr double, ptr %in.{array}, i64 {element}")
            lines.append(f"%v{number} = load double, ptr %p{number}")
        elif name != "constant":
            operands = [values[argument] for argument in arguments]
            lines.append(f"%v{number} = {_INSTRUCTIONS[name].format(*operands, type=_TYPES[dtype])}")
    for name, array in outputs.items():
        kind = "i8" if array.dtype == np.bool_ else "double"
        for element, number in enumerate(results[name].numbers.ravel().tolist()):
            value, target = values[number], f"%{name}.{element}"
            if kind == "i8":
                lines.append(f"{target}.byte = zext i1 {value} to i8")
                value = f"{target}.byte"
            lines.append(f"{target} = getelementptr {kind}, ptr %out.{name}, i64 {element}")
            lines.append(f"store {kind} {value}, ptr {target}")
    return _CODE.format(body="\n  ".join(lines))


def _constant(value: Any, dtype: np.dtype[Any]) -> str:
    if dtype == np.bool_:
        return "true" if value else "false"
    return f"0x{struct.pack('>d', value).hex().upper()}"
