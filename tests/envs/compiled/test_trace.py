"""Recording functions of arrays: what is recorded, and what is refused."""

import numpy as np
import pytest

from envs.compiled.arrays import norm
from envs.compiled.trace import Program, Traced, trace


@pytest.fixture
def x() -> Traced:
    return Program().array("x", (3,))


def names(array: Traced) -> list[str]:
    return [operation.name for operation in array.program.operations]


def test_operations_come_after_what_they_take_and_equal_ones_once() -> None:
    def function(arrays):
        x, y = arrays["x"], arrays["y"]
        return {"z": norm(x - y[:, None]) + norm(x - y[:, None])}

    program, results = trace(function, {"x": (3,), "y": ()})
    assert len(set(program.operations)) == len(program.operations)
    for number, operation in enumerate(program.operations):
        if operation.name not in ("input", "constant"):
            assert all(argument < number for argument in operation.arguments)
    assert [operation.name for operation in program.operations].count("sqrt") == 1
    assert results["z"].shape == (1,)


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


def test_constants_of_different_bits_are_different(x: Traced) -> None:
    trace = x.program.trace
    zero, negative_zero, nan = trace([0.0, -0.0, np.nan]).numbers.tolist()
    assert len({zero, negative_zero, nan}) == 3
    assert trace([0.0, -0.0, np.nan]).numbers.tolist() == [zero, negative_zero, nan]


def test_numbers_of_numpy_leave_operators_to_traced_arrays(x: Traced) -> None:
    assert names(np.float32(0.5) + x)[-1] == "add"
    assert names(np.ones(3) - x)[-1] == "subtract"


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
