"""Compiles a function of arrays to machine code: one call does what takes NumPy a call for each operation.

The function is traced (`envs.batched.trace`), and its operations become LLVM's, in a loop over the worlds. They keep to
IEEE 754: nothing is reordered, and no product and sum are fused, so the results are NumPy's to the last bit, save for
exp, log, sin and cos, which come from the C library.
"""

from __future__ import annotations

import ctypes
import math
import struct
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import llvmlite.binding as llvm
import numpy as np
from numpy.typing import NDArray

from envs.batched.trace import Program, Traced, trace

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
_LOOP = """
declare double @llvm.fabs.f64(double)
declare double @llvm.sqrt.f64(double)
declare double @exp(double)
declare double @log(double)
declare double @sin(double)
declare double @cos(double)

define void @kernel(i64 %n, {parameters}) {{
entry:
  br label %head
head:
  %i = phi i64 [0, %entry], [%next, %world]
  %more = icmp slt i64 %i, %n
  br i1 %more, label %world, label %end
world:
  {body}
  %next = add i64 %i, 1
  br label %head
end:
  ret void
}}
"""

Arrays = Mapping[str, NDArray[np.float64] | NDArray[np.bool_]]
Function = Callable[[Mapping[str, Traced]], Mapping[str, Traced]]


class Kernel:
    """A function of arrays, compiled for the arrays that it is to read and to write; to call it is one pass over them.

    Args:
        function: takes and gives arrays [n, ...] by name.
        inputs, outputs: those arrays, C-contiguous; inputs are float64. What is in an output is overwritten by each
            call; an output may also be an input, which then changes in place.
    """

    def __init__(self, function: Function, inputs: Arrays, outputs: Arrays) -> None:
        arrays = [*inputs.values(), *outputs.values()]
        assert all(array.flags.c_contiguous and len(array) == len(arrays[0]) for array in arrays)
        program, results = trace(function, {name: array.shape[1:] for name, array in inputs.items()})
        assert all(results[name].shape[1:] == array.shape[1:] for name, array in outputs.items())
        self._engine = _compile(_write(program, results, inputs, outputs))
        self._arrays = arrays  # their memory and the engine's are there as long as the kernel may be called
        prototype = ctypes.CFUNCTYPE(None, ctypes.c_int64, *[ctypes.c_void_p] * len(arrays))
        pointers = [ctypes.c_void_p(array.ctypes.data) for array in arrays]
        compiled = prototype(self._engine.get_function_address("kernel"))
        self._call = partial(compiled, ctypes.c_int64(len(arrays[0])), *pointers)

    def __call__(self) -> None:
        self._call()


def _write(program: Program, results: Mapping[str, Traced], inputs: Arrays, outputs: Arrays) -> str:
    """The program in LLVM's language, in a loop over the worlds. It reads all of a world before it writes."""
    parameters = [f"ptr %in.{name}" for name in inputs] + [f"ptr %out.{name}" for name in outputs]
    lines: list[str] = []
    values: list[str] = []  # what the result of each operation is called
    for number, (name, arguments, dtype) in enumerate(program.operations):
        values.append(_constant(arguments[0], dtype) if name == "constant" else f"%v{number}")
        if name == "input":
            array, element = arguments
            lines.append(f"%p{number} = {_element('double', f'%in.{array}', inputs[array], element)}")
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
            lines.append(f"{target} = {_element(kind, f'%out.{name}', array, element)}")
            lines.append(f"store {kind} {value}, ptr {target}")
    return _LOOP.format(parameters=", ".join(parameters), body="\n  ".join(lines))


def _element(kind: str, name: str, array: NDArray[Any], element: int) -> str:
    """The address of an element in the row of world i."""
    width = math.prod(array.shape[1:])
    return f"getelementptr [{width} x {kind}], ptr {name}, i64 %i, i64 {element}"


def _constant(value: Any, dtype: np.dtype[Any]) -> str:
    if dtype == np.bool_:
        return "true" if value else "false"
    return f"0x{struct.pack('>d', value).hex().upper()}"


def _compile(code: str) -> llvm.ExecutionEngine:
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    features = llvm.get_host_cpu_features().flatten()
    target = llvm.Target.from_default_triple().create_target_machine(
        cpu=llvm.get_host_cpu_name(), features=features, opt=1
    )
    module = llvm.parse_assembly(code)
    builder = llvm.create_pass_builder(target, llvm.create_pipeline_tuning_options(speed_level=1))
    builder.getModulePassManager().run(module, builder)
    engine = llvm.create_mcjit_compiler(module, target)
    engine.finalize_object()
    return engine
