"""`mtrl train --init_from RUN`: what a new run begins with, and what it says of it."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from mtrl.config.build import make_agent, make_evaluation_env
from mtrl.config.loading import load_config
from mtrl.storage import checkpoint, checkpoints
from tests.mtrl.cli.test_cli import assert_refused
from tests.mtrl.conftest import Result, train_arguments

Cli, Train = Callable[..., Result], Callable[..., Path]
MT3 = ("drawer-close-v3", "window-open-v3", "window-close-v3")


def networks(run: Path, step: int) -> dict[str, Tensor]:
    """The parameters of actor, critic, target and temperature at a step by name; those of tasks with a task axis."""
    config = load_config(run)
    env = make_evaluation_env(config, config.seeds, config.evaluation, "reference")
    agent = make_agent(config, env)
    env.close()
    state = checkpoint.load(checkpoints.find(run / "checkpoints", str(step)), ["agent"])["agent"]
    found = {"log_alpha": state["log_alpha"]}
    for network in ("actor", "critic", "target"):
        optimizer = agent.actor_optimizer if network == "actor" else agent.critic_optimizer
        views = optimizer.parameters.views(**state[network])
        found |= {f"{network}.{name}": value for name, value in views.items()}
    return found


def test_the_same_tasks_are_taken_whole(finished: Path, train: Train) -> None:
    """By the same seed and by another one; the optimisers and the replay are new, and it can be resumed."""
    run = train("tuned", init_from=finished, seeds="0,7", total_steps=20)
    old, new = networks(finished, 40), networks(run, 0)
    assert old.keys() == new.keys()
    for name, value in new.items():
        torch.testing.assert_close(value, old[name].expand_as(value), rtol=0, atol=0)
    stamped = json.loads((run / "stamp.json").read_text())["init_from"]
    assert (stamped["step"], stamped["seeds"]) == (40, {"0": 0, "7": 0})
    assert stamped["tasks"] == list(MT3)
    assert stamped["new_tasks"] == stamped["new"] == stamped["unfit"] == []
    later = networks(run, 20)
    assert any((later[name] != value).any() for name, value in new.items())


def test_an_earlier_checkpoint(finished: Path, train: Train) -> None:
    run = train("tuned", init_from=finished, init_checkpoint=20, total_steps=5)
    old, new = networks(finished, 20), networks(run, 0)
    assert all((new[name] == old[name]).all() for name in new)


@pytest.mark.parametrize(
    "network",
    [
        {"network": "multi_head"},
        {"network": "paco", "network__head_width": None},
        {"network": "care", "network__head_width": None},
        {"network": "shared", "network__head_width": None, "network__task_id": True},
        {"network": "single_task", "network__head_width": None, "balancer": "null"},
    ],
    ids=lambda n: n["network"],
)
def test_other_tasks_take_what_is_shared_and_what_is_theirs(
    network: dict[str, Any], train: Train, cli: Cli, tmp_path: Path
) -> None:
    """MT10 has all three tasks of MT3 at other places, and seven more."""
    old_run = train("old", seeds="3", **network)
    arguments = train_arguments(
        tmp_path / "new", benchmark="MT10", seeds="3", total_steps=1, init_from=old_run, **network
    )
    result = cli(*arguments)
    assert result.code == 0, result.err
    fresh_run = train("fresh", benchmark="MT10", seeds="3", total_steps=1, **network)
    old, new, fresh = networks(old_run, 40), networks(tmp_path / "new", 0), networks(fresh_run, 0)
    tasks = load_config(tmp_path / "new").get_benchmark().tasks
    places = [tasks.index(task) for task in MT3]
    others = [t for t in range(10) if t not in places]
    for name, value in new.items():
        axis = 1 if name == "log_alpha" else 2
        owned = value.shape != old[name].shape and value.shape[axis] == 10
        one_hot = network["network"] == "shared" and name.endswith("network.trunk.layers.0.weight")
        if one_hot:
            torch.testing.assert_close(value[..., :-10, :], old[name][..., :-3, :])
            value, expected, first, axis = (
                value[..., -10:, :],
                old[name][..., -3:, :],
                fresh[name][..., -10:, :],
                -2,
            )
        elif owned:
            expected, first = old[name], fresh[name]
        else:
            torch.testing.assert_close(value, old[name], rtol=0, atol=0)
            continue
        index = torch.tensor(places)
        torch.testing.assert_close(value.index_select(axis, index), expected, rtol=0, atol=0)
        index = torch.tensor(others)
        torch.testing.assert_close(value.index_select(axis, index), first.index_select(axis, index))
    assert (
        "Tasks of both, with what each owns: drawer-close-v3, window-open-v3, window-close-v3" in result.err
    )
    assert "New tasks: reach-v3, push-v3" in result.err


def test_what_does_not_fit_begins_anew(finished: Path, cli: Cli, tmp_path: Path) -> None:
    """Other heads on the same trunk."""
    result = cli(*train_arguments(tmp_path / "new", init_from=finished, network__head_width=6, total_steps=1))
    assert result.code == 0, result.err
    stamped = json.loads((tmp_path / "new" / "stamp.json").read_text())["init_from"]
    assert stamped["unfit"]
    assert all(".heads." in name for name in stamped["unfit"])
    assert any(".trunk." in name for name in stamped["taken"])
    assert f"New, as they have another shape there: {', '.join(stamped['unfit'])}." in result.err


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"network": "residual", "network__head_width": None}, "MultiHead there, Residual here"),
        ({"init_checkpoint": "7"}, "There is no checkpoint '7'"),
        ({"init_from": "nowhere"}, "nowhere is no run directory"),
    ],
)
def test_what_it_refuses(
    finished: Path, cli: Cli, tmp_path: Path, options: dict[str, Any], sentence: str
) -> None:
    arguments = train_arguments(tmp_path / "new", **({"init_from": finished} | options))
    assert_refused(cli(*arguments), sentence)
    assert not (tmp_path / "new").exists()
