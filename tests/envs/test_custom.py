"""Benchmarks of the user's environments: what a file may say, and the sentences where it says something else."""

import re
from typing import Any

import pytest

from envs.custom import CustomBenchmark, CustomProtocol, episode_seed, shared_sizes

LINE = "tests.envs.own_environments:Line"


def benchmark(*tasks: dict[str, Any], **options: Any) -> CustomBenchmark:
    named = [{"name": f"task{i}", **task} for i, task in enumerate(tasks)]
    return CustomBenchmark.from_mapping({"tasks": named, **options})


def test_it_is_what_it_was_made_of() -> None:
    described = {
        "name": "mine",
        "horizon": 7,
        "success": "final",
        "tasks": [
            {"name": "swing", "env": "Pendulum-v1", "kwargs": {"g": 5.0}},
            {"name": "b", "env": LINE, "kwargs": {}},
        ],
    }
    made = CustomBenchmark.from_mapping(described)
    assert made.tasks == ("swing", "b")
    assert made.environments[0].kwargs == {"g": 5.0}
    assert [task.module for task in made.environments] == [None, "tests.envs.own_environments"]
    assert made.to_mapping() == described
    assert CustomBenchmark.from_mapping(made.to_mapping()) == made
    assert made.protocol == CustomProtocol(7, "final")


def test_the_horizon_is_the_longest_time_limit() -> None:
    pendulum = {"env": "Pendulum-v1"}
    assert benchmark(pendulum).protocol.horizon == 200
    shorter = {**pendulum, "kwargs": {"max_episode_steps": 30}}
    assert benchmark(shorter).with_horizon().horizon == 30
    assert benchmark(shorter, pendulum).with_horizon().horizon == 200
    assert benchmark(shorter, pendulum, horizon=50).with_horizon().horizon == 50
    with pytest.raises(
        ValueError, match=r"of the task task1 has no time limit: give the benchmark a horizon"
    ):
        benchmark(pendulum, {"env": LINE}).with_horizon()


@pytest.mark.parametrize(
    ("described", "sentence"),
    [
        ({}, "needs `tasks`, a list such as"),
        ({"tasks": []}, "needs `tasks`"),
        ({"tasks": ["Hopper-v5"]}, "needs `tasks`"),
        (
            {"tasks": [{"name": "a", "env": LINE}], "horizont": 3},
            "no 'horizont' in a benchmark: did you mean 'horizon'",
        ),
        ({"tasks": [{"name": "a", "environment": LINE}]}, "no 'environment' in a task: did you mean 'env'"),
        ({"tasks": [{"name": "a"}]}, "that of 'a' is None"),
        ({"tasks": [{"name": "a", "env": ":x"}]}, "that of 'a' is ':x'"),
        ({"tasks": [{"env": LINE}]}, "name of a task has letters"),
        ({"tasks": [{"name": "a/b", "env": LINE}]}, "it is 'a/b'"),
        ({"tasks": [{"name": "..", "env": LINE}]}, "it is '..'"),
        ({"tasks": [{"name": "x" * 101, "env": LINE}]}, "at most 100 bytes"),
        ({"name": "\N{GREEK SMALL LETTER MU}" * 51, "tasks": [{"name": "a", "env": LINE}]}, "it has 102: "),
        ({"name": "a b", "tasks": [{"name": "a", "env": LINE}]}, "name of a benchmark has letters"),
        ({"tasks": [{"name": "a", "env": LINE}, {"name": "a", "env": LINE}]}, "'a' is there twice"),
        ({"tasks": [{"name": "a", "env": LINE, "kwargs": [1]}]}, "is a mapping of names to values"),
        ({"tasks": [{"name": "a", "env": LINE, "kwargs": {"render_mode": "human"}}]}, "--video` chooses it"),
        (
            {"tasks": [{"name": "a", "env": LINE}], "horizon": 0},
            "a positive number of steps, or null, but it is 0",
        ),
        ({"tasks": [{"name": "a", "env": LINE}], "horizon": True}, "positive number"),
        ({"tasks": [{"name": "a", "env": LINE}], "success": "last"}, "any or final, but it is 'last'"),
    ],
)
def test_a_wrong_benchmark(described: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValueError, match=re.escape(sentence)):
        CustomBenchmark.from_mapping(described)


@pytest.mark.parametrize(
    ("env", "kwargs", "sentence"),
    [
        ("Penduluum-v1", {}, "cannot be made with {}: NameNotFound"),
        ("Pendulum-v1", {"length": 2}, "cannot be made with {'length': 2}: TypeError"),
        ("no_such_module:Env", {}, "No module named 'no_such_module'"),
        ("tests.envs.own_environments:Curve", {}, "cannot be made with {}: NameNotFound"),
        ("tests.envs.own_environments:NotOne", {}, "is no subclass of gymnasium.Env"),
        ("subprocess:Popen", {"args": ["true"]}, "is no subclass of gymnasium.Env"),
        (
            "tests.envs.own_environments:Chooser",
            {},
            "those of the task task0 are Discrete(2): soft actor-critic",
        ),
        ("tests.envs.own_environments:Endless", {}, "finite bounds"),
        ("tests.envs.own_environments:Picture", {}, "FlattenObservation"),
    ],
)
def test_an_environment_that_does_not_do(env: str, kwargs: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValueError, match=re.escape(sentence)):
        shared_sizes(benchmark({"env": env, "kwargs": kwargs}))


def test_spaces_of_other_shapes_are_named_both() -> None:
    sentence = (
        "All tasks of a benchmark have equal observation spaces, but that of task0 is "
        "Box([-1. -1. -8.], [1. 1. 8.], (3,), float32) and that of task1 is "
        "Box([-1.2  -0.07], [0.6  0.07], (2,), float32)."
    )
    with pytest.raises(ValueError, match=re.escape(sentence)):
        shared_sizes(benchmark({"env": "Pendulum-v1"}, {"env": "MountainCarContinuous-v0"}))
    shared_sizes(benchmark({"env": LINE}, {"env": LINE, "kwargs": {"bound": 5.0}}, {"env": "Pendulum-v1"}))


def test_every_episode_has_a_seed_of_its_own() -> None:
    worlds = [(seed, task, w, k) for seed in (0, 1) for task in "ab" for w in (0, 1) for k in range(50)]
    seeds = [episode_seed(*world) for world in worlds]
    assert len(set(seeds)) == len(seeds)
    assert all(0 <= seed < 2**31 for seed in seeds)
    assert seeds == [episode_seed(*world) for world in worlds]
