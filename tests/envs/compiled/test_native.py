"""Compiled functions give what NumPy gives, to the last bit; what cannot be compiled is refused."""

import ctypes
import operator
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from envs.compiled.arrays import norm, quaternion
from envs.compiled.machine_code import POINTER, VOID, Code
from envs.compiled.native import Emitter, Place, Traced, define, places_of

SPECIAL = [
    0.0,
    -0.0,
    1.0,
    -1.0,
    np.inf,
    -np.inf,
    np.nan,
    5e-324,
    2.2e-308,
    1e-160,
    1e160,
    1.8e308,
    0.1,
    1 / 3,
]


Function = Callable[[Mapping[str, Any]], Mapping[str, Any]]


def code_of(function: Function, world: NDArray[np.void]) -> Code:
    """The code of a function of fields of records."""
    code = Code()
    define(code, "function", function, places_of(world.dtype))
    return code


def compiled(function: Function, world: NDArray[np.void]) -> Callable[[int], None]:
    """The function of fields of records, compiled: a call with i reads and writes record i."""
    address = code_of(function, world).compile()
    call = ctypes.CFUNCTYPE(None, ctypes.c_void_p)(address("function"))

    def call_row(i: int, code: object = address) -> None:
        call(world[i : i + 1].ctypes.data)

    return call_row


def records(arrays: Mapping[str, NDArray[Any]]) -> NDArray[np.void]:
    """Arrays [n, ...] as n records."""
    fields = [(name, values.dtype, values.shape[1:]) for name, values in arrays.items()]
    result = np.zeros(len(next(iter(arrays.values()))), fields)
    for name, values in arrays.items():
        result[name] = values
    return result


def run(
    function: Function, inputs: Mapping[str, NDArray[Any]], like: Mapping[str, NDArray[Any]]
) -> NDArray[np.void]:
    """The function of arrays [n, ...] by name, compiled; the results have the shapes and types of `like`."""
    world = records({**{name: np.zeros_like(values) for name, values in like.items()}, **inputs})
    call = compiled(function, world)
    for i in range(len(world)):
        call(i)
    return world


def evaluate(function: Function, x: np.ndarray) -> np.ndarray:
    """y of the function of x [n, ...], compiled."""
    with np.errstate(all="ignore"):
        like = {"y": np.asarray(function({"x": x})["y"])}
    return run(function, {"x": x}, like)["y"]


def assert_same(function, x: np.ndarray) -> None:
    with np.errstate(all="ignore"):
        expected, result = function({"x": x})["y"], evaluate(function, x)
    assert result.dtype == expected.dtype
    np.testing.assert_array_equal(result, expected)  # NaN where NaN is
    if result.dtype == np.float64:
        numbers = ~np.isnan(expected)
        np.testing.assert_array_equal(np.signbit(result[numbers]), np.signbit(expected[numbers]))


def random_function(generator: np.random.Generator, width: int):
    """A function that combines columns of x at random, step by step."""
    plan = [(generator.integers(5), generator.integers(0, 1000, 3)) for _ in range(40)]

    def function(arrays):
        x = arrays["x"]
        floats, flags = [x[:, i] for i in range(width)], [x[:, 0] < x[:, 1]]
        for kind, chosen in plan:
            a, b = (floats[c % len(floats)] for c in chosen[:2])
            p, q = (flags[c % len(flags)] for c in chosen[1:])
            arithmetic = (operator.add, operator.sub, operator.mul, operator.truediv)
            comparison = (operator.lt, operator.le, operator.gt, operator.ge, operator.eq, operator.ne)
            if kind == 0:
                floats.append(arithmetic[chosen[2] % 4](a, b))
            elif kind == 1:
                floats.append((-a, abs(a), np.sqrt(abs(b)), a**2, a * b + a)[chosen[2] % 5])
            elif kind == 2:
                flags.append(comparison[chosen[2] % 6](a, b))
            elif kind == 3:
                flags.append((p & q, p | q, ~p)[chosen[0] % 3])
            else:
                floats.append(np.where(p, a, b))
        flags = [np.where(flag, 1.0, 0.0) for flag in flags]
        return {"y": np.stack([*floats, *flags], axis=1)}

    return function


@settings(max_examples=30)
@given(seed=st.integers(0, 2**32 - 1))
def test_random_programs_are_numpys_to_the_last_bit(seed: int) -> None:
    generator = np.random.default_rng(seed)
    x = generator.normal(size=(200, 5)) * 10.0 ** generator.integers(-8, 8, (200, 5))
    special = generator.random(x.shape) < 0.3
    x[special] = generator.choice(SPECIAL, special.sum())
    assert_same(random_function(generator, 5), x)


def test_extremes_have_numpys_value_and_its_nan() -> None:
    x = np.array(np.meshgrid(SPECIAL, SPECIAL)).reshape(2, -1).T.copy()
    for name in ("maximum", "minimum"):
        expected = getattr(np, name)(x[:, 0], x[:, 1])

        def function(arrays, name=name):
            pair = arrays["x"]
            return {"y": getattr(np, name)(pair[:, 0], pair[:, 1])}

        np.testing.assert_array_equal(
            evaluate(function, x), expected
        )  # which zero is the larger is left open


def test_products_and_sums_are_not_fused() -> None:
    x = np.array([[1 + 2.0**-27, -(1 + 2.0**-26)]])
    assert evaluate(lambda a: {"y": a["x"][:, 0] * a["x"][:, 0] + a["x"][:, 1]}, x) == 0.0
    assert evaluate(lambda a: {"y": -a["x"][:, 1] - a["x"][:, 0] * a["x"][:, 0]}, x) == 0.0


@pytest.mark.parametrize("name", ["exp", "log", "sin", "cos"])
def test_functions_of_the_c_library_are_numpys_but_for_the_last_bits(name: str) -> None:
    x = np.concatenate([np.random.default_rng(0).normal(size=1000) * 3, SPECIAL])
    with np.errstate(all="ignore"):
        expected = getattr(np, name)(x)
    result = evaluate(lambda a: {"y": getattr(np, name)(a["x"])}, x)
    np.testing.assert_allclose(result, expected, rtol=1e-15, atol=0)


def test_norms_and_quaternions_are_the_same_to_the_last_bit() -> None:
    x = np.random.default_rng(0).normal(size=(500, 9))
    x[:20, 3] = np.nan
    x[20:40] = 0.0
    assert_same(lambda a: {"y": norm(a["x"])}, x)
    assert_same(lambda a: {"y": quaternion(a["x"])}, x)


def test_what_a_row_gives_does_not_depend_on_the_others() -> None:
    generator = np.random.default_rng(0)
    function, x = random_function(generator, 5), generator.normal(size=(17, 5))
    alone = np.concatenate([evaluate(function, row[None].copy()) for row in x])
    np.testing.assert_array_equal(evaluate(function, x), alone)


def test_an_input_may_be_changed_in_place_and_is_read_anew_in_each_call() -> None:
    world = records({"x": np.array([[1.0, 2.0], [3.0, 5.0]]), "flags": np.zeros(2, dtype=np.bool_)})
    call = compiled(lambda a: {"x": a["x"][:, ::-1] + 0.0, "flags": a["x"][:, 0] > 2}, world)
    call(0)
    np.testing.assert_array_equal(world["x"], [[2.0, 1.0], [3.0, 5.0]])
    call(1)
    np.testing.assert_array_equal(world["x"], [[2.0, 1.0], [5.0, 3.0]])
    np.testing.assert_array_equal(world["flags"], [False, True])
    world["x"][0] = 7.0
    call(0)
    call(1)
    np.testing.assert_array_equal(world["x"], [[7.0, 7.0], [3.0, 5.0]])
    np.testing.assert_array_equal(world["flags"], [True, True])


# ------------------------------------------------------------------------------------------------ traced arrays


@pytest.fixture
def x() -> Traced:
    code = Code()
    return Emitter(code, code.define("function", VOID, [POINTER])).load(Place(0, 0, (3,)))


def test_equal_operations_are_emitted_once(x: Traced) -> None:
    first, again = norm(x) + norm(x), norm(x) + norm(x)
    assert first.values[0] is again.values[0]
    assert first.shape == (1,)
    assert (x * 0.0).values[0, 0] is (x * 0.0).values[0, 0] is not (x * -0.0).values[0, 0]
    assert (x * np.nan).values[0, 0] is (x * np.nan).values[0, 0]


def test_shapes_are_numpys(x: Traced) -> None:
    array = np.ones((1, 3))
    same = [
        (x[:, 1], array[:, 1]),
        (x[:, 1:2] + x, array[:, 1:2] + array),
        (x[..., None] * np.ones(4), array[..., None] * np.ones(4)),
        (np.concat([x, np.zeros((1, 4))], axis=1), np.ones((1, 7))),
        (np.stack([x[:, 0], x[:, 1]], axis=1), np.ones((1, 2))),
        (np.all(x > 0, axis=1), np.ones(1, dtype=np.bool_)),
    ]
    for traced, expected in same:
        assert isinstance(traced, Traced)
        assert traced.shape == expected.shape
        assert len(traced) == len(expected)
        assert traced.dtype == expected.dtype


def test_numbers_of_numpy_leave_operators_to_traced_arrays(x: Traced) -> None:
    assert (np.float32(0.5) + x).values[0, 0].opname == "fadd"
    assert (np.ones(3) - x).values[0, 0].opname == "fsub"


@pytest.mark.parametrize(
    ("attempt", "message"),
    [
        (lambda x: np.argsort(x), "cannot use `argsort`: it cannot be traced"),
        (lambda x: np.add(x, x, where=False), "cannot use options of `add`"),
        (lambda x: np.add.reduce(x), "cannot use options of `add`"),
        (lambda x: x[0, 0] if x[0, 0] > 0 else 0, "cannot branch on values that differ between worlds"),
        (lambda x: x**3, "cannot take the power 3"),
        (lambda x: x + (x > 0), "cannot take add of float64 and bool"),
        (lambda x: (x > 0) & x, "cannot take bitwise_and of bool and float64"),
        (lambda x: np.where(x, 1.0, 0.0), "cannot take where of float64 and float64 and float64"),
    ],
)
def test_what_cannot_be_traced_is_refused_in_a_sentence(x: Traced, attempt, message: str) -> None:
    with pytest.raises(TypeError, match=message):
        attempt(x)
