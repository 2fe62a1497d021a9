"""A run takes a fraction of a second here: tiny networks, and worlds that cost nothing behind the real environment."""

import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from safetensors.torch import load_file
from tensorboard.summary.writer import event_file_writer
from torch import Tensor

import envs
from envs.benchmarks import PROTOCOLS, Protocol
from envs.worlds import ACTION_SIZE, OBSERVATION_SIZE, Transitions, World
from mtrl.cli import main
from mtrl.config.resolve import TRAINING_PRESETS, TrainingPreset
from mtrl.storage.json_lines import by_seed

TINY = Protocol("tiny", "v2", False, 6, 5, 20, 4)
"""Episodes of 6 steps, 5 goals, an evaluation of 4 episodes every 20 steps."""

SMALL_RUN = {
    "benchmark": "MT3",
    "protocol": "tiny",
    "network": "multi_head",
    "network.width": 8,
    "network.depth": 1,
    "network.head_width": 8,
    "balancer": "AlignedMTL",
    "seeds": "0",
    "total_steps": 40,
    "random_steps": 10,
    "batch_size": 8,
    "buffer_size": 30,
    "log_interval": 10,
    "device": "cpu",
    "engine": "reference",
    "num_workers": 0,
}

OPTIONS = {"log_interval": 9, "checkpoint__interval": 8, "evaluation__interval": 16, "seeds": "0,1"}
"""Nothing falls together: metrics are in the middle of an interval, worlds in the middle of an episode."""

MODERN: dict[str, object] = {
    "network": "residual",
    "network.head_width": None,
    "network.embedding_width": 4,
    "critic_network": "residual",
    "critic_network.width": 12,
    "critic_network.depth": 1,
    "critic_network.embedding_width": 4,
    "agent.critic": "categorical",
    "agent.num_atoms": 11,
    "agent.ensemble": "mean",
    "agent.normalize_returns": "true",
    "agent.weight_decay": 0.01,
    "agent.log_std": "tanh",
    "agent.target_entropy": -2,
    "agent.learning_rate_decay": "linear",
    "worlds_per_task": 2,
    "staggered": "true",
}
"""Every ingredient of the modern agent."""


class FakeEngine:
    """An `envs.worlds.Engine`: points [N, 3] that the actions move, rewarded for being near their goals [N, 3]."""

    observation_size, action_size, keeps_state = OBSERVATION_SIZE, ACTION_SIZE, True

    def __init__(self, worlds: Sequence[World], protocol: Protocol, num_workers: int) -> None:
        self.points, self.goals = np.zeros((2, len(worlds), 3))
        self.steps = 0

    def reset(self, positions: NDArray[np.intp], goals: NDArray[np.float64]) -> NDArray[np.float64]:
        self.goals[positions] = goals[:, :3]
        self.points[positions] = 0.5 * np.tanh(goals[:, 2::-1])
        return self._observe()[positions]

    def step(self, actions: NDArray[np.float64]) -> Transitions:
        self.steps += 1
        self.points += 0.2 * np.sin(actions[:, :3]) + 0.05 * actions[:, 3:] * self.points
        distances = np.linalg.norm(self.points - self.goals, axis=-1)
        return Transitions(self._observe(), 1.0 - distances, distances < 0.35, {})

    def _observe(self) -> NDArray[np.float64]:
        observations = np.zeros((len(self.points), OBSERVATION_SIZE))
        observations[:, :3], observations[:, -3:] = self.points, self.goals
        return observations

    def get_state(self) -> NDArray[np.float64]:
        return np.hstack([self.points, self.goals])

    def set_state(self, state: NDArray[np.float64], observations: NDArray[np.float64]) -> None:
        self.points[:], self.goals[:] = np.split(state, 2, axis=1)

    def close(self) -> None:
        pass


@pytest.fixture(autouse=True)
def output_to_a_file(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lines are as long as they are, whatever width a test runner sets."""
    monkeypatch.delenv("COLUMNS", raising=False)


@pytest.fixture(autouse=True)
def event_files_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    """TensorBoard reads a run's files by name: second, process, count. Here runs take less than a second, and a count
    of 10 would come before one of 9."""
    monkeypatch.setattr(event_file_writer, "_global_uid", event_file_writer.AtomicCounter(1_000))


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Callable[[type], None]:
    """Puts `FakeEngine` in the place of Meta-World, and adds the protocol `tiny`; call it for an engine of your own."""

    return put_fakes(monkeypatch)


def put_fakes(monkeypatch: pytest.MonkeyPatch) -> Callable[[type], None]:
    def use(engine: type) -> None:
        monkeypatch.setitem(envs._ENGINES, "reference", f"{engine.__module__}:{engine.__name__}")

    monkeypatch.setitem(PROTOCOLS, "tiny", TINY)
    monkeypatch.setitem(TRAINING_PRESETS, "tiny", TrainingPreset(random_steps=10, max_grad_norm=1.0))
    use(FakeEngine)
    return use


@dataclass(frozen=True)
class Result:
    """What a command left: its exit code, stdout and stderr."""

    code: int
    out: str
    err: str


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str]) -> Callable[..., Result]:
    """Runs `mtrl ARGUMENTS` in this process."""

    def run(*arguments: object) -> Result:
        code = main([str(a) for a in arguments])
        captured = capsys.readouterr()
        return Result(code, captured.out, captured.err)

    return run


def train_arguments(run_dir: Path, **options: object) -> list[str]:
    """The command line of a small run; in an option's name `__` stands for a dot, and None leaves it out."""
    values = SMALL_RUN | {name.replace("__", "."): value for name, value in options.items()}
    given = {name: value for name, value in values.items() if value is not None}
    arguments = [x for name, value in given.items() for x in (f"--{name}", str(value))]
    return ["train", *arguments, "--run_dir", str(run_dir)]


@pytest.fixture
def train(tmp_path: Path, fake: Any, cli: Callable[..., Result]) -> Callable[..., Path]:
    """Trains a small run of that name in fake worlds, and returns its directory."""

    def run(name: str, **options: object) -> Path:
        result = cli(*train_arguments(tmp_path / name, **options))
        assert result.code == 0, result.err
        return tmp_path / name

    return run


@pytest.fixture(scope="session")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run of `OPTIONS` that nothing stopped and nothing went beside; not to be changed."""
    directory = tmp_path_factory.mktemp("whole") / "run"
    with pytest.MonkeyPatch.context() as monkeypatch:
        put_fakes(monkeypatch)
        assert main(train_arguments(directory, **OPTIONS)) == 0
    return directory


@pytest.fixture(scope="session")
def trained_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("trained_once") / "run"
    with pytest.MonkeyPatch.context() as monkeypatch:
        put_fakes(monkeypatch)
        assert main(train_arguments(directory)) == 0
    return directory


@pytest.fixture
def finished(trained_once: Path, fake: Any, tmp_path: Path) -> Path:
    """A copy of a finished small run: 40 steps, checkpoints at 20 and 40."""
    return shutil.copytree(trained_once, tmp_path / "finished")


def read_metrics(run_dir: Path) -> list[dict[str, Any]]:
    """The lines of a log but the first, which says whose it is; metrics as [S] or [S][T]."""
    lines = [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text().splitlines()]
    return [
        {name: values if name == "missing" else by_seed(values) for name, values in x.items()}
        for x in lines
        if "experiment" not in x
    ]


def forget_logs(run_dir: Path) -> None:
    """Makes the logs what an older version wrote: without the first line, which says whose they are."""
    for path in (run_dir / "metrics.jsonl", run_dir / "timing.jsonl"):
        first, *lines = path.read_text().splitlines(keepends=True)
        assert '"experiment"' in first
        path.write_text("".join(lines))


def read_state(run_dir: Path, step: int = 40) -> dict[str, Any]:
    """All tensors of a checkpoint by file and name, and its manifest's values."""
    directory = run_dir / "checkpoints" / f"step_{step:010d}"
    state: dict[str, Any] = {"values": json.loads((directory / "manifest.json").read_text())["values"]}
    for path in directory.glob("*.safetensors"):
        state |= {f"{path.stem}:{name}": tensor for name, tensor in load_file(path).items()}
    return state


def assert_same_state(first: dict[str, Any], second: dict[str, Any]) -> None:
    """Bit-equality; NaN equals NaN."""
    assert first.keys() == second.keys()
    for name, value in first.items():
        if isinstance(value, Tensor):
            assert value.dtype == second[name].dtype, name
            np.testing.assert_array_equal(value.numpy(), second[name].numpy(), err_msg=name)
        else:
            assert value == second[name], name
