"""Time and memory of a run, from a short one of a few hundred steps in a temporary directory."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import psutil
import torch
import yaml

from envs import ACTION_SIZE, OBSERVATION_SIZE, CustomBenchmark
from envs.custom import shared_sizes
from mtrl.storage.json_lines import read_lines
from mtrl.sweep.plan import Method
from mtrl.sweep.process import allowances, last_words, spawn

_STEPS = 300  # vector steps, the first third of them without updates


@dataclass(frozen=True)
class Measurement:
    """What a short run took.

    startup: seconds beside the steps: imports, environments, an evaluation, a checkpoint.
    collect: seconds per vector step without an update.
    step: seconds per vector step with its updates.
    memory: bytes at the most, of the process and those that it starts; of one on a GPU, those of the GPU.
    """

    startup: float
    collect: float
    step: float
    memory: int


@dataclass(frozen=True)
class Estimate:
    """Seconds and bytes that a run will take."""

    seconds: float
    memory: float


def measure(
    options: dict[str, Any], worlds: int, environment: Mapping[str, str] | None = None
) -> Measurement:
    """Trains a few hundred steps with a configuration's network, balancer and environments.

    Args:
        options: a configuration as `mtrl train --config` reads it.
        worlds: its worlds per task.
        environment: variables beside those of this process.

    Raises:
        ValueError: it cannot be trained.
    """
    steps = _STEPS * worlds
    short = {
        "total_steps": steps,
        "random_steps": steps // 3,
        "buffer_size": steps,
        "log_interval": steps // 6,
        "evaluation": {"interval": steps, "episodes": 1},
        "checkpoint": {"interval": steps},
    }
    with TemporaryDirectory() as temporary:
        root = Path(temporary)
        config = root / "config.yaml"
        config.write_text(
            yaml.safe_dump({**options, **short, "run_dir": str(root / "run")}), encoding="utf-8"
        )
        on_gpu = options.get("device") != "cpu" and torch.cuda.is_available()
        used = _gpu_memory_used() if on_gpu else 0
        started = time.perf_counter()
        process = spawn(["train", "--config", str(config), *allowances(options)], root / "log", environment)
        memory = 0
        try:
            while process.poll() is None:
                memory = max(memory, _gpu_memory_used() - used if on_gpu else _resident(process.pid))
                time.sleep(0.1)
        finally:
            process.kill()
            process.wait()
        seconds = time.perf_counter() - started
        if process.returncode:
            raise ValueError(f"The calibration failed: {last_words(root / 'log').removeprefix('mtrl: ')}")
        lines = read_lines(root / "run" / "timing.jsonl", "steps_per_second")
    rates = [worlds / line["steps_per_second"] for line in lines]
    return Measurement(seconds - lines[-1]["seconds"], rates[1], sum(rates[-2:]) / 2, memory)


def memory_of_a_slot(slots: int, gpus: float) -> float:
    """Bytes that a run may take on this machine: of the GPU, or else an equal share of what is available.

    Args:
        slots: runs at once on this machine.
        gpus: the share of a GPU that a run has; 0 where it trains on the CPU.
    """
    if gpus and torch.cuda.is_available():
        return 0.9 * gpus * torch.cuda.mem_get_info()[1]
    return 0.9 * float(psutil.virtual_memory().available) / slots


@dataclass
class Calibration:
    """Estimates for the runs of a sweep.

    Each method is measured with one seed (those that differ in `agent` alone count as one); how time and memory grow
    with the seeds is measured with two seeds of the first method, and scaled for the others. The replay is reckoned.

    Args:
        measure: a short run where the runs will be, as `measure` does it here.
    """

    measure: Callable[[dict[str, Any], int], Measurement]
    _measured: dict[str, Measurement] = field(default_factory=dict)
    _growth: tuple[float, float] | None = None

    def estimate(self, method: Method, seeds: int) -> Estimate:
        """Seconds and bytes of a whole run with that many seeds side by side."""
        config = method.config
        evaluation, protocol = config.evaluation, config.get_protocol()
        assert evaluation.interval is not None
        assert evaluation.episodes is not None
        one = self._measure(method)
        slower, larger = self._growth or (1.0, 1.0)
        vector_steps = config.total_steps / config.worlds_per_task
        episodes = -(-evaluation.episodes // evaluation.worlds_per_task)
        evaluation_steps = (
            config.total_steps
            / evaluation.interval
            * episodes
            * protocol.horizon
            * evaluation.worlds_per_task
        ) / config.worlds_per_task
        factor = 1 + (seeds - 1) * slower
        seconds = one.startup + factor * (vector_steps * one.step + evaluation_steps * one.collect)
        benchmark = config.get_benchmark()
        sizes = (OBSERVATION_SIZE, ACTION_SIZE)
        observation, action = shared_sizes(benchmark) if isinstance(benchmark, CustomBenchmark) else sizes
        row = 4 * (2 * observation + action + 2)  # a transition: two observations, action, reward, terminated
        replay = len(benchmark.tasks) * config.buffer_size * row
        return Estimate(seconds, one.memory * (1 + (seeds - 1) * larger) + seeds * replay)

    def most_seeds(self, method: Method, memory: float) -> int:
        """How many seeds of a method fit into so many bytes; at least one."""
        one, two = (self.estimate(method, seeds).memory for seeds in (1, 2))
        return max(1, 1 + int((memory - one) / (two - one)))

    def _measure(self, method: Method) -> Measurement:
        options = {**method.options, "agent": {}}
        key = json.dumps(options, sort_keys=True, default=str)
        worlds = method.config.worlds_per_task
        if key not in self._measured:
            print(f"Measuring {method.name}, with a short run.", file=sys.stderr)
            one = self._measured[key] = self.measure({**options, "seeds": [0]}, worlds)
            if self._growth is None:
                two = self.measure({**options, "seeds": [0, 1]}, worlds)
                self._growth = max(0.0, two.step / one.step - 1), max(0.0, two.memory / one.memory - 1)
        return self._measured[key]


def _resident(pid: int) -> int:
    """Bytes in memory of a process and its descendants."""
    try:
        process = psutil.Process(pid)
        return sum(p.memory_info().rss for p in (process, *process.children(recursive=True)))
    except psutil.NoSuchProcess:
        return 0


def _gpu_memory_used() -> int:
    free, total = torch.cuda.mem_get_info()
    return int(total - free)
