"""Runs as processes on this machine: one per GPU, or as many as the cores allow."""

from __future__ import annotations

import os
import subprocess
from collections import deque
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from envs.cores import available_cores, list_cores
from mtrl.sweep import CORES
from mtrl.sweep.calibrate import Measurement, measure, memory_of_a_slot
from mtrl.sweep.config import SweepConfig
from mtrl.sweep.plan import PlannedRun
from mtrl.sweep.process import last_words, start, was_killed
from mtrl.sweep.state import lacks_evaluation


def slots(config: SweepConfig, device: str) -> list[dict[str, str]]:
    """For each process that may run at once, the environment variables that tell it where.

    Args:
        device: auto, cpu or cuda.

    Raises:
        ValueError: there is no GPU, or there are too few cores for one run.
    """
    gpus = visible_gpus() if device != "cpu" else []
    if gpus:
        return [{"CUDA_VISIBLE_DEVICES": gpu} for gpu in gpus for _ in range(int(1 / config.gpus_per_run))]
    if device == "cuda":
        raise ValueError("The sweep's device is cuda, and no GPU was found on this machine: use device: cpu.")
    cores = config.cores or available_cores()
    if cores < config.cores_per_run:
        raise ValueError(
            f"A run takes {config.cores_per_run} cores (cores_per_run), and the sweep has {cores}."
        )
    return [{} for _ in range(cores // config.cores_per_run)]


def with_cores(slots: list[dict[str, str]], cores_per_run: int) -> list[dict[str, str]]:
    """The slots, each with cores of its own, unless a run takes one only or there are too few for all.

    A run then counts only those, as if it had a smaller machine to itself.
    """
    cores = list_cores()
    if cores_per_run == 1 or len(slots) * cores_per_run > len(cores):
        return slots
    parts = [cores[i * cores_per_run : (i + 1) * cores_per_run] for i in range(len(slots))]
    return [{**slot, CORES: ",".join(map(str, part))} for slot, part in zip(slots, parts, strict=True)]


def visible_gpus() -> list[str]:
    """What CUDA_VISIBLE_DEVICES calls each GPU of this process."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    count = torch.cuda.device_count()
    return visible.split(",")[:count] if visible else [str(i) for i in range(count)]


@dataclass
class _Started:
    run: PlannedRun
    process: subprocess.Popen[bytes]
    slot: dict[str, str]


class LocalExecutor:
    """Trains runs in processes of this machine.

    Args:
        root: the sweep's directory.
        slots: environment variables of each process that may run at once.
        retries: how often a run that was killed is resumed.
    """

    def __init__(self, root: Path, slots: list[dict[str, str]], retries: int) -> None:
        self.slots = len(slots)
        self._root = root
        self._free = deque(slots)
        self._retries = retries
        self._waiting: deque[PlannedRun] = deque()
        self._started: list[_Started] = []
        self._killed: dict[str, int] = {}
        self._trained: set[str] = set()  # and then evaluated

    def submit(self, run: PlannedRun) -> None:
        self._waiting.append(run)

    def poll(self) -> dict[str, str | None]:
        """Names of the runs that ended since the last call, with what went wrong, if anything did."""
        ended: dict[str, str | None] = {}
        for started in list(self._started):
            code = started.process.poll()
            if code is None:
                continue
            self._started.remove(started)
            self._free.append(started.slot)
            name = started.run.name
            if code == 0 and lacks_evaluation(started.run, self._root) and name not in self._trained:
                self._trained.add(name)
                self._waiting.appendleft(started.run)
            elif not was_killed(code):
                ended[name] = last_words(started.run.log_path(self._root)) if code else None
            elif self._killed.get(name, 0) < self._retries:
                self._killed[name] = self._killed.get(name, 0) + 1
                self._waiting.appendleft(started.run)
            else:
                ended[name] = f"killed {self._retries + 1} times (exit code {code})"
        while self._free and self._waiting:
            run, slot = self._waiting.popleft(), self._free.popleft()
            self._started.append(_Started(run, start(run, self._root, slot), slot))
        return ended

    def running(self) -> set[str]:
        return {started.run.name for started in self._started}

    def measure(self, options: dict[str, Any], worlds: int) -> Measurement:
        """A short run in a free slot, see `mtrl.sweep.calibrate.measure`."""
        return measure(options, worlds, self._free[0])

    def memory(self) -> float:
        """Bytes that a run may take."""
        gpus = [slot.get("CUDA_VISIBLE_DEVICES") for slot in self._free]
        on_gpu, sharing = gpus[0] is not None, gpus.count(gpus[0])
        return memory_of_a_slot(self.slots, 1 / sharing if on_gpu else 0.0)

    def close(self) -> None:
        """Ends what is still running, by force: after `stop` or at the end nothing is."""
        for started in self._started:
            started.process.kill()
            started.process.wait()

    def stop(self) -> None:
        """Asks every run to write a checkpoint and to end, and waits for it."""
        self._waiting.clear()
        for started in self._started:
            started.process.terminate()
        for started in self._started:
            started.process.wait()
