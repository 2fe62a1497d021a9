"""What is said of a name that is not known."""

import pytest

from envs.suggestion import suggestion, unknown


def test_the_nearest_name_is_proposed() -> None:
    message = str(unknown("thing", "alpa", ["alpha", "beta"]))
    assert message == "There is no thing 'alpa': did you mean 'alpha'?"


def test_all_names_are_listed_where_none_is_near() -> None:
    message = str(unknown("thing", "qqqq", ["alpha", "beta"]))
    assert message == "There is no thing 'qqqq': choose one of alpha, beta."


@pytest.mark.parametrize(("cutoff", "expected"), [(0.4, "did you mean 'alpha'?"), (0.95, "none is near.")])
def test_what_is_near_enough(cutoff: float, expected: str) -> None:
    assert suggestion("alpa", ["alpha", "beta"], "none is near.", cutoff) == expected
