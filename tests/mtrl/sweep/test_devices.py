"""`mtrl train --devices`: the packs are runs as they would be alone, stopped and resumed as one."""

import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from mtrl.cli import main
from mtrl.sweep import devices
from mtrl.system import terminal
from tests.mtrl.cli.test_cli import assert_refused
from tests.mtrl.conftest import Result
from tests.mtrl.sweep.conftest import BASE, OnFirstCheckpoint

Cli = Callable[..., Result]


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(BASE | {"balancer": None, "num_threads": 1}))
    return path


def test_seeds_spread_over_devices_stopped_and_resumed(config: Path, cli: Cli, tmp_path: Path) -> None:
    run = tmp_path / "run"
    train = ["train", "--config", config, "--seeds", "3,4,5", "--devices", "cpu,cpu", "--run_dir", run]
    stopper = OnFirstCheckpoint(run, lambda: os.kill(os.getpid(), signal.SIGINT), runs=2)
    result = cli(*train)
    assert result.code == 128 + signal.SIGINT
    assert f"go on by `mtrl train --resume {run}`" in result.err
    assert stopper.done
    assert_refused(cli(*train), "exists already", f"mtrl train --resume {run}")

    moved = tmp_path / "moved"
    shutil.move(run, moved)
    result = cli("train", "--resume", moved)
    assert result.code == 0, result.err
    assert "mean ± SEM" in " ".join(result.out.split())
    assert sorted(p.name for p in (moved / "runs").iterdir()) == ["run-seed3-4", "run-seed5"]
    alone = tmp_path / "alone"
    assert main(["train", "--config", str(config), "--seeds", "3,4", "--run_dir", str(alone)]) == 0
    metrics = (moved / "runs" / "run-seed3-4" / "metrics.jsonl").read_bytes()
    assert metrics == (alone / "metrics.jsonl").read_bytes()

    assert cli("evaluate", moved / "runs" / "run-seed5", "--episodes", "1").code == 0
    assert_refused(cli("evaluate", moved), "is no run directory", str(moved / "runs"))
    assert cli("report", moved / "runs" / "run-seed3-4", moved / "runs" / "run-seed5").code == 0
    result = cli("train", "--resume", moved)
    assert result.code == 0
    assert "nothing was trained" in result.err
    path = moved / "devices.yaml"
    text = path.read_text()
    path.write_text(text.replace("  - 4\n", "  - 7\n"))
    assert_refused(
        cli("train", "--resume", moved), "seeds is [3, 7, 5] in devices.yaml and [3, 4, 5] in manifest"
    )
    path.write_text(text.replace("devices: cpu,cpu", "devices: 0,9").replace("device: cpu", "device: cuda"))
    one = terminal.command("train", "--resume", moved / "runs" / "NAME", "--device", "cpu")
    assert_refused(cli("train", "--resume", moved), "is unknown with --device cuda", one)


@pytest.mark.parametrize(
    ("wanted", "seeds", "words"),
    [
        ("cpu,cpu", "0", ["at least 2 --seeds", "got 1"]),
        ("3", "0,1", ["at least 3 --seeds", "got 2"]),
        ("0", "0,1", ["must be a number from 1"]),
        ("cpu,tpu", "0,1", ["'tpu' is unknown", "cpu"]),
        ("0,1", "0,1", ["'0' is unknown", "cpu"]),
        ("", "0,1", ["--devices needs a value"]),
    ],
)
def test_bad_devices(
    config: Path, cli: Cli, tmp_path: Path, wanted: str, seeds: str, words: list[str]
) -> None:
    run = tmp_path / "run"
    result = cli(
        "train",
        "--config",
        config,
        "--seeds",
        seeds,
        f"--devices={wanted}",
        "--run_dir",
        run,
        "--device",
        "cpu",
    )
    assert_refused(result, *words)
    assert not run.exists()


def test_places_on_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    """The visible GPUs are told by what CUDA_VISIBLE_DEVICES calls them."""
    monkeypatch.setattr(devices, "visible_gpus", lambda: ["4", "GPU-6e2c", "7"])
    assert devices.places("2", "cuda") == [
        {"CUDA_VISIBLE_DEVICES": "4"},
        {"CUDA_VISIBLE_DEVICES": "GPU-6e2c"},
    ]
    assert devices.places("2,0", "cuda") == [{"CUDA_VISIBLE_DEVICES": "7"}, {"CUDA_VISIBLE_DEVICES": "4"}]
    assert devices.places("cpu,cpu", "cpu") == [{}, {}]
    for wanted, words in (
        ("4", "from 1 to"),
        ("0,3", "'3' is unknown"),
        ("1,1", "twice"),
        ("cpu,0", "'cpu'"),
    ):
        with pytest.raises(ValueError, match=words):
            devices.places(wanted, "cuda")
