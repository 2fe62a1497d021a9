"""The training loop: what is stored, what repeats, what depends on what."""

import contextlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import agents.optimizer
from envs.worlds import Transitions
from mtrl.balancers import active_set
from mtrl.config.build import make_agent
from mtrl.config.loading import configure
from mtrl.config.train import TrainConfig
from mtrl.storage import checkpoints
from mtrl.storage.run_directory import HeldDirectory
from mtrl.training.loop import TrainingLoop
from mtrl.training.trainer import Trainer
from tests.mtrl.conftest import (
    MODERN,
    TINY,
    FakeEngine,
    assert_same_state,
    read_metrics,
    read_state,
    train_arguments,
)

Train = Callable[..., Path]


def make_config(run_dir: Path, **options: object) -> TrainConfig:
    return configure(train_arguments(run_dir, **options)[1:])[0]


def collect(loop: TrainingLoop, steps: int) -> None:
    for _ in range(steps):
        loop.collector.start()
        loop.collector.step()


def curves(directory: Path) -> dict[str, list[tuple[int, float]]]:
    accumulator = EventAccumulator(str(directory), size_guidance={"scalars": 0})
    accumulator.Reload()
    return {
        tag: [(event.step, event.value) for event in accumulator.Scalars(tag)]
        for tag in accumulator.Tags()["scalars"]
    }


# ------------------------------------------------------------------------------------------------ what is stored


def test_the_transition_at_an_episodes_end_leads_to_its_own_last_observation(
    fake: Callable, tmp_path: Path
) -> None:
    """Not to the first one of the next episode; and a time limit is no termination, so it bootstraps."""
    loop = TrainingLoop(make_config(tmp_path / "run", buffer_size=30), tmp_path / "run")
    horizon = TINY.horizon
    collect(loop, 3 * horizon)
    loop.close()
    observation, action, _, next_observation, terminated = loop.replay.storage.split([39, 4, 1, 39, 1], -1)
    points, goals = observation[0, :, :, :3].double(), observation[0, :, :, -3:]
    moves = action[0].double()
    expected = points + 0.2 * torch.sin(moves[..., :3]) + 0.05 * moves[..., 3:] * points
    stored = 3 * horizon
    torch.testing.assert_close(next_observation[0, :, :stored, :3], expected[:, :stored].float())
    torch.testing.assert_close(next_observation[0, :, :stored, -3:], goals[:, :stored])
    first_of_next = observation[0, :, horizon:stored:horizon]
    last_of_previous = next_observation[0, :, horizon - 1 : stored - 1 : horizon]
    assert (first_of_next[..., :3] != last_of_previous[..., :3]).all()
    assert terminated.abs().max() == 0


class FaultyEngine(FakeEngine):
    """The first world breaks in its fourth step: its numbers are garbage, and it is reset."""

    def step(self, actions: NDArray[np.float64]) -> Transitions:
        transitions = super().step(actions)
        if self.steps != 4:
            return transitions
        transitions.observations[0] = transitions.rewards[0] = np.nan
        return transitions._replace(faults={0: "it broke"})


def test_a_fault_is_reported_and_its_transition_not_learned_from(
    fake: Callable, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fake(FaultyEngine)
    loop = TrainingLoop(make_config(tmp_path / "run"), tmp_path / "run")
    collect(loop, 10)
    loop.close()
    assert "it broke" in capsys.readouterr().err
    assert loop.replay.size.tolist() == [[9, 10, 10]]
    assert torch.isfinite(loop.replay.storage).all()
    assert np.isfinite(loop.collector.episode_metrics.read()["training/returns"]).all()


def test_rewards_are_normalised_where_the_protocol_says_so(train: Train, tmp_path: Path) -> None:
    loops = [
        TrainingLoop(make_config(tmp_path / p, protocol=p, random_steps=100), tmp_path / p)
        for p in ("tiny", "paper")
    ]
    for loop in loops:
        collect(loop, 5)
        loop.close()
    plain, normalised = (loop.replay.storage[..., :5, 43] for loop in loops)
    states = [loop.collector.state_dict()["normalizer"] for loop in loops]
    assert states[0] is None
    assert states[1] is not None
    assert not torch.equal(plain, normalised)


def test_actions_are_uniform_at_first_and_then_the_policys(fake: Callable, tmp_path: Path) -> None:
    config = make_config(tmp_path / "run", random_steps=4, worlds_per_task=2, total_steps=100)
    loop = TrainingLoop(config, tmp_path / "run")
    generator = loop.collector.random_actions.generators[0].clone_state()
    collect(loop, 2)
    for step in range(2):
        actions = loop.replay.storage[0, :, 2 * step : 2 * step + 2, 39:43]
        assert torch.equal(actions, 2 * torch.rand(3, 2, 4, generator=generator) - 1)
    assert loop.step == 4
    before = loop.collector.random_actions.generators[0].get_state()
    loop.collector.start()
    assert torch.equal(before, loop.collector.random_actions.generators[0].get_state())
    loop.close()


def test_only_an_agent_that_is_trained_looks_for_what_factors_pay_for(
    fake: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Which takes a pass through its networks."""
    asked: list[int] = []
    monkeypatch.setattr(
        agents.optimizer, "factors_pay", lambda shape, num_samples, device: asked.append(num_samples)
    )
    config = make_config(tmp_path / "run")
    with contextlib.closing(TrainingLoop(config, tmp_path / "run")) as loop:
        assert set(asked) == {config.batch_size}
        asked.clear()
        make_agent(config, loop.env)
    assert not asked


@pytest.mark.parametrize(("worlds", "updates"), [(1, 1), (2, 3)])
def test_number_of_updates(fake: Callable, tmp_path: Path, worlds: int, updates: int) -> None:
    config = make_config(
        tmp_path / "run", worlds_per_task=worlds, updates_per_step=updates, random_steps=10, total_steps=30
    )
    loop = TrainingLoop(config, tmp_path / "run")
    count = 0
    update = loop.learner.update

    def counted() -> None:
        nonlocal count
        count += 1
        update()

    loop.learner.update = counted
    tmp_path.joinpath("run").mkdir()
    with contextlib.closing(Trainer(loop)) as trainer:
        trainer.run(HeldDirectory(tmp_path / "run"))
    steps_before = [step for step in range(0, 30, worlds) if step > 10]
    assert count == updates * len(steps_before)


# ------------------------------------------------------------------------------------------------ what repeats


@pytest.mark.parametrize("network", [pytest.param("multi_head", marks=pytest.mark.slow), "shared"])
def test_two_equal_runs_are_bit_equal(train: Train, network: str) -> None:
    options = {"seeds": "0,3", "network": network, "network__width": 8}
    if network == "shared":
        options["network__head_width"] = None
    first, second = (train(name, **options) for name in ("first", "second"))
    assert (first / "metrics.jsonl").read_bytes() == (second / "metrics.jsonl").read_bytes()
    assert_same_state(read_state(first), read_state(second))
    for name in ("mean", "seed_0", "seed_3"):
        found, again = (curves(run / "tensorboard" / name) for run in (first, second))
        for tag in found.keys() - {t for t in found if t.startswith("time/")}:
            assert found[tag] == again[tag]


def test_two_equal_runs_of_the_modern_agent_are_bit_equal(train: Train) -> None:
    first, second = (train(name, seeds="0,3", **MODERN) for name in ("first", "second"))
    assert (first / "metrics.jsonl").read_bytes() == (second / "metrics.jsonl").read_bytes()
    assert_same_state(read_state(first), read_state(second))
    logged = read_metrics(first)[-2]
    assert np.array(logged["return_scale"]).shape == np.array(logged["actor/log_std"]).shape == (2, 3)
    assert (np.array(logged["return_scale"]) > 0).all()


def test_the_modern_agents_seeds_do_not_depend_on_each_other(train: Train) -> None:
    together, changed = train("together", seeds="0,1,2", **MODERN), train("changed", seeds="0,1,5", **MODERN)
    assert_seeds_close(together, changed, [(0, 0), (1, 1)])


def test_another_seed_gives_another_run(train: Train) -> None:
    first, second = train("first", seeds="0"), train("second", seeds="1")
    assert (first / "metrics.jsonl").read_bytes() != (second / "metrics.jsonl").read_bytes()


def assert_seeds_close(first: Path, second: Path, pairs: list[tuple[int, int]]) -> None:
    """Seed i of the first run equals seed j of the second to float tolerance, in metrics and in the learned state."""
    lines, others = read_metrics(first), read_metrics(second)
    assert len(lines) == len(others)
    for line, other in zip(lines, others, strict=True):
        assert line.keys() == other.keys()
        for name in line.keys() - {"step"}:
            for i, j in pairs:
                np.testing.assert_allclose(
                    np.array(line[name][i], dtype=float),
                    np.array(other[name][j], dtype=float),
                    rtol=2e-4,
                    atol=1e-5,
                    err_msg=f"{name} at step {line['step']}",
                )
    state, other_state = read_state(first), read_state(second)
    learned = [n for n in state if n.startswith("agent:") and ("shared" in n or "owned" in n or "alpha" in n)]
    assert len(learned) >= 7
    for name in [*learned, "replay:state.storage", "loop:state.observation"]:
        a, b = state[name], other_state[name]
        if name == "loop:state.observation":
            a, b = (x.unflatten(0, (-1, 3)) for x in (a, b))
        for i, j in pairs:
            torch.testing.assert_close(a[i], b[j], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("balancer", ["AlignedMTL", "PCGrad"])
def test_seeds_trained_together_do_not_depend_on_each_other(train: Train, balancer: str) -> None:
    together = train("together", seeds="0,1,2", balancer=balancer)
    changed = train("changed", seeds="0,1,5", balancer=balancer)
    assert_seeds_close(together, changed, [(0, 0), (1, 1)])
    line, other = read_metrics(together)[-2], read_metrics(changed)[-2]
    assert line["critic/loss"][2] != other["critic/loss"][2]


def test_a_seed_trained_alone_is_the_seed_trained_beside_others(train: Train) -> None:
    together, alone = train("together", seeds="0,1,2"), train("alone", seeds="1")
    assert_seeds_close(together, alone, [(1, 0)])


def test_evaluation_leaves_training_alone(train: Train) -> None:
    """Generators, environments, weights, replay and metrics are those of a run that evaluates at its end only."""
    often = train("often", evaluation__interval=4, checkpoint__interval=40, seeds="0,1")
    never = train("never", evaluation__interval=40, checkpoint__interval=40, seeds="0,1")
    lines, others = (
        [line for line in read_metrics(run) if "evaluation/success" not in line] for run in (often, never)
    )
    assert lines == others
    assert sum("evaluation/success" in line for line in read_metrics(often)) == 10
    states = [read_state(run) for run in (often, never)]
    intervals = [state["values"]["loop"]["experiment"].pop("evaluation.interval") for state in states]
    assert intervals == [4, 40]
    assert_same_state(*states)


def test_checkpoints_leave_training_alone(train: Train) -> None:
    often, once = train("often", checkpoint__interval=3), train("once", checkpoint__interval=40)
    assert (often / "metrics.jsonl").read_bytes() == (once / "metrics.jsonl").read_bytes()
    assert_same_state(read_state(often), read_state(once))


# ------------------------------------------------------------------------------------------------ what is kept


def test_a_run_directory(train: Train) -> None:
    run = train("run", total_steps=100, seeds="0,1")
    assert {p.name for p in run.iterdir()} == {
        "config.yaml",
        "stamp.json",
        "metrics.jsonl",
        "timing.jsonl",
        "tensorboard",
        "checkpoints",
    }
    kept = {p.name for p in (run / "checkpoints").iterdir()}
    assert {"step_0000000080", "step_0000000100"} <= kept
    assert len(kept) <= 3
    assert {p.name for p in (run / "tensorboard").iterdir()} == {"mean", "seed_0", "seed_1"}


def test_tensorboard_shows_what_a_run_is_evaluated_by(train: Train) -> None:
    """Per seed and for the mean, by environment steps per task."""
    run = train("run", seeds="0,1", total_steps=40, random_steps=5)
    tasks = ["drawer-close", "window-open", "window-close"]
    per_task = [
        "training/success",
        "training/returns",
        "evaluation/success",
        "evaluation/returns",
        "critic/loss",
        "actor/loss",
        "temperature",
        "critic/task_grad_norm",
        "actor/task_grad_norm",
    ]
    per_seed = [f"{n}/{m}" for n in ("critic", "actor") for m in ("grad_norm", "condition_number")]
    by_directory = {d: curves(run / "tensorboard" / d) for d in ("mean", "seed_0", "seed_1")}
    of_tasks = {task: curves(run / "tensorboard" / "mean" / task) for task in tasks}
    for directory, found in by_directory.items():
        for name in per_task:
            assert f"{name}/mean" in found
            for task in tasks:
                assert name in of_tasks[task] if directory == "mean" else f"{name}/{task}" in found
        for name in per_seed:
            assert name in found
        assert [step for step, _ in found["evaluation/success/mean"]] == [20, 40]
        assert [step for step, _ in found["critic/loss/mean"]] == [10, 20, 30, 40]
    for tag, mean in (
        ("critic/loss/window-open", of_tasks["window-open"]["critic/loss"]),
        ("actor/condition_number", by_directory["mean"]["actor/condition_number"]),
    ):
        seeds = [dict(by_directory[f"seed_{s}"][tag]) for s in (0, 1)]
        for step, value in mean:
            assert value == pytest.approx(np.mean([seed[step] for seed in seeds]), rel=1e-5)


@pytest.mark.parametrize("balancer", ["AlignedMTL", "LS", "RLW"])
def test_stability_is_logged_whether_the_method_needs_it_or_not(train: Train, balancer: str) -> None:
    lines = read_metrics(train("run", balancer=balancer, log_interval=7))
    lines = [line for line in lines if line["step"] > 14 and "critic/loss" in line]
    assert [line["step"] for line in lines] == [21, 28, 35, 40]
    for line in lines:
        for network in ("critic", "actor"):
            assert line[f"{network}/condition_number"][0] >= 1.0
            assert np.isfinite(line[f"{network}/task_grad_norm"]).all()


def test_solves_that_do_not_converge_surface_in_the_logs(
    train: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    """How many of the updates so far, of each seed and network; the first update follows step 12."""
    good = read_metrics(train("good", balancer="MGDA", seeds="0,1"))
    monkeypatch.setattr(active_set, "max_iterations", lambda num_tasks: 0)
    run = train("run", balancer="MGDA", seeds="0,1")
    for network in ("critic", "actor"):
        name = f"{network}/solver_failures"
        assert [line[name] for line in good if name in line][-1] == [0.0, 0.0]
        counts = {line["step"]: line[name] for line in read_metrics(run) if name in line}
        assert counts == {10: [0.0, 0.0], 20: [9.0, 9.0], 30: [19.0, 19.0], 40: [29.0, 29.0]}
        assert [value for _, value in curves(run / "tensorboard" / "seed_1")[name]] == [0.0, 9.0, 19.0, 29.0]


def test_metrics_are_those_of_the_lines(train: Train) -> None:
    run = train("run", seeds="0,1")
    found = curves(run / "tensorboard" / "seed_1")
    for line in read_metrics(run):
        for name, values in line.items():
            if name == "step":
                continue
            row = np.array(values[1], dtype=float)
            if row.ndim == 0:
                if np.isfinite(row):
                    assert dict(found[name])[line["step"]] == pytest.approx(float(row), rel=1e-6)
                continue
            for task, value in zip(("drawer-close", "window-open", "window-close"), row, strict=True):
                if np.isfinite(value):
                    assert dict(found[f"{name}/{task}"])[line["step"]] == pytest.approx(value, rel=1e-6)


def test_training_success_counts_the_episodes_that_ended(train: Train) -> None:
    run = train("run", total_steps=12, log_interval=3, random_steps=100)
    lines = [line for line in read_metrics(run) if "evaluation/success" not in line]
    assert [("training/success" in line) for line in lines] == [False, True, False, True]


def test_the_best_checkpoint_is_the_first_with_the_highest_success(train: Train) -> None:
    run = train("run", total_steps=100, seeds="0,1")
    successes = {
        line["step"]: float(np.mean(line["evaluation/success"]))
        for line in read_metrics(run)
        if "evaluation/success" in line
    }
    best = max(successes, key=lambda step: successes[step])
    found = checkpoints.find(run / "checkpoints", "best")
    assert found.name == f"step_{best:010d}"
    assert found.is_dir()
