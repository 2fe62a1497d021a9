import json
from pathlib import Path

import numpy as np
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from mtrl.logging.logger import Logger
from mtrl.storage.json_lines import by_seed, read_lines

NAN, INF = np.nan, np.inf
TASKS = ["reach-v3", "push-v3", "drawer-open-v3"]


def scalars(directory: Path) -> dict[str, list[tuple[int, float]]]:
    """Steps and values of every curve in an event directory."""
    accumulator = EventAccumulator(str(directory), size_guidance={"scalars": 0})
    accumulator.Reload()
    return {
        tag: [(event.step, event.value) for event in accumulator.Scalars(tag)]
        for tag in accumulator.Tags()["scalars"]
    }


@pytest.fixture
def logged(tmp_path: Path) -> Path:
    logger = Logger(tmp_path, TASKS, [4, 7], {"seeds": [4, 7]})
    logger.write(
        10,
        {
            "success": np.array([[0.0, 1.0, NAN], [1.0, 0.5, NAN]]),
            "norm": np.array([2.0, 4.0], dtype=np.float32),
            "kappa": np.array([INF, 3.0]),
        },
    )
    logger.write(20, {"norm": np.array([NAN, NAN])})
    logger.write_timing(20, {"seconds": 1.5})
    logger.close()
    return tmp_path


def test_lines_hold_every_seed_and_task_with_null_for_what_is_no_number(logged: Path) -> None:
    first, *lines = [
        json.loads(line, parse_constant=pytest.fail)
        for line in (logged / "metrics.jsonl").read_text().splitlines()
    ]
    assert first == {"step": 0, "experiment": {"seeds": [4, 7]}}
    assert by_seed(lines[0]["success"]) == [[0.0, 1.0, None], [1.0, 0.5, None]]
    assert by_seed(lines[0]["norm"]) == [2.0, 4.0]
    assert lines == [
        {
            "step": 10,
            "success": {"reach-v3": [0.0, 1.0], "push-v3": [1.0, 0.5], "drawer-open-v3": [None, None]},
            "norm": [2.0, 4.0],
            "kappa": [None, 3.0],
        },
        {"step": 20, "norm": [None, None]},
    ]


def test_wall_clock_is_kept_apart(logged: Path) -> None:
    first = {"step": 0, "experiment": {"seeds": [4, 7]}}
    assert read_lines(logged / "timing.jsonl") == [first, {"step": 20, "seconds": 1.5}]


def test_curves_of_each_seed(logged: Path) -> None:
    assert scalars(logged / "tensorboard" / "seed_4") == {
        "success/mean": [(10, 0.5)],
        "success/reach": [(10, 0.0)],
        "success/push": [(10, 1.0)],
        "norm": [(10, 2.0)],
    }
    assert scalars(logged / "tensorboard" / "seed_7")["kappa"] == [(10, 3.0)]


def test_curve_of_the_mean_over_seeds(logged: Path) -> None:
    assert scalars(logged / "tensorboard" / "mean") == {
        "success/mean": [(10, 0.625)],
        "norm": [(10, 3.0)],
        "kappa": [(10, 3.0)],
        "time/seconds": [(20, 1.5)],
    }


def test_each_task_has_a_directory_so_that_it_has_a_colour(logged: Path) -> None:
    assert scalars(logged / "tensorboard" / "mean" / "reach") == {"success": [(10, 0.5)]}
    assert scalars(logged / "tensorboard" / "mean" / "push") == {"success": [(10, 0.75)]}
    assert scalars(logged / "tensorboard" / "mean" / "drawer-open") == {}


def test_no_curve_of_a_single_seed_is_there_twice(tmp_path: Path) -> None:
    logger = Logger(tmp_path, TASKS, [4], {})
    logger.write(10, {"success": np.array([[0.0, 1.0, NAN]]), "norm": np.array([2.0])})
    logger.close()
    seed = tmp_path / "tensorboard" / "seed_4"
    assert scalars(seed) == {"success/mean": [(10, 0.5)], "norm": [(10, 2.0)]}
    assert scalars(seed / "push") == {"success": [(10, 1.0)]}
    assert [path.name for path in (tmp_path / "tensorboard").iterdir()] == ["seed_4"]


def test_a_line_cut_off_by_a_kill_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 1}\n{"step": 2}\n{"ste')
    assert read_lines(path) == [{"step": 1}, {"step": 2}]
    path.write_text("")
    assert read_lines(path) == []


def test_going_on_drops_what_came_after_the_checkpoint(tmp_path: Path) -> None:
    logger = Logger(tmp_path, TASKS, [0], {"seeds": [0]})
    for step in (10, 20, 30):
        logger.write(step, {"norm": np.array([float(step)])})
        logger.write_timing(step, {"seconds": 1.0})
    logger.close()
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 40, "no')
    logger = Logger(tmp_path, TASKS, [0], {"seeds": [0]}, step=20)
    for step in (30, 40):
        logger.write(step, {"norm": np.array([-float(step)])})
    logger.close()
    assert [line["norm"] for line in read_lines(tmp_path / "metrics.jsonl", "norm")] == [
        [10.0],
        [20.0],
        [-30.0],
        [-40.0],
    ]
    assert [line["step"] for line in read_lines(tmp_path / "timing.jsonl")] == [0, 10, 20]
    curve = scalars(tmp_path / "tensorboard" / "seed_0")["norm"]
    assert curve == [(10, 10.0), (20, 20.0), (30, -30.0), (40, -40.0)]
