"""Programs of scalar operations, recorded from functions of arrays.

A function that runs on NumPy's arrays [n, ...] also runs on the arrays of this module, which stand for one world,
[1, ...]: their elements are numbers of operations in a `Program`, and NumPy's functions of them append to it. What
comes of it is a straight line of scalar operations that does for one world what the function does for n.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Mapping
from functools import reduce
from typing import Any, NamedTuple

import numpy as np
from numpy.lib.mixins import NDArrayOperatorsMixin
from numpy.typing import ArrayLike, NDArray

_FUNCTIONS = ("absolute", "sqrt", "exp", "log", "sin", "cos")
_ARITHMETIC = ("add", "subtract", "multiply", "divide", "negative", *_FUNCTIONS)
_COMPARISONS = ("less", "less_equal", "greater", "greater_equal", "equal", "not_equal")
_LOGIC = ("bitwise_and", "bitwise_or", "invert")
_FLOAT, _BOOL = np.dtype(np.float64), np.dtype(np.bool_)


class Operation(NamedTuple):
    """One scalar operation.

    Attributes:
        name: "input" (arguments: the array's name and the element's number), "constant" (its value), "where",
            or what it is called in NumPy.
        arguments: the numbers of the operations whose results it takes.
        dtype: of its result, float64 or bool.
    """

    name: str
    arguments: tuple[Any, ...]
    dtype: np.dtype[Any]


class Program:
    """Operations in an order in which they can be carried out; equal ones are recorded once."""

    def __init__(self) -> None:
        self.operations: list[Operation] = []
        self._numbers: dict[Any, int] = {}

    def array(self, name: str, shape: tuple[int, ...] = ()) -> Traced:
        """An input [1, *shape]: what an array of n worlds holds of one."""
        numbers = [self.append("input", (name, element), _FLOAT) for element in range(math.prod(shape))]
        return Traced(self, np.array(numbers, dtype=np.intp).reshape(1, *shape))

    def append(self, name: str, arguments: tuple[Any, ...], dtype: np.dtype[Any]) -> int:
        # The bits of a constant tell 0.0 from -0.0, and one NaN equals another.
        key = (name, np.float64(arguments[0]).tobytes() if name == "constant" else arguments, dtype)
        if key not in self._numbers:
            self._numbers[key] = len(self.operations)
            self.operations.append(Operation(name, arguments, dtype))
        return self._numbers[key]

    def apply(self, name: str, *operands: Traced | ArrayLike) -> Traced:
        """An operation of each element, with broadcasting.

        Raises:
            TypeError: there is no such operation, or not for numbers (or for booleans).
        """
        if name not in (*_ARITHMETIC, *_COMPARISONS, *_LOGIC, "where"):
            raise TypeError(f"A task's function cannot use `{name}`: it cannot be traced.")
        arrays = np.broadcast_arrays(*(self.trace(operand).numbers for operand in operands))
        dtype = _FLOAT if name in _ARITHMETIC else _BOOL
        numbers = []
        for arguments in zip(*(array.flat for array in arrays), strict=True):
            types = [self.operations[number].dtype for number in arguments]
            expected = [_BOOL if name in _LOGIC else _FLOAT] * len(types)
            if name == "where":
                dtype = types[1]
                expected = [_BOOL, dtype, dtype]
            if types != expected:
                raise TypeError(f"A task's function cannot take {name} of {' and '.join(map(str, types))}.")
            numbers.append(self.append(name, tuple(map(int, arguments)), dtype))
        return Traced(self, np.array(numbers, dtype=np.intp).reshape(arrays[0].shape))

    def trace(self, value: Traced | ArrayLike) -> Traced:
        """Constants as an array of this program; arrays of it as they are."""
        if isinstance(value, Traced):
            return value
        constants = np.asarray(value)
        dtype = _BOOL if constants.dtype == _BOOL else _FLOAT
        numbers = [self.append("constant", (number,), dtype) for number in constants.astype(dtype).flat]
        return Traced(self, np.array(numbers, dtype=np.intp).reshape(constants.shape))


class Traced(NDArrayOperatorsMixin):
    """An array [1, ...] whose elements are the results of operations (their numbers)."""

    def __init__(self, program: Program, numbers: NDArray[np.intp]) -> None:
        self.program, self.numbers = program, numbers

    def __array_ufunc__(self, function: np.ufunc, method: str, *operands: Any, **options: Any) -> Traced:
        apply, name = self.program.apply, function.__name__
        if method != "__call__" or options:
            raise TypeError(f"A task's function cannot use options of `{name}`: they cannot be traced.")
        if function in (np.maximum, np.minimum):  # NaN where either is
            a, b = self.program.trace(operands[0]), operands[1]
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
            numbers = [self.program.trace(part).numbers for part in arguments[0]]
            return Traced(self.program, function(numbers, *arguments[1:], **options))
        if function in (np.all, np.any):
            parts = (Traced(self.program, part) for part in np.moveaxis(self.numbers, options["axis"], 0))
            return reduce(operator.and_ if function is np.all else operator.or_, parts)
        return self.program.apply(function.__name__, *arguments)

    def __getitem__(self, index: Any) -> Traced:
        return Traced(self.program, np.asarray(self.numbers[index]))

    def __len__(self) -> int:
        return len(self.numbers)

    def __bool__(self) -> bool:
        raise TypeError("A task's function cannot branch on values that differ between worlds: use `where`.")

    @property
    def shape(self) -> tuple[int, ...]:
        return self.numbers.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        return self.program.operations[self.numbers.flat[0]].dtype


def trace(
    function: Callable[[Mapping[str, Traced]], Mapping[str, Traced]], shapes: Mapping[str, tuple[int, ...]]
) -> tuple[Program, dict[str, Traced]]:
    """Records a function of arrays, which it takes and gives by name.

    Args:
        shapes: those of its arguments, without the worlds.

    Returns:
        The program, and what the function gave.
    """
    program = Program()
    return program, dict(function({name: program.array(name, shape) for name, shape in shapes.items()}))
