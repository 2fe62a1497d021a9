"""Options of balancers, architectures and the agent: types that say which values can be meant, and their check.

`c: NonNegativeFloat = 0.4` in a constructor is all that a numeric option needs.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from numbers import Integral, Real
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints


@dataclass(frozen=True)
class Range:
    """The numbers from `low` to `high`; `ends` tells which of the two are among them. NaN is in no range.

    why: the reason for an end that does not explain itself.
    """

    low: float
    high: float
    ends: Literal["[]", "(]", "[)"] = "[]"
    why: str = ""

    def __contains__(self, number: Any) -> bool:
        above = number > self.low if self.ends[0] == "(" else number >= self.low
        below = number < self.high if self.ends[1] == ")" else number <= self.high
        return bool(above and below)

    def __str__(self) -> str:
        why = f" ({self.why})" if self.why else ""
        return f"{self.ends[0]}{self.low:.10g}, {self.high:.10g}{self.ends[1]}{why}"


#: Within these ends nothing overflows or vanishes in float32; what lies beyond them cannot be meant.
FiniteFloat = Annotated[float, Range(-1e18, 1e18)]
NonNegativeFloat = Annotated[float, Range(0.0, 1e12)]
PositiveFloat = Annotated[float, Range(1e-18, 1e12)]
UnitInterval = Annotated[float, Range(0.0, 1.0)]
#: Of a moving average: with 1 it would stay what it was at first.
Decay = Annotated[float, Range(0.0, 1.0, "[)")]
PositiveInt = Annotated[int, Range(1, 2**31 - 1)]
NonNegativeInt = Annotated[int, Range(0, 2**31 - 1)]
#: Units of a network's layer: 2^20 squared weights are 4 TB.
Width = Annotated[int, Range(1, 2**20, why="no GPU holds a layer of that width")]


def depths(least: int) -> Range:
    """How many layers a network can have. Each takes a hundredth of a second to build."""
    return Range(least, 2_000, why="the deepest agents known have 1024 layers")  # 2503.14858


#: Layers of a network: at least one, or perhaps none.
Depth = Annotated[int, depths(1)]
OptionalDepth = Annotated[int, depths(0)]
#: Experts, modules, ... side by side.
Parts = Annotated[int, Range(1, 1_000, why="each is a network of its own")]


def checked(init: Callable[..., None]) -> Callable[..., None]:
    """A constructor that first checks its arguments."""
    signature = inspect.signature(init)

    @functools.wraps(init)
    def checked_init(self: object, *args: Any, **kwargs: Any) -> None:
        check(type(self).__name__, init, signature.bind(self, *args, **kwargs).arguments)
        init(self, *args, **kwargs)

    return checked_init


def check(owner: str, typed: Callable[..., Any], values: Mapping[str, Any]) -> None:
    """Refuses values that are not among those that the type hints of `typed`, a class or function, allow.

    Raises:
        ValueError: one sentence with the owner, the option, what it can be, and what it is.
    """
    try:
        hints = get_type_hints(typed, include_extras=True)
    except NameError:  # of a user's own class, whose types only a type checker imports
        return
    for name, hint in hints.items():
        if name in values and not allows(hint, values[name]):
            raise ValueError(f"{owner} needs {name} to be {_description(hint)}, got {values[name]!r}.")


def range_of(hint: Any) -> Range | None:
    """The range that a type names, its own or that of its elements."""
    if isinstance(hint, Range):
        return hint
    return next((found for part in get_args(hint) if (found := range_of(part)) is not None), None)


def allows(hint: Any, value: Any) -> bool:
    """Whether a value is among those that a type names: numbers in its range, or lists of them."""
    origin, parts = get_origin(hint), get_args(hint)
    if origin in (Union, UnionType):
        return any(allows(part, value) for part in parts)
    if origin is Literal:
        return isinstance(value, tuple(map(type, parts))) and value in parts
    if hint is bool:
        return isinstance(value, bool)
    if (numbers := range_of(hint)) is None:  # says nothing of values
        return value is None or hint is not NoneType
    if origin is Annotated:
        kind = Integral if parts[0] is int else Real
        return isinstance(value, kind) and not isinstance(value, bool) and value in numbers
    if not isinstance(value, Iterable) or isinstance(value, (str, bytes, Mapping)):
        return False
    try:
        values = list(value)
    except TypeError:  # a tensor or array of one number
        return False
    return (origin is not tuple or len(values) == len(parts)) and all(allows(parts[0], v) for v in values)


def _description(hint: Any) -> str:
    origin, parts = get_origin(hint), get_args(hint)
    if origin is Literal:
        return " or ".join(filter(None, [", ".join(map(str, parts[:-1])), str(parts[-1])]))
    if origin in (Union, UnionType):
        return " or ".join(filter(None, map(_description, parts)))
    if hint is bool:
        return "true or false"
    if (numbers := range_of(hint)) is None:
        return ""
    if origin is Annotated:
        return f"a {'whole number' if parts[0] is int else 'number'} in {numbers}"
    return f"{len(parts) if origin is tuple else 'a list of'} numbers in {numbers}"
