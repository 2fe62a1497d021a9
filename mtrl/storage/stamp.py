"""What a run is stamped with: versions, machine, and the rules of its experiment."""

from __future__ import annotations

import dataclasses
import os
import platform
import subprocess
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from envs.cores import available_cores
from mtrl.config.train import TrainConfig


def stamp(config: TrainConfig) -> dict[str, Any]:
    """What two runs must share to be compared (protocol), and what one needs to be repeated (the rest)."""
    packages = ("mtrl-toolkit", "torch", "numpy", "gymnasium", "metaworld", "mujoco")
    cuda = config.device == "cuda"
    return {
        "protocol": dataclasses.asdict(config.get_protocol()),
        "benchmark": dataclasses.asdict(config.get_benchmark()),
        "engine": config.engine,
        "versions": {"python": platform.python_version()} | {name: _version(name) for name in packages},
        "git_commit": _git_commit(),
        "hardware": {
            "processor": platform.machine(),
            "cores": available_cores(),
            "device": torch.cuda.get_device_name() if cuda else "cpu",
            "threads": torch.get_num_threads(),
        },
    }


def _version(package: str) -> str | None:
    try:
        return version(package)
    except ModuleNotFoundError:
        return None


def _git_commit() -> str | None:
    """The commit this code is at, with "+changes" if files differ from it.

    Outside a checkout the variable MTRL_GIT_COMMIT may tell it, which the stamp then says; otherwise None.
    """
    root = Path(__file__).parents[2]
    git = ["git", "-C", str(root)]
    try:
        commit = subprocess.run(
            [*git, "rev-parse", "HEAD"], capture_output=True, text=True, check=True
        ).stdout
        status = subprocess.run(
            [*git, "status", "--porcelain", "-uno"], capture_output=True, text=True, check=True
        ).stdout
    except (OSError, subprocess.CalledProcessError):
        told = os.environ.get("MTRL_GIT_COMMIT")
        return f"{told} (as MTRL_GIT_COMMIT told)" if told else None
    return commit.strip() + ("+changes" if status else "")
