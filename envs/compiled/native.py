"""Compiles a function of arrays to machine code: one call does what takes NumPy a call for each operation.

The function is traced (`envs.compiled.trace`), and its operations become LLVM's, for one world. They keep to
IEEE 754: nothing is reordered, and no product and sum are fused, so the results are NumPy's to the last bit, save for
exp, log, sin and cos, which come from the C library.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
from llvmlite import ir

from envs.compiled.machine_code import BOOL, BYTE, DOUBLE, INT, POINTER, VOID, Code
from envs.compiled.trace import Traced, trace

_TYPES = {np.dtype(np.float64): DOUBLE, np.dtype(np.bool_): BOOL}
_COMPARISONS = {"less": "<", "less_equal": "<=", "greater": ">", "greater_equal": ">=", "equal": "=="}
_BUILDERS = {
    "add": "fadd",
    "subtract": "fsub",
    "multiply": "fmul",
    "divide": "fdiv",
    "negative": "fneg",
    "bitwise_and": "and_",
    "bitwise_or": "or_",
    "invert": "not_",
    "where": "select",
}
_INTRINSICS = {"absolute": "llvm.fabs", "sqrt": "llvm.sqrt"}

Function = Callable[[Mapping[str, Traced]], Mapping[str, Traced]]


class Place(NamedTuple):
    """Where one world's row of an array is: so many bytes after one of the pointers that the code is called with."""

    pointer: int
    offset: int
    shape: tuple[int, ...] = ()
    dtype: type[np.generic] = np.float64


def places_of(record: np.dtype[np.void]) -> dict[str, Place]:
    """The places of a record's fields, by name; the first pointer is the record's."""
    assert record.fields is not None
    return {
        name: Place(0, offset, kind.shape, kind.base.type)
        for name, (kind, offset, *_) in record.fields.items()
    }


def define(
    code: Code, name: str, function: Function, places: Mapping[str, Place], num_pointers: int = 1
) -> ir.Function:
    """Adds a function of pointers that does for one world what a function of arrays does for n.

    Args:
        function: takes the arrays [n, ...] of float64 at these places, by name, and gives some of the places' arrays
            anew. All is read before anything is written.
    """
    inputs = {key: place.shape for key, place in places.items() if place.dtype is np.float64}
    program, results = trace(function, inputs)
    builder = code.define(name, VOID, [POINTER] * num_pointers)
    pointers = builder.function.args
    values: list[ir.Value] = []  # the results of the operations
    for operation, arguments, dtype in program.operations:
        if operation == "input":
            key, element = arguments
            place = places[key]
            address = _address(builder, pointers[place.pointer], place.offset + 8 * element)
            values.append(builder.load(address, typ=DOUBLE))
        elif operation == "constant":
            number = int(arguments[0]) if dtype == np.bool_ else float(arguments[0])
            values.append(ir.Constant(_TYPES[dtype], number))
        else:
            values.append(_emit(code, builder, operation, [values[number] for number in arguments]))
    for key, result in results.items():
        place, numbers = places[key], result.numbers
        assert numbers.shape[1:] == place.shape
        width = np.dtype(place.dtype).itemsize
        for element, number in enumerate(numbers.ravel().tolist()):
            value = values[number] if width == 8 else builder.zext(values[number], BYTE)
            builder.store(value, _address(builder, pointers[place.pointer], place.offset + width * element))
    builder.ret_void()
    return builder.function


def _address(builder: ir.IRBuilder, pointer: ir.Value, offset: int) -> ir.Value:
    return builder.gep(pointer, [INT(offset)], source_etype=BYTE)


def _emit(code: Code, builder: ir.IRBuilder, operation: str, operands: list[ir.Value]) -> ir.Value:
    if operation in _COMPARISONS:  # false where one is NaN
        return builder.fcmp_ordered(_COMPARISONS[operation], *operands)
    if operation == "not_equal":
        return builder.fcmp_unordered("!=", *operands)
    if operation in _BUILDERS:
        build: Any = getattr(builder, _BUILDERS[operation])
        return build(*operands)
    if operation in _INTRINSICS:
        return builder.call(code.module.declare_intrinsic(_INTRINSICS[operation], [DOUBLE]), operands)
    return builder.call(code.declare(operation, DOUBLE, [DOUBLE]), operands)  # of the C library
