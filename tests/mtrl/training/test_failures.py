"""A value that is not finite stops training: one sentence, a report, and a checkpoint that one can go on from."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

import agents.optimizer
from agents.sac import SAC, Batch
from envs.worlds import Transitions
from mtrl.balancers import available
from mtrl.gradients import TaskGradients, task_gradients
from mtrl.storage import checkpoints
from tests.mtrl.conftest import FakeEngine, Result, read_metrics, read_state, train_arguments

Cli = Callable[..., Result]


#: Worlds without a success yet.
NO_SUCCESS = ("steps_to_success", "last_success")  # NaN stands for none
#: DWA before its first window, FAMO's losses of the last call (overwritten before they are read), and what a
#: method does not have: weights (GradDrop, AdaTask), a Gramian (FAMO, ...).
NOT_THERE = (
    "balancer.previous",
    "balancer.before",
    "update_metrics.total",
    "critic/gramian",
    "actor/gramian",
)


class NanEngine(FakeEngine):
    """Writes a number that is not finite into one array of one world, in one step, without noticing it."""

    at, array, value = 25, "observations", np.nan

    def step(self, actions: NDArray[np.float64]) -> Transitions:
        transitions = super().step(actions)
        if self.steps == self.at:
            getattr(transitions, self.array)[1] = self.value
        return transitions


def assert_stopped(result: Result, run: Path, *words: str, may_be_nan: tuple[str, ...] = ()) -> int:
    """The run stopped as it should; returns the step of its last checkpoint, of which every number is finite."""
    assert result.code == 1
    errors = [line for line in result.err.splitlines() if line.startswith("mtrl: ")]
    assert len(errors) == 1
    assert "Traceback" not in result.err
    report = json.loads((run / "failure.json").read_text())
    for word in (*words, f"step {report['step']}"):
        assert word in errors[0]
    assert report["reason"] in errors[0]
    steps = checkpoints.steps(run / "checkpoints")
    assert steps[-1] == report["step"]
    assert_finite(run, steps[-1], may_be_nan)
    return steps[-1]


def assert_finite(run: Path, step: int, may_be_nan: tuple[str, ...] = ()) -> None:
    state = read_state(run, step)
    del state["values"]
    for name, tensor in state.items():
        if not name.endswith(NO_SUCCESS + may_be_nan):
            assert torch.isfinite(tensor.double()).all(), name


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("array", ["observations", "rewards"])
def test_observation_or_reward(
    fake: Callable, cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, array: str, value: float
) -> None:
    monkeypatch.setattr(NanEngine, "array", array)
    monkeypatch.setattr(NanEngine, "value", value)
    fake(NanEngine)
    run = tmp_path / "run"
    result = cli(*train_arguments(run, evaluation__interval=40))
    step = assert_stopped(result, run, "observation", "window-open-v3", "seed 0")
    assert step == 24
    if array == "rewards":  # it stops again, where somebody has put a link to a file of the user's
        own = tmp_path / "own"
        own.write_text("kept")
        (run / "failure.json").unlink()
        (run / "failure.json").symlink_to(own)
        monkeypatch.setattr(NanEngine, "at", 1)
        assert cli("train", "--resume", run).code == 1
        assert own.read_text() == "kept"
    fake(FakeEngine)  # the cause is removed
    assert cli("train", "--resume", run).code == 0
    assert read_metrics(run)[-1]["step"] == 40
    assert_finite(run, 40)


class FaultyEngine(FakeEngine):
    """One world diverges, once."""

    def step(self, actions: NDArray[np.float64]) -> Transitions:
        transitions = super().step(actions)
        if self.steps != 25:
            return transitions
        transitions.rewards[1] = 1e6
        return transitions._replace(faults={1: "the simulation diverged"})


def test_a_world_that_diverges_is_reset_and_nothing_is_learned_from_it(
    fake: Callable, cli: Cli, tmp_path: Path
) -> None:
    fake(FaultyEngine)
    run = tmp_path / "run"
    result = cli(*train_arguments(run, evaluation__interval=40, seeds="3", buffer_size=100))
    assert result.code == 0, result.err
    faults = [line for line in result.err.splitlines() if "diverged" in line]
    assert faults[0] == "task window-open-v3, world 0, seed 3: the simulation diverged; the world was reset."
    state = read_state(run, 40)
    assert state["replay:state.added"].tolist() == [[40, 39, 40]]
    assert state["replay:state.storage"].abs().max() < 1e6


def poison(monkeypatch: pytest.MonkeyPatch, at: int, field: str, value: float) -> None:
    """Puts a number into one sample of the batch of one update."""
    update, calls = SAC.update, 0

    def poisoned(agent: SAC, batch: Batch) -> dict[str, torch.Tensor]:
        nonlocal calls
        calls += 1
        if calls == at:
            tensor = getattr(batch, field).clone()
            tensor[0, 1, 2] = value
            batch = batch._replace(**{field: tensor})
        return update(agent, batch)

    monkeypatch.setattr(SAC, "update", poisoned)


@pytest.mark.parametrize(
    ("field", "value"), [("reward", np.nan), ("reward", 1e30), ("observation", np.nan), ("action", np.inf)]
)
def test_loss(
    fake: Callable, cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, field: str, value: float
) -> None:
    run = tmp_path / "run"
    with monkeypatch.context() as patch:
        poison(patch, 7, field, value)
        result = cli(*train_arguments(run, evaluation__interval=40))
    # updates follow the random steps 1 to 10 and the step after them
    assert assert_stopped(result, run, "loss or gradient of the", "seeds [0]") == 10 + 1 + 7
    assert cli("train", "--resume", run).code == 0
    assert_finite(run, 40)


@pytest.mark.parametrize("balancer", ["AlignedMTL", "NashMTL", "RLW", "null"])
def test_one_seed_of_several(
    fake: Callable, cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, balancer: str
) -> None:
    """It stays as it was before the update that was not finite; the other does not notice, and a resume neither."""
    options = {"balancer": balancer, "seeds": "3,5", "evaluation__interval": 20, "checkpoint__interval": 20}
    whole, run = tmp_path / "whole", tmp_path / "run"
    assert cli(*train_arguments(whole, **options)).code == 0
    with monkeypatch.context() as patch:
        poison(patch, 7, "reward", np.nan)
        result = cli(*train_arguments(run, **options))
    assert result.code == 0
    assert "Step 18: a loss or gradient of the critic is not finite; the seeds [3] stay" in result.err
    assert json.loads((run / "frozen.json").read_text())["3"]["step"] == 18
    shutil.rmtree(run / "checkpoints" / "step_0000000040")
    assert cli("train", "--resume", run).code == 0
    assert json.loads((run / "frozen.json").read_text()).keys() == {"3"}
    assert_finite(run, 40, ("update_metrics.total", "critic/gramian", "actor/gramian"))
    for line, expected in zip(read_metrics(run), read_metrics(whole), strict=True):
        for name, values in expected.items():
            if name != "step":
                assert line[name][1] == values[1], (line["step"], name)
    before, after, other = read_state(run, 20), read_state(run, 40), read_state(whole, 40)
    for name in (n for n in before if n.startswith("agent:") and (".shared" in n or ".owned" in n)):
        torch.testing.assert_close(after[name][0], before[name][0], rtol=0, atol=0)
        torch.testing.assert_close(after[name][1], other[name][1], rtol=0, atol=0)


def test_one_seed_whose_world_is_not_finite(fake: Callable, cli: Cli, tmp_path: Path) -> None:
    whole, run = tmp_path / "whole", tmp_path / "run"
    assert cli(*train_arguments(whole, seeds="0,1")).code == 0
    fake(NanEngine)
    result = cli(*train_arguments(run, seeds="0,1"))
    assert result.code == 0
    assert "the seeds [0] stay" in result.err
    assert (
        "seed 0, task window-open-v3, world 0" in json.loads((run / "frozen.json").read_text())["0"]["reason"]
    )
    assert not torch.isnan(read_state(run)["replay:state.storage"]).any()
    assert [line["evaluation/success"][1] for line in read_metrics(run) if "evaluation/success" in line] == [
        line["evaluation/success"][1] for line in read_metrics(whole) if "evaluation/success" in line
    ]


QUICK = ("AdaTask", "AlignedMTL", "FAMO", "GradDrop", "GradNorm", "NashMTL")


@pytest.mark.parametrize(
    "balancer", [pytest.param(b, marks=[] if b in QUICK else pytest.mark.slow) for b in available()]
)
def test_no_balancer_keeps_the_nan(
    fake: Callable, cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, balancer: str
) -> None:
    run = tmp_path / "run"
    balance = "critic" if available()[balancer].requires_positive_losses else "both"
    with monkeypatch.context() as patch:
        poison(patch, 7, "reward", np.nan)
        result = cli(*train_arguments(run, total_steps=24, balancer=balancer, balance=balance))
    assert_stopped(result, run, "loss or gradient of the critic", may_be_nan=NOT_THERE)
    assert cli("train", "--resume", run).code == 0


@pytest.mark.parametrize("rate", [1e4, 1e12])
def test_huge_learning_rate(fake: Callable, cli: Cli, tmp_path: Path, rate: float) -> None:
    run = tmp_path / "run"
    result = cli(*train_arguments(run, evaluation__interval=40, agent__learning_rate=rate, total_steps=100))
    assert_stopped(result, run, "not finite")


def test_the_policy_in_an_evaluation(
    fake: Callable, cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    act = SAC.act

    def broken(agent: SAC, observation: torch.Tensor, *, deterministic: bool) -> torch.Tensor:
        action = act(agent, observation, deterministic=deterministic)
        return action * np.nan if deterministic else action

    run = tmp_path / "run"
    with monkeypatch.context() as patch:
        patch.setattr(SAC, "act", broken)
        result = cli(*train_arguments(run))
    assert_stopped(result, run, "action", "not finite")


def test_a_regular_checkpoint_of_the_step_is_the_last_good_state(
    fake: Callable, cli: Cli, tmp_path: Path
) -> None:
    fake(NanEngine)
    run = tmp_path / "run"
    result = cli(*train_arguments(run, checkpoint__interval=8))
    assert assert_stopped(result, run, "not finite") == 24
    assert checkpoints.steps(run / "checkpoints")[-1] == 24


def test_no_gradient_for_what_the_tasks_share(
    fake: Callable, cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Something between losses and parameters is cut: nothing fails, and nothing is learned."""

    def cut(*args: Any, **kwargs: Any) -> TaskGradients:
        gradients = task_gradients(*args, **kwargs)
        return gradients._replace(jacobian=torch.zeros_like(gradients.jacobian))

    monkeypatch.setattr(agents.optimizer, "task_gradients", cut)
    result = cli(*train_arguments(tmp_path / "run", balancer="LS"))
    assert_stopped(result, tmp_path / "run", "share of the critic", "zero")
