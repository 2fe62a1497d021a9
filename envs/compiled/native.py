"""Compiles a function of arrays to machine code: one call does what takes NumPy a call for each operation.

A function that runs on NumPy's arrays [n, ...] also runs on the arrays of this module, which stand for one world,
[1, ...]: their elements are values of LLVM, and NumPy's functions of them emit instructions. What comes of it is a
straight line of scalar operations that does for one world what the function does for n.

They keep to IEEE 754: nothing is reordered, and no product and sum are fused, so the results are NumPy's to the last
bit, save for exp, log, sin and cos, which come from the C library.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Mapping
from functools import reduce
from typing import Any, NamedTuple

import numpy as np
from llvmlite import ir
from numpy.lib.mixins import NDArrayOperatorsMixin
from numpy.typing import ArrayLike, NDArray

from envs.compiled.machine_code import BOOL, BYTE, DOUBLE, INT, POINTER, VOID, Code

_ARITHMETIC = {"add": "fadd", "subtract": "fsub", "multiply": "fmul", "divide": "fdiv", "negative": "fneg"}
_LOGIC = {"bitwise_and": "and_", "bitwise_or": "or_", "invert": "not_"}
_COMPARISONS = {"less": "<", "less_equal": "<=", "greater": ">", "greater_equal": ">=", "equal": "=="}
_INTRINSICS = {"absolute": "llvm.fabs", "sqrt": "llvm.sqrt"}
_FROM_C = ("exp", "log", "sin", "cos")
_OPERATIONS = {*_ARITHMETIC, *_LOGIC, *_COMPARISONS, *_INTRINSICS, *_FROM_C, "not_equal", "where"}
_DTYPES = {DOUBLE: np.dtype(np.float64), BOOL: np.dtype(np.bool_)}


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
    code: Code,
    name: str,
    function: Callable[[Mapping[str, Traced]], Mapping[str, Traced]],
    places: Mapping[str, Place],
    num_pointers: int = 1,
) -> ir.Function:
    """Adds a function of pointers that does for one world what a function of arrays does for n.

    Args:
        function: takes the arrays [n, ...] of float64 at these places, by name, and gives some of the places' arrays
            anew. All is read before anything is written.
    """
    builder = code.define(name, VOID, [POINTER] * num_pointers)
    emitter = Emitter(code, builder)
    inputs = {key: emitter.load(place) for key, place in places.items() if place.dtype is np.float64}
    for key, result in function(inputs).items():
        assert result.shape[1:] == places[key].shape
        for value, address in zip(result.values.flat, emitter.addresses(places[key]), strict=True):
            builder.store(value if value.type == DOUBLE else builder.zext(value, BYTE), address)
    builder.ret_void()
    return builder.function


class Emitter:
    """Emits scalar operations into a function of pointers; equal ones once."""

    def __init__(self, code: Code, builder: ir.IRBuilder) -> None:
        self._code, self._builder = code, builder
        self._values: dict[Any, ir.Value] = {}

    def addresses(self, place: Place) -> Iterable[ir.Value]:
        """Those of all elements of one world's row."""
        pointer, width = self._builder.function.args[place.pointer], np.dtype(place.dtype).itemsize
        for element in range(int(np.prod(place.shape))):
            offset = INT(place.offset + width * element)
            yield self._builder.gep(pointer, [offset], source_etype=BYTE)

    def load(self, place: Place) -> Traced:
        """The array [1, ...] at a place, of float64."""
        values = [self._builder.load(address, typ=DOUBLE) for address in self.addresses(place)]
        return Traced(self, values, (1, *place.shape))

    def trace(self, value: Traced | ArrayLike) -> Traced:
        """Constants as an array of this function's; its arrays as they are."""
        if isinstance(value, Traced):
            return value
        constants = np.asarray(value)
        kind = BOOL if constants.dtype == np.bool_ else DOUBLE
        numbers = constants.astype(_DTYPES[kind]).flat
        return Traced(self, [ir.Constant(kind, number.item()) for number in numbers], constants.shape)

    def apply(self, name: str, *operands: Traced | ArrayLike) -> Traced:
        """An operation of each element, with broadcasting.

        Raises:
            TypeError: there is no such operation, or not for numbers (or for booleans).
        """
        if name not in _OPERATIONS:
            raise TypeError(f"A task's function cannot use `{name}`: it cannot be traced.")
        arrays = np.broadcast_arrays(*(self.trace(operand).values for operand in operands))
        results = []
        for values in zip(*(array.flat for array in arrays), strict=True):
            types = [value.type for value in values]
            expected = [BOOL, types[1], types[1]] if name == "where" else [BOOL if name in _LOGIC else DOUBLE]
            if types != expected and types != expected * len(types):
                found = " and ".join(str(_DTYPES[kind]) for kind in types)
                raise TypeError(f"A task's function cannot take {name} of {found}.")
            if (name, *values) not in self._values:
                self._values[name, *values] = self._emit(name, *values)
            results.append(self._values[name, *values])
        return Traced(self, results, arrays[0].shape)

    def _emit(self, name: str, *values: ir.Value) -> ir.Value:
        builder = self._builder
        if name == "where":
            return builder.select(*values)
        if name == "not_equal":  # true where one is NaN; all others are false there
            return builder.fcmp_unordered("!=", *values)
        if name in _COMPARISONS:
            return builder.fcmp_ordered(_COMPARISONS[name], *values)
        if name in _INTRINSICS:
            return builder.call(self._code.module.declare_intrinsic(_INTRINSICS[name], [DOUBLE]), values)
        if name in _FROM_C:
            return builder.call(self._code.declare(name, DOUBLE, [DOUBLE]), values)
        build: Callable[..., ir.Value] = getattr(builder, {**_ARITHMETIC, **_LOGIC}[name])
        return build(*values)


class Traced(NDArrayOperatorsMixin):
    """An array [1, ...] whose elements are values of LLVM."""

    def __init__(self, emitter: Emitter, values: Iterable[ir.Value], shape: tuple[int, ...]) -> None:
        self.emitter = emitter
        self.values: NDArray[Any] = np.fromiter(values, np.object_).reshape(shape)

    def __array_ufunc__(self, function: np.ufunc, method: str, *operands: Any, **options: Any) -> Traced:
        apply, name = self.emitter.apply, function.__name__
        if method != "__call__" or options:
            raise TypeError(f"A task's function cannot use options of `{name}`: they cannot be traced.")
        if function in (np.maximum, np.minimum):  # NaN where either is
            a, b = self.emitter.trace(operands[0]), operands[1]
            return apply("where", (a >= b if function is np.maximum else a <= b) | (a != a), a, b)
        if function is np.power:
            if operands[1] != 2:
                raise TypeError(f"A task's function can square, but it cannot take the power {operands[1]}.")
            return apply("multiply", operands[0], operands[0])
        return apply(name, *operands)

    def __array_function__(
        self, function: Callable[..., Any], types: Any, arguments: Any, options: Any
    ) -> Traced:
        if function in (np.concatenate, np.stack):
            return self._of(
                function([self.emitter.trace(p).values for p in arguments[0]], *arguments[1:], **options)
            )
        if function in (np.all, np.any):
            parts = (self._of(part) for part in np.moveaxis(self.values, options["axis"], 0))
            return reduce(operator.and_ if function is np.all else operator.or_, parts)
        return self.emitter.apply(function.__name__, *arguments)

    def __getitem__(self, index: Any) -> Traced:
        return self._of(self.values[index])

    def _of(self, values: Any) -> Traced:
        """An array of these values, or of this value."""
        array = np.asarray(values, np.object_)
        return Traced(self.emitter, array.flat, array.shape)

    def __len__(self) -> int:
        return len(self.values)

    def __bool__(self) -> bool:
        raise TypeError("A task's function cannot branch on values that differ between worlds: use `where`.")

    @property
    def shape(self) -> tuple[int, ...]:
        return self.values.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        return _DTYPES[self.values.flat[0].type]
