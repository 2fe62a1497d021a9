import numpy as np
import pytest
from metaworld.env_dict import ALL_V3_ENVIRONMENTS, MT10_V3, MT25_V3

from envs.benchmarks import TASK_NAMES, get_benchmark, get_protocol, task_name
from envs.goals import benchmark_goals


def test_benchmarks_are_those_of_meta_world() -> None:
    assert get_benchmark("MT10").tasks == tuple(MT10_V3)
    assert get_benchmark("MT25").tasks == tuple(MT25_V3)
    assert get_benchmark("MT50").tasks == tuple(ALL_V3_ENVIRONMENTS) == TASK_NAMES
    assert get_benchmark("MT3").tasks == ("drawer-close-v3", "window-open-v3", "window-close-v3")


def test_mt1_takes_a_task_with_or_without_its_version() -> None:
    assert get_benchmark("MT1:reach") == get_benchmark("MT1:reach-v3")
    assert get_benchmark("MT1:reach").tasks == ("reach-v3",)
    assert task_name("drawer-close") == "drawer-close-v3"


@pytest.mark.parametrize(
    "name",
    [
        "reach,push,door-open",
        "reach-v3, push ,door-open-v3",
        "[reach, push, 'door-open']",
        ["reach", "push-v3", "door-open"],
    ],
)
def test_tasks_of_ones_own(name) -> None:
    benchmark = get_benchmark(name)
    assert benchmark.tasks == ("reach-v3", "push-v3", "door-open-v3")
    assert get_benchmark(benchmark.name) == benchmark
    for task, goals in zip(benchmark.tasks, benchmark_goals(benchmark, 7), strict=True):
        np.testing.assert_array_equal(goals, benchmark_goals(get_benchmark(task), 7)[0])


def test_the_order_is_kept_and_named_benchmarks_are_found_again() -> None:
    assert get_benchmark("push,reach").tasks == ("push-v3", "reach-v3")
    for name in ("MT3", "MT10", "MT25", "MT50"):
        assert get_benchmark(list(get_benchmark(name).tasks)) == get_benchmark(name)
    assert get_benchmark("reach") == get_benchmark(["reach-v3"]) == get_benchmark("MT1:reach")


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("reach,push,reach-v3", "named once, and 'reach-v3' is there twice"),
        ("reach,psh", "no task 'psh-v3': did you mean 'push-v3'"),
        (
            "reach,,push",
            "needs a task between each two commas, such as reach,push,door-open; got 'reach,,push'",
        ),
        (",", "needs a task between each two commas"),
        ("", "There is no benchmark ''"),
        (["reach", ""], "needs a task between each two commas"),
        ("MT1:", "MT1: needs the name of a task, such as MT1:reach"),
        ("MT1: ", "MT1: needs the name of a task, such as MT1:reach"),
        ("reach,MT3", "no task"),
        ("drawer-clos", "no benchmark 'drawer-clos': did you mean 'drawer-close'"),
        ("", "choose one of MT3, MT10, MT25, MT50, or tasks of your own"),
        ([], "choose one of MT3"),
    ],
)
def test_what_a_list_of_tasks_may_not_be(name, sentence) -> None:
    with pytest.raises(ValueError, match=sentence):
        get_benchmark(name)


def test_protocols_have_the_settings_of_their_lineages() -> None:
    plus, paper = get_protocol("metaworld_plus"), get_protocol("paper")
    assert (plus.reward_version, plus.horizon, plus.num_goals) == ("v2", 500, 50)
    assert (plus.evaluation_interval, plus.evaluation_episodes) == (20_000, 50)
    assert (paper.reward_version, paper.horizon, paper.num_goals) == ("v1", 150, 1)
    assert (paper.evaluation_interval, paper.evaluation_episodes) == (10_000, 10)
    assert paper.normalize_rewards
    assert not plus.normalize_rewards


@pytest.mark.parametrize(
    ("lookup", "name", "nearest"),
    [
        (get_benchmark, "MT11", "MT10"),
        (get_benchmark, "MT1:drawer-clos", "drawer-close-v3"),
        (get_protocol, "metaworld", "metaworld_plus"),
        (task_name, "windowclose", "window-close-v3"),
    ],
)
def test_unknown_names_are_answered_with_the_nearest(lookup, name, nearest) -> None:
    with pytest.raises(ValueError, match=f"There is no .*{nearest}"):
        lookup(name)
