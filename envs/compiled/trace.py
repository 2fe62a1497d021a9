"""Programs of scalar operations, recorded from functions of arrays.

A function that runs on NumPy's arrays [n, ...] also runs on the arrays of this module, which stand for one world,
[1, ...]: their elements are numbers of operations in a `Program`, and to compute with them is to append to it. What
comes of it is a straight line of scalar operations that does for one world what the function does for n.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Mapping, Sequence
from functools import reduce
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

_FUNCTIONS = ("abs", "sqrt", "exp", "log", "sin", "cos")
_ARITHMETIC = ("add", "subtract", "multiply", "divide", "negative", *_FUNCTIONS)
_LOGIC = ("and", "or", "not")
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
            TypeError: the operation does not exist for numbers (or for booleans).
        """
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


def _operator(name: str, reflected: bool = False) -> Callable[..., Traced]:
    def apply(self: Traced, *others: Traced | ArrayLike) -> Traced:
        operands = (*others, self) if reflected else (self, *others)
        return self.program.apply(name, *operands)

    return apply


class Traced:
    """An array [1, ...] whose elements are the results of operations (their numbers)."""

    __array_ufunc__ = None  # NumPy's arrays and numbers leave operators to this class

    def __init__(self, program: Program, numbers: NDArray[np.intp]) -> None:
        self.program, self.numbers = program, numbers

    __add__, __radd__ = _operator("add"), _operator("add", reflected=True)
    __sub__, __rsub__ = _operator("subtract"), _operator("subtract", reflected=True)
    __mul__, __rmul__ = _operator("multiply"), _operator("multiply", reflected=True)
    __truediv__, __rtruediv__ = _operator("divide"), _operator("divide", reflected=True)
    __neg__, __abs__ = _operator("negative"), _operator("abs")
    __lt__, __le__ = _operator("less"), _operator("less_equal")
    __gt__, __ge__ = _operator("greater"), _operator("greater_equal")
    __eq__, __ne__ = _operator("equal"), _operator("not_equal")  # type: ignore[assignment]
    __and__, __or__, __invert__ = _operator("and"), _operator("or"), _operator("not")

    def __pow__(self, exponent: float) -> Traced:
        if exponent != 2:
            raise TypeError(f"A task's function can square, but it cannot take the power {exponent}.")
        return self * self

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

    @property
    def device(self) -> str:
        return "cpu"

    def __array_namespace__(self, api_version: str | None = None) -> Namespace:
        return Namespace(self.program)


class Namespace:
    """The functions of the array API that tasks may use."""

    __name__ = __name__  # as modules have it
    bool, float64 = _BOOL, _FLOAT

    def __init__(self, program: Program) -> None:
        self._program = program

    def __getattr__(self, name: str) -> Any:
        if name in (*_FUNCTIONS, "where"):
            return lambda *operands: self._program.apply(name, *operands)
        raise AttributeError(f"A task's function cannot use `{name}`: it cannot be traced.")

    def maximum(self, a: Traced | ArrayLike, b: Traced | ArrayLike) -> Traced:
        a = self._program.trace(a)
        return self._program.apply("where", (a >= b) | (a != a), a, b)  # NaN where either is

    def minimum(self, a: Traced | ArrayLike, b: Traced | ArrayLike) -> Traced:
        a = self._program.trace(a)
        return self._program.apply("where", (a <= b) | (a != a), a, b)

    def all(self, values: Traced, axis: int) -> Traced:
        return reduce(operator.and_, _along(values, axis))

    def any(self, values: Traced, axis: int) -> Traced:
        return reduce(operator.or_, _along(values, axis))

    def concat(self, arrays: Sequence[Traced], axis: int = 0) -> Traced:
        return Traced(self._program, np.concatenate([array.numbers for array in arrays], axis=axis))

    def stack(self, arrays: Sequence[Traced], axis: int = 0) -> Traced:
        return Traced(self._program, np.stack([array.numbers for array in arrays], axis=axis))

    def asarray(self, values: ArrayLike, dtype: np.dtype[Any] = _FLOAT, device: str = "cpu") -> Traced:
        return self._program.trace(np.asarray(values, dtype))

    def zeros(self, shape: tuple[int, ...], dtype: np.dtype[Any] = _FLOAT, device: str = "cpu") -> Traced:
        return self._program.trace(np.zeros(shape, dtype))

    def zeros_like(self, values: Traced, dtype: np.dtype[Any] | None = None) -> Traced:
        return self.zeros(values.shape, values.dtype if dtype is None else dtype)


def _along(values: Traced, axis: int) -> list[Traced]:
    return [Traced(values.program, part) for part in np.moveaxis(values.numbers, axis, 0)]


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
