"""Grouping by everything but the seed, and labels that say what differs."""

import numpy as np
import pytest

from mtrl.config.experiment import experiment
from mtrl.reporting.groups import check_protocols, group_runs, labels
from mtrl.reporting.runs import read_run
from tests.mtrl.reporting.conftest import Write, run_config


def test_runs_are_grouped_by_everything_but_the_seed(write_run: Write) -> None:
    success = np.full((2, 1, 2), 0.5)
    runs = [
        read_run(write_run("a", success, seeds=[1])),
        read_run(write_run("b", success, seeds=[0], config={"num_workers": 3, "run_dir": "elsewhere"})),
        read_run(write_run("c", success, seeds=[0], balancer="PCGrad")),
    ]
    groups = group_runs(runs)
    assert [g.label for g in groups] == ["LS", "PCGrad"]
    assert [c.seed for c in groups[0].curves] == [0, 1]
    assert groups[0].scores("final", 1).shape == (2, 2)


def test_an_option_that_an_older_version_did_not_know_has_its_default(write_run: Write) -> None:
    success = np.full((2, 1, 2), 0.5)
    newer = {"init_from": None, "staggered": False, "agent": {"gamma": 0.99, "critic": "squared"}}
    runs = [
        read_run(write_run("old", success, seeds=[0])),
        read_run(write_run("new", success, seeds=[1], config=newer)),
        read_run(write_run("other", success, seeds=[0], config={"staggered": True})),
    ]
    assert [(g.label, len(g.runs)) for g in group_runs(runs)] == [
        ("staggered=False", 2),
        ("staggered=True", 1),
    ]


def test_a_decay_of_the_learning_rate_is_named(write_run: Write) -> None:
    success = np.full((2, 1, 2), 0.5)
    runs = [
        read_run(write_run("old", success, seeds=[0])),
        read_run(write_run("none", success, seeds=[1], config={"agent": {"learning_rate_decay": "none"}})),
        read_run(
            write_run("linear", success, seeds=[0], config={"agent": {"learning_rate_decay": "linear"}})
        ),
    ]
    assert [(g.label, len(g.runs)) for g in group_runs(runs)] == [
        ("agent.learning_rate_decay=none", 2),
        ("agent.learning_rate_decay=linear", 1),
    ]


def test_without_a_balancer_there_is_nothing_to_balance(write_run: Write) -> None:
    success = np.full((2, 1, 2), 0.5)
    plain = {"balancer": None}
    runs = [
        read_run(write_run("none", success, seeds=[0], config=plain)),
        read_run(write_run("critic", success, seeds=[1], config=plain | {"balance": "critic"})),
        read_run(write_run("both", success, config={"balance": "both"})),
        read_run(write_run("ls_critic", success, config={"balance": "critic"})),
    ]
    assert [(g.label, len(g.runs)) for g in group_runs(runs)] == [
        ("no balancer", 2),
        ("LS, balance=both", 1),
        ("LS, balance=critic", 1),
    ]
    assert [g.label for g in group_runs(runs[:3])] == ["no balancer", "LS"]


def test_a_seed_counted_twice_is_refused(write_run: Write) -> None:
    success = np.full((2, 1, 2), 0.5)
    runs = [read_run(write_run(name, success, seeds=[0])) for name in ("a", "b")]
    with pytest.raises(ValueError, match=r"Seed 0 of .*runs/a and in .*runs/b"):
        group_runs(runs)


def test_seeds_of_different_length_are_drawn_where_all_have_values(write_run: Write) -> None:
    runs = [
        read_run(write_run("a", np.full((3, 1, 2), 0.5), seeds=[0])),
        read_run(write_run("b", np.full((2, 1, 2), 0.7), seeds=[1], config={"total_steps": 300})),
    ]
    (group,) = group_runs(runs)
    steps, success = group.common()
    assert steps.tolist() == [100, 200]
    assert success.shape == (2, 2, 2)
    np.testing.assert_allclose(group.scores("final", 1).mean(1), [0.5, 0.7])


def test_labels() -> None:
    plain, other = run_config([0], "LS", 1), run_config([0], "PCGrad", 1)
    scaled = run_config([0], "LS", 1) | {"agent": {"gamma": 0.9}}
    none = run_config([0], "LS", 1) | {"balancer": None}
    favoured = run_config([0], "LS", 1)
    favoured["balancer"]["init_args"]["preference"] = [0.1, 0.9]
    own = run_config([0], "LS", 1) | {"balancer": {"class_path": "mine.LS"}}

    def named(*configs: dict[str, object]) -> list[str]:
        return labels([experiment(config) for config in configs])

    assert named(plain) == ["Shared, LS"]
    assert named(plain, other) == ["LS", "PCGrad"]
    assert named(plain, none) == ["LS", "no balancer"]
    assert named(plain, scaled) == ["agent.gamma=0.99", "agent.gamma=0.9"]
    assert named(plain, favoured, other) == [
        "LS, balancer.preference=None",
        "LS, balancer.preference=[0.1, 0.9]",
        "PCGrad",
    ]
    assert named(plain, own)[1].startswith("mine.LS")


def test_protocols_are_compared(write_run: Write) -> None:
    success = np.full((2, 1, 2), 0.5)
    runs = [read_run(write_run("a", success)), read_run(write_run("b", success, balancer="PCGrad"))]
    assert check_protocols(runs) is None
    runs.append(read_run(write_run("c", success, protocol={"horizon": 7})))
    difference = check_protocols(runs)
    assert difference is not None
    assert "protocol.horizon is 6 and 7" in difference
