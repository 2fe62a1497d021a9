"""Run directories as training leaves them, written in a moment."""

import json
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

TASKS = ["reach-v3", "push-v3"]
Write = Callable[..., Path]


def run_config(seeds: list[int], balancer: str, total_steps: int) -> dict[str, Any]:
    return {
        "benchmark": "MT2",
        "network": {"class_path": "agents.networks.shared.Shared", "init_args": {"width": 8}},
        "balancer": {"class_path": f"mtrl.balancers.x.{balancer}", "init_args": {"preference": None}},
        "agent": {"gamma": 0.99},
        "seeds": seeds,
        "total_steps": total_steps,
    }


@pytest.fixture
def write_run(tmp_path: Path) -> Write:
    """Writes a run: success [n, S, T] at steps 100, 200, ..., a second for every hundred steps."""

    def write(
        name: str,
        success: Any,
        seeds: list[int] | None = None,
        balancer: str = "LS",
        protocol: dict[str, Any] | None = None,
        config: dict[str, Any] | None = None,
        written_by: str | None = None,
        tasks: Sequence[str] = TASKS,
    ) -> Path:
        values = np.asarray(success, dtype=float)
        seeds = list(range(values.shape[1])) if seeds is None else seeds
        directory = tmp_path / "runs" / name
        directory.mkdir(parents=True)
        stamp = {
            "protocol": {"name": "tiny", "horizon": 6} | (protocol or {}),
            "benchmark": {"name": "MT2", "tasks": list(tasks[: values.shape[2]])},
            "versions": {"mtrl-toolkit": written_by or version("mtrl-toolkit")},
            "hardware": {"device": "cpu", "cores": 2},
        }
        lines = [{"step": 100 * (i + 1), "evaluation/success": v.tolist()} for i, v in enumerate(values)] + [
            {
                "step": 100 * len(values),
                "critic/condition_number": [3.0] * len(seeds),
                "critic/cosine": [0.1] * len(seeds),
            }
        ]
        timing = [
            {"step": 100 * (i + 1), "seconds": 1.0, "steps_per_second": 100.0} for i in range(len(values))
        ]
        settings = run_config(seeds, balancer, 100 * len(values)) | (config or {})
        (directory / "config.yaml").write_text(yaml.safe_dump(settings))
        (directory / "stamp.json").write_text(json.dumps(stamp))
        (directory / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
        (directory / "timing.jsonl").write_text("".join(json.dumps(line) + "\n" for line in timing))
        return directory

    return write
