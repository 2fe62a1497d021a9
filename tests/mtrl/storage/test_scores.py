"""What the lines of evaluations say: which is the best, of what measure, and which are still to be made."""

import json
import math
from pathlib import Path

import numpy as np
import pytest

from mtrl.config.clock import Clock
from mtrl.storage.scores import Scores, scores_of_line

NAN = math.nan


def scores_of(success: dict[int, list[list[float]]]) -> Scores:
    """Of successes [S][T] by step; each return is 100 less the step."""
    scores = Scores()
    for step, values in success.items():
        scores.add(step, np.array(values), np.full(np.shape(values), 100.0 - step))
    return scores


def test_the_best_is_the_first_of_the_highest() -> None:
    scores = scores_of({10: [[0.5]], 20: [[0.7]], 30: [[0.7]], 40: [[NAN]]})
    assert scores.best() == 20
    assert scores.best(lambda step: step != 20) == 30
    assert scores.best(lambda step: step == 40) is None
    assert scores[20] == 0.7
    assert Scores().best() is None
    assert math.isnan(Scores()[None])


def test_returns_count_where_a_task_never_says_anything_of_success() -> None:
    assert Scores().measure == "success"
    scores = scores_of({10: [[0.2, NAN], [0.4, NAN]], 20: [[0.9, NAN], [0.9, NAN]]})
    assert (scores.measure, scores.best(), scores[10]) == ("return", 10, 90.0)
    scores.add(30, np.array([[0.1, NAN], [0.1, 0.5]]), np.zeros((2, 2)))
    assert scores.measure == "success"


@pytest.mark.parametrize(
    ("made", "step", "total", "expected"),
    [
        ([], 0, 100, []),
        ([], 19, 100, []),
        ([], 20, 100, [20]),
        ([20], 39, 100, []),
        ([20], 41, 100, [40]),
        ([20], 60, 100, [40, 60]),
        ([20, 40], 45, 45, [45]),  # the end, which is evaluated in any case
        ([20, 40, 45], 45, 45, []),
        ([20, 40, 45], 45, 60, []),
        ([20, 40, 60], 41, 100, []),  # what was logged after the checkpoint does not count
        ([20, 60], 21, 100, []),
        ([40], 50, 100, []),  # what is missing before one that was made is lost
    ],
)
def test_pending(made: list[int], step: int, total: int, expected: list[int]) -> None:
    scores = scores_of({step: [[0.5]] for step in made})
    assert scores.pending(Clock(20, 1), step, total) == expected


@pytest.mark.parametrize("success", [{"a": [0.5, None], "b": [1.0, 0.25]}, [[0.5, 1.0], [None, 0.25]]])
def test_lines_of_this_version_and_of_those_before(tmp_path: Path, success: object) -> None:
    path = tmp_path / "metrics.jsonl"
    assert Scores.read(path).best() is None
    lines = [
        {"step": 5, "evaluation/success": success, "evaluation/returns": [[1, 2], [3, 4]]},
        {"step": 7, "loss": 1.0},
        {"step": 3, "missing": {"evaluation": [3]}},
    ]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    scores = Scores.read(path)
    assert math.isnan(scores[5])
    assert scores.measure == "success"
    assert scores.pending(Clock(1, 1), 7, 10) == [6, 7]


@pytest.mark.parametrize("line", ['{"step": 5, "evaluation/success": "a"}', '{"evaluation/success": []}'])
def test_what_cannot_be_read_is_said(tmp_path: Path, line: str) -> None:
    (tmp_path / "metrics.jsonl").write_text(line + "\n")
    with pytest.raises(ValueError, match=r"metrics\.jsonl.*restore the file, or delete the line\.$"):
        Scores.read(tmp_path / "metrics.jsonl")


@pytest.mark.parametrize(
    ("success", "words"),
    [
        (None, "for 2 seeds and 2 tasks"),
        ("a", "do not form an array"),
        ([[0.5, True], [0.5, 0.5]], "do not form an array"),
        ([[0.5, "0.9"], [0.5, 0.5]], "do not form an array"),
        ({"a": [True, False], "b": [0.5, 0.5]}, "do not form an array"),
        ([[0.5, math.inf], [0.5, 0.5]], "do not form an array"),
        ([[0.5, 10**400], [0.5, 0.5]], "do not form an array"),
        ([[0.5, {}], [0.5, 0.5]], "do not form an array"),
        ([[0.5], [0.5]], "for 2 seeds and 2 tasks"),
        ([[0.5, 2.0], [0.5, 0.5]], "not between 0 and 1"),
        ({"a": [0.5, 0.5], "c": [0.5, 0.5]}, "of the tasks a, c, and the run has a, b"),
        ({"a": [0.5, 0.5]}, "of the tasks a, and the run has a, b"),
    ],
)
def test_lines_that_are_not_of_the_run(tmp_path: Path, success: object, words: str) -> None:
    """The check is that of a report, so that both refuse the same lines."""
    path = tmp_path / "metrics.jsonl"
    line = {"step": 5, "evaluation/success": success, "evaluation/returns": [[1, 2], [3, 4]]}
    path.write_text(json.dumps(line) + "\n")
    with pytest.raises(ValueError, match=r"of step 5 that can be read .*restore the file") as caught:
        Scores.read(path, 2, ["a", "b"])
    assert words in str(caught.value)
    assert ".)" not in str(caught.value)
    assert "could not convert" not in str(caught.value)
    with pytest.raises(ValueError, match=words):
        scores_of_line(line, "evaluation/success", (2, 2), ["a", "b"])
