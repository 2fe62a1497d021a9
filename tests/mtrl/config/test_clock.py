"""When something is due."""

import json

import pytest

from mtrl.config.clock import Clock


@pytest.mark.parametrize("stride", [1, 3, 7, 20])
@pytest.mark.parametrize("interval", [1, 5, 10, 33])
def test_it_is_due_where_an_interval_is_passed(stride: int, interval: int) -> None:
    due = Clock(interval, stride)
    steps = range(stride, 200, stride)
    expected = [step for step in steps if (step - stride) // interval < step // interval]
    assert due.steps(steps[-1]) == [step for step in steps if due(step)] == expected
    assert due.steps(0) == []
    assert not due(0)


def test_steps_are_numbers_as_json_has_them() -> None:
    assert json.dumps(Clock(10, 1).steps(30)) == "[10, 20, 30]"
