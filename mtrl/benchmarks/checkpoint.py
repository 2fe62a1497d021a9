"""`mtrl benchmark checkpoint`: size and time of a checkpoint with a full replay."""

from __future__ import annotations

import contextlib
import statistics
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mtrl.benchmarks.output import write_report
from mtrl.config.loading import configure
from mtrl.options import PositiveInt
from mtrl.storage import checkpoint
from mtrl.system import terminal
from mtrl.training.loop import TrainingLoop


@dataclass(frozen=True)
class CheckpointBenchmark:
    """Write and read checkpoints of runs whose replay is full.

    Args:
        configs: configuration files; their sizes are measured as they are, with every seed they name.
        repetitions: how often each checkpoint is written and read.
        directory: where they are written; null is the system's place for temporary files.
        output: also write the measurements to this JSON file.
    """

    configs: list[str] = field(default_factory=lambda: ["configs/quickstart.yaml", "configs/mt10.yaml"])
    repetitions: PositiveInt = 5
    directory: str | None = None
    output: Path | None = None


def main(benchmark: CheckpointBenchmark) -> None:
    """Measures each configuration and prints megabytes and medians of seconds, with and without the replay.

    Raises:
        ValueError: there is no configuration, or one does not fit.
    """
    if not benchmark.configs:
        raise ValueError("configs must be at least one configuration, got [].")
    results = []
    for path in benchmark.configs:
        with tempfile.TemporaryDirectory(dir=benchmark.directory) as directory:
            results += measure(path, Path(directory), benchmark.repetitions)
    columns = ("configuration", "seeds", "replay", "megabytes", "written in s", "read in s")
    table = terminal.table(*columns, title=f"Checkpoints, medians of {benchmark.repetitions}")
    for r in results:
        seconds = (f"{r['write_seconds']:.2f}", f"{r['read_seconds']:.2f}")
        replay = "full" if r["replay"] else "left out"
        table.add_row(r["config"], str(r["seeds"]), replay, f"{r['megabytes']:.1f}", *seconds)
    terminal.console().print(table)
    write_report(benchmark, {"results": results})


def measure(config_path: str, directory: Path, repetitions: int) -> list[dict[str, Any]]:
    """What a checkpoint of the configuration costs on the CPU, with the replay and without."""
    config, _ = configure(
        ["--config", config_path, "--device", "cpu", "--num_workers", "0", "--run_dir", str(directory)]
    )
    with contextlib.closing(TrainingLoop(config, directory)) as loop:
        loop.replay.storage.normal_()
        loop.replay.added.fill_(config.buffer_size)
        state = loop.state_dict()
    results = []
    for replay in (True, False):
        kept = {part: content for part, content in state.items() if replay or part != "replay"}
        writing, reading = [], []
        for _ in range(repetitions):
            started = time.perf_counter()
            path = checkpoint.save(directory, 0, kept)
            written = time.perf_counter()
            checkpoint.load(path)
            reading.append(time.perf_counter() - written)
            writing.append(written - started)
        results.append(
            {
                "config": config_path,
                "seeds": len(config.seeds),
                "replay": replay,
                "megabytes": sum(file.stat().st_size for file in path.iterdir()) / 2**20,
                "write_seconds": statistics.median(writing),
                "read_seconds": statistics.median(reading),
                "all_write_seconds": writing,
                "all_read_seconds": reading,
            }
        )
    return results
