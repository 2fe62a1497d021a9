"""`mtrl.load_policy` as users call it."""

import functools
import itertools
import json
import math
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

import mtrl
from mtrl.config.build import make_evaluation_env
from mtrl.config.loading import load_config
from mtrl.config.train import EvaluationConfig
from mtrl.evaluation.checkpoint import CheckpointRef
from mtrl.policy import policy as policy_module
from mtrl.storage.checkpoint import CheckpointError

Train = Callable[..., Path]
TASKS = ("drawer-close-v3", "window-open-v3", "window-close-v3")


@pytest.fixture
def policy(trained_once: Path) -> mtrl.Policy:
    return mtrl.load_policy(trained_once)


@pytest.fixture
def observation() -> np.ndarray:
    return np.random.default_rng(0).normal(size=(6, 39))


@pytest.mark.parametrize("network", ["multi_head", "care"])
@pytest.mark.parametrize("seed", [3, 5])
def test_it_is_the_policy_of_that_seed(train: Train, network: str, seed: int, observation: Any) -> None:
    sizes = {"network": "care", "network__head_width": None} if network == "care" else {}
    run = train("run", seeds="3,5", **sizes)
    for checkpoint in ("last", "20", 20):
        policy = mtrl.load_policy(run, checkpoint, seed)
        assert policy.step == (40 if checkpoint == "last" else 20)
        ref = CheckpointRef.find(run, load_config(run), str(checkpoint))
        evaluation = EvaluationConfig(episodes=1)
        env = make_evaluation_env(ref.config, [3, 5], evaluation, "reference")
        agent = ref.load_agent(env, evaluation)
        env.close()
        batch = torch.from_numpy(observation).float().expand(2, 3, 6, 39)
        expected = agent.act(batch, deterministic=True)[[3, 5].index(seed)].numpy()
        for t, task in enumerate(TASKS):
            np.testing.assert_allclose(policy(observation, task), expected[t], rtol=1e-5, atol=1e-6)


def test_numpy_and_torch_single_and_batch(policy: mtrl.Policy, observation: np.ndarray) -> None:
    one = policy(observation[0], "window-open-v3")
    assert isinstance(one, np.ndarray)
    assert (one.shape, one.dtype) == ((4,), np.float32)
    batch = policy(torch.from_numpy(observation), "window-open-v3")
    assert isinstance(batch, torch.Tensor)
    assert (batch.shape, batch.dtype) == ((6, 4), torch.float32)
    np.testing.assert_allclose(batch[0].numpy(), one, atol=1e-6)
    assert np.abs(one).max() <= 1
    assert policy(observation[:0], "window-open").shape == (0, 4)


def test_tasks_by_name_short_name_and_index_one_for_each(
    policy: mtrl.Policy, observation: np.ndarray
) -> None:
    assert policy.tasks == TASKS
    names = [TASKS[i] for i in (0, 1, 2, 0, 2, 1)]
    expected = np.stack([policy(o, t) for o, t in zip(observation, names, strict=True)])
    indices = np.array([0, 1, 2, 0, 2, 1])
    for tasks in (
        names,
        [n.removesuffix("-v3") for n in names],
        indices,
        torch.from_numpy(indices),
        [*indices],
    ):
        np.testing.assert_allclose(policy(observation, tasks), expected, atol=1e-6)
    np.testing.assert_allclose(policy(observation[1], np.int64(1)), expected[1], atol=1e-6)


def test_sampled_actions_repeat_with_torchs_seed(policy: mtrl.Policy, observation: np.ndarray) -> None:
    def draw() -> np.ndarray:
        torch.manual_seed(3)
        return policy(observation, 0, deterministic=False)

    first = draw()
    np.testing.assert_array_equal(draw(), first)
    assert (policy(observation, 0, deterministic=False) != first).any()
    mean, log_std = policy.network(torch.from_numpy(observation).float(), torch.zeros(6, dtype=torch.int64))
    torch.manual_seed(3)
    expected = torch.tanh(mean + log_std.exp() * torch.randn(6, 4))
    np.testing.assert_allclose(first, expected, atol=1e-6)


def test_an_observation_may_require_gradients(policy: mtrl.Policy, observation: np.ndarray) -> None:
    x = torch.from_numpy(observation).requires_grad_()
    policy(x, "window-open").sum().backward()
    assert x.grad is not None
    assert x.grad.abs().sum() > 0
    assert not any(p.requires_grad for p in policy.parameters())


def test_the_only_task_need_not_be_named(train: Train, observation: np.ndarray) -> None:
    policy = mtrl.load_policy(train("run", benchmark="MT1:reach"))
    np.testing.assert_array_equal(policy(observation), policy(observation, "reach"))


@pytest.mark.parametrize(
    ("change", "task", "sentence"),
    [
        (lambda o: o, None, "has 3 tasks: name one of drawer-close-v3, window-open-v3, window-close-v3"),
        (lambda o: o, "window-opn", "no task 'window-opn': did you mean 'window-open-v3'"),
        (lambda o: o, 3, "a name or an index below 3, but it is 3"),
        (lambda o: o, -1, "a name or an index below 3, but it is -1"),
        (lambda o: o, ["window-open"] * 5, "for each of the 6 observations is expected, got 5"),
        (lambda o: o[:, :38], 0, r"shape \[39\] or a batch \[N, 39\] is expected, but it has \[6, 38\]"),
        (lambda o: o[None], 0, r"but it has \[1, 6, 39\]"),
        (lambda o: np.where(o > 0, np.nan, o), 0, "finite observation is expected"),
    ],
)
def test_what_it_refuses(
    policy: mtrl.Policy, observation: Any, change: Any, task: Any, sentence: str
) -> None:
    with pytest.raises(ValueError, match=sentence):
        policy(change(observation), task)


def test_a_network_of_the_users_own_that_is_imported(
    train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "users_network.py").write_text(
        "from agents.networks import Shared\n\nclass Mine(Shared): pass\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    run = train("run", network="users_network.Mine", network__head_width=None)
    assert type(mtrl.load_policy(run).network.actor.network).__name__ == "SharedNetwork"


def test_what_loading_refuses(finished: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no run directory: it has no config"):
        mtrl.load_policy(tmp_path)
    with pytest.raises(ValueError, match="was trained with the seeds 0, not 4"):
        mtrl.load_policy(finished, seed=4)
    for seed in (True, 1.0, "0", 0.5):
        with pytest.raises(ValueError, match="was trained with the seeds 0, not"):
            mtrl.load_policy(finished, seed=seed)
    for device in ("nosuch", "cuda:99", 3.5, None):
        with pytest.raises(ValueError, match=r"^The device .* cannot be used: .*\.$"):
            mtrl.load_policy(finished, device=device)
    with pytest.raises(CheckpointError, match="no checkpoint '7'"):
        mtrl.load_policy(finished, 7)
    path = finished / "config.yaml"
    whole = path.read_text()
    path.write_text(whole.replace("agents.networks.multi_head.", "somebodys.module."))
    with pytest.raises(ValueError, match=r"if you trust it, `import somebodys.module` first"):
        mtrl.load_policy(finished)
    path.write_text("{")
    with pytest.raises(ValueError, match="damaged"):
        mtrl.load_policy(finished)


def edited(run: Path, file: str, name: str, value: Any) -> None:
    content = (json.loads if file == "stamp.json" else yaml.safe_load)((run / file).read_text())
    *parts, last = name.split(".")
    functools.reduce(dict.__getitem__, parts, content)[last] = value
    (run / file).write_text(yaml.safe_dump(content) if file == "config.yaml" else json.dumps(content))


#: Values that are not what the toolkit writes, of options that a policy is made with.
DAMAGED: dict[str, list[tuple[str, Any]]] = {
    "config.yaml": [
        *itertools.product(["seeds"], [0, [], None, ["a"]]),
        *itertools.product(["agent", "network", "network.init_args"], [5, "x", [1]]),
        *itertools.product(["critic_network"], [5, {}, "x"]),
        *itertools.product(["network.class_path"], [5, None, ["a"], "", "os.system"]),
        *itertools.product(["network.init_args.width"], [9, "a", 10**6]),
        *itertools.product(["network.init_args.depth"], [9, 10**6]),
        ("agent", None),
        ("agent.nosuch", 1),
        ("network.init_args.nosuch", 1),
    ],
    "stamp.json": [
        *itertools.product(["benchmark.tasks"], [5, [], ["a"], [1, 2, 3]]),
        *itertools.product(
            ["observation_size", "action_size"], [5, 5.0, -1, "a", 10**12, math.inf, math.nan, None]
        ),
        ("benchmark", []),
    ],
}


def test_tasks_in_another_order_are_refused(finished: Path, tmp_path: Path) -> None:
    """Each would get the actions of another."""
    edited(finished, "stamp.json", "benchmark.tasks", [*reversed(TASKS)])
    with pytest.raises(
        ValueError, match=r"^The files of the run .* disagree: benchmark\.tasks is .* in stamp\.json"
    ):
        mtrl.load_policy(finished)
    with pytest.raises(ValueError, match=r"benchmark\.tasks"):
        mtrl.export(finished, "torch", output=tmp_path / "policy.pt2")
    assert not (tmp_path / "policy.pt2").exists()


@pytest.mark.parametrize("recorded", [True, False])
@pytest.mark.parametrize(
    ("file", "name", "value"), [(file, *change) for file, changes in DAMAGED.items() for change in changes]
)
def test_a_run_that_was_edited_is_refused_in_a_sentence(
    finished: Path, monkeypatch: pytest.MonkeyPatch, recorded: bool, file: str, name: str, value: Any
) -> None:
    """Also one whose checkpoints do not say what they were made with, as those of older versions."""
    edited(finished, file, name, value)
    if not recorded:
        monkeypatch.setattr(policy_module, "check_run", lambda *_: None)
    with pytest.raises(ValueError, match=r"\.$") as error:
        mtrl.load_policy(finished)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("content", ["[" * 100_000, '{"a": 1' + "0" * 5_000 + "}", "[]"])
def test_a_stamp_that_python_cannot_read_is_refused(finished: Path, content: str) -> None:
    (finished / "stamp.json").write_text(content)
    with pytest.raises(ValueError, match=r"config\.yaml or stamp\.json is damaged \(.*\)\.$"):
        mtrl.load_policy(finished)


def test_nothing_is_built_in_sizes_that_the_checkpoint_does_not_have(
    finished: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def build(*_: Any, **__: Any) -> None:
        raise AssertionError("it builds an agent")

    monkeypatch.setattr(policy_module, "ActorCritic", build)
    edited(finished, "config.yaml", "network.init_args.depth", 1_000)
    with pytest.raises(ValueError, match=r"network\.depth is 1000 in config\.yaml and 1 in"):
        mtrl.load_policy(finished)


def test_a_name_that_no_file_can_have_is_no_run() -> None:
    for name in ("x" * 300, "x\0y"):
        with pytest.raises(ValueError, match="no run directory: it has no config"):
            mtrl.load_policy(name)


def test_loading_imports_no_environment_and_starts_no_process(trained_once: Path) -> None:
    code = f"""
import sys, mtrl
mtrl.load_policy({str(trained_once)!r})
heavy = {{"envs", "gymnasium", "metaworld", "mujoco", "jsonargparse", "matplotlib", "tensorboard"}}
sys.exit(", ".join(heavy & sys.modules.keys()) or 0)
"""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (result.returncode, result.stderr) == (0, "")
