"""Figures of many tasks: the hardest come first, and every name can be read."""

from collections.abc import Callable, Iterable
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from matplotlib.text import Text

from envs.benchmarks import get_benchmark
from mtrl.reporting.figures import hardest_first, heat_map, learning_curves, task_bars
from mtrl.reporting.groups import Group, group_runs
from mtrl.reporting.runs import read_run

Write = Callable[..., Path]
MT50 = get_benchmark("MT50").tasks


@pytest.fixture
def groups(write_run: Write) -> list[Group]:
    """Two methods of two seeds; the later a task, the higher its success."""
    success = np.broadcast_to(np.arange(50) / 50, (3, 2, 50))
    runs = [write_run(name, success, balancer=name, tasks=MT50) for name in ("LS", "PCGrad")]
    return group_runs([read_run(run) for run in runs])


def test_the_hardest_task_is_the_first(write_run: Write) -> None:
    runs = [
        write_run(name, [[scores]], balancer=name)
        for name, scores in (("LS", [0.9, 0.2]), ("PCGrad", [0.3, 0.6]))
    ]
    both = group_runs([read_run(run) for run in runs])
    assert hardest_first(both, "final", 1) == ["push-v3", "reach-v3"]  # means of .4 and .6
    assert hardest_first([group for group in both if group.label == "PCGrad"], "final", 1) == [
        "reach-v3",
        "push-v3",
    ]


def test_curves_of_fifty_tasks_fit_on_a_page(groups: list[Group]) -> None:
    figure = learning_curves(groups, MT50)
    figure.draw_without_rendering()  # type: ignore[no-untyped-call]
    titles = [axis.title for axis in figure.axes if axis.get_visible()]
    assert [title.get_text() for title in titles[:2]] == ["mean over tasks", "assembly"]
    assert len(titles) == 51
    assert_apart(titles)
    assert figure.get_figwidth() <= 13
    assert figure.get_figheight() <= 20


def test_bars_of_fifty_tasks_fit_on_a_page(groups: list[Group]) -> None:
    figure = task_bars(groups, MT50[::-1], "final", 1)
    figure.draw_without_rendering()  # type: ignore[no-untyped-call]
    (axis,) = figure.axes
    names = axis.get_yticklabels()
    assert [name.get_text() for name in names] == [task.removesuffix("-v3") for task in MT50[::-1]]
    assert names[0].get_window_extent().y0 > names[1].get_window_extent().y0
    assert_apart(names)
    assert figure.get_figwidth() <= 13
    first = axis.patches[0]  # of the first method, of its first task
    assert first.get_window_extent().y0 == pytest.approx(names[-1].get_window_extent().y1, abs=20)


def test_a_heat_map_has_a_row_for_each_of_fifty_tasks(groups: list[Group]) -> None:
    figure = heat_map(groups, MT50, "final", 1)
    figure.draw_without_rendering()  # type: ignore[no-untyped-call]
    axis = figure.axes[0]
    names = axis.get_yticklabels()
    assert [name.get_text() for name in names] == [task.removesuffix("-v3") for task in MT50]
    assert [label.get_text() for label in axis.get_xticklabels()] == [
        f"{method}, seed {seed}" for method in ("LS", "PCGrad") for seed in (0, 1)
    ]
    assert_apart(names)
    assert figure.get_figwidth() <= 13
    values = axis.images[0].get_array()
    assert values is not None
    np.testing.assert_allclose(values, np.repeat(np.arange(50)[:, None] / 50, 4, axis=1))


def test_a_heat_map_has_a_row_for_each_seed_where_they_are_more(write_run: Write) -> None:
    run = write_run("run", np.zeros((1, 3, 2)))
    figure = heat_map(group_runs([read_run(run)]), ["push-v3", "reach-v3"], "final", 1)
    assert [name.get_text() for name in figure.axes[0].get_xticklabels()] == ["push", "reach"]
    assert len(figure.axes[0].get_yticklabels()) == 3


def assert_apart(texts: Iterable[Text]) -> None:
    boxes = [text.get_window_extent() for text in texts]
    assert not any(a.overlaps(b) for a, b in pairwise(boxes))
