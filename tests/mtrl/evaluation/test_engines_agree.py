"""A checkpoint evaluated by the batched engine and by Meta-World itself: the same goals and episodes, one by one."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from envs.benchmarks import PROTOCOLS
from mtrl.config.resolve import TRAINING_PRESETS
from tests.mtrl.conftest import Result, train_arguments

Cli = Callable[..., Result]


def evaluate(cli: Cli, run: Path, engine: str, *options: object) -> dict[str, list]:
    path = run.parent / f"{engine}.json"
    result = cli("evaluate", run, "--engine", engine, "--output", path, *options)
    assert result.code == 0, result.err
    return json.loads(path.read_text())["episodes"]


def assert_same_episodes(first: dict[str, list], second: dict[str, list]) -> None:
    """Stronger than the same rates: goals and steps of success are equal, and rewards but for rounding."""
    assert first.keys() == second.keys()
    np.testing.assert_allclose(first.pop("returns"), second.pop("returns"), rtol=1e-9)
    assert first == second


@pytest.mark.parametrize("policy", ["mean", pytest.param("sampled", marks=pytest.mark.slow)])
def test_few_short_episodes(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, policy: str) -> None:
    protocol = replace(PROTOCOLS["metaworld_plus"], name="short", horizon=20, evaluation_episodes=1)
    monkeypatch.setitem(PROTOCOLS, "short", protocol)
    monkeypatch.setitem(TRAINING_PRESETS, "short", TRAINING_PRESETS["metaworld_plus"])
    run = tmp_path / "run"
    options = {"protocol": "short", "engine": "batched", "total_steps": 20}
    assert cli(*train_arguments(run, **options)).code == 0
    few = ("--episodes", 3, "--worlds_per_task", 2, *["--sampled"] * (policy == "sampled"))
    batched, reference = (evaluate(cli, run, engine, *few) for engine in ("batched", "reference"))
    assert_same_episodes(batched, reference)


@pytest.mark.slow
def test_fifty_whole_episodes_of_every_task(cli: Cli, tmp_path: Path) -> None:
    """The drawer is closed within the first thousands of steps: rates are neither all zero nor all one."""
    run = tmp_path / "run"
    options = {
        "protocol": "metaworld_plus",
        "engine": "batched",
        "network.width": 32,
        "total_steps": 6_000,
        "random_steps": 1_000,
        "batch_size": 32,
        "buffer_size": 6_000,
        "worlds_per_task": 2,
        "log_interval": 3_000,
        "evaluation__interval": 6_000,
        "evaluation__episodes": 1,
        "agent__learning_rate": 1e-3,
        "agent__initial_temperature": 0.1,
        "num_threads": 1,
    }
    assert cli(*train_arguments(run, **options)).code == 0
    many = ("--worlds_per_task", 10)
    batched, reference = (evaluate(cli, run, engine, *many) for engine in ("batched", "reference"))
    rates = [np.mean(episodes["success"], -1) for episodes in (batched, reference)]
    assert np.abs(rates[0] - rates[1]).max() <= 0.02
    assert_same_episodes(batched, reference)
    assert np.shape(reference["success"]) == (1, 3, 50)
