"""A sweep whose runs take seconds: Meta-World's easiest task, tiny networks, a few hundred steps."""

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml

BASE: dict[str, Any] = {
    "benchmark": "MT1:reach",
    "network": {"class_path": "shared", "init_args": {"width": 16, "depth": 1}},
    "total_steps": 400,
    "random_steps": 50,
    "batch_size": 8,
    "buffer_size": 300,
    "log_interval": 50,
    "evaluation": {"interval": 200, "episodes": 1},
    "checkpoint": {"interval": 50},
    "device": "cpu",
}


#: Long enough not to end before what a test waits for.
LONG = BASE | {"total_steps": 6_000, "evaluation": {"interval": 6_000, "episodes": 1}}


@pytest.fixture
def write_sweep(tmp_path: Path) -> Callable[..., Path]:
    """Writes a sweep's file, with other options than the tiny ones, and returns its path."""

    def write(**options: Any) -> Path:
        content = {
            "base": BASE,
            "axes": {"balancer": [None, "LS"]},
            "seeds": [0, 1],
            "sweep_dir": str(tmp_path / "sweep"),
        }
        path = tmp_path / "sweep.yaml"
        path.write_text(yaml.safe_dump(content | options))
        return path

    return write


def training_processes(root: Path) -> list[psutil.Process]:
    """The processes that train runs of a sweep."""
    found = []
    for process in psutil.process_iter(["cmdline"]):
        words = process.info["cmdline"] or []
        if "mtrl.cli.child" in words and any(str(root) in word for word in words):
            found.append(process)
    return found


class OnFirstCheckpoint(threading.Thread):
    """Calls a function once, as soon as so many runs of a sweep have a checkpoint beyond step 0."""

    def __init__(self, root: Path, action: Callable[[], object], runs: int = 1) -> None:
        super().__init__(daemon=True)
        self.root, self.action, self.runs = root, action, runs
        self.done = False
        self.start()

    def run(self) -> None:
        while len({path.parent for path in self.root.glob("runs/*/checkpoints/step_*[1-9]*")}) < self.runs:
            time.sleep(0.02)
        self.action()
        self.done = True
