"""`mtrl benchmark logging`: what a line of metrics costs beside the training between two lines."""

from __future__ import annotations

import math
import statistics
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mtrl.benchmarks.output import write_report
from mtrl.config.loading import configure
from mtrl.config.train import TrainConfig
from mtrl.options import PositiveInt
from mtrl.storage.run_directory import HeldDirectory
from mtrl.system import terminal
from mtrl.training.loop import TrainingLoop
from mtrl.training.trainer import Trainer


@dataclass(frozen=True)
class LoggingBenchmark:
    """Times the lines of metrics of short trainings, and the training between them.

    Args:
        configs: configuration files; their sizes and log intervals are measured as they are.
        intervals: log intervals of training that are timed, after one that is not.
        steps: environment steps per task that are timed of each interval; the rest is extrapolated.
        output: also write the measurements to this JSON file.
    """

    configs: list[str] = field(default_factory=lambda: ["configs/quickstart.yaml", "configs/mt10.yaml"])
    intervals: PositiveInt = 3
    steps: PositiveInt = 50
    output: Path | None = None


def main(benchmark: LoggingBenchmark) -> None:
    """Measures each configuration on the CPU and prints the share of its time that logging takes.

    Raises:
        ValueError: there is no configuration, or one does not fit.
    """
    if not benchmark.configs:
        raise ValueError("configs must be at least one configuration, got [].")
    results = [measure(path, benchmark.intervals, benchmark.steps) for path in benchmark.configs]
    columns = ("configuration", "tasks", "seeds", "log interval", "training", "logging", "share of logging")
    table = terminal.table(
        *columns, title=f"Seconds of a log interval, CPU, {torch.get_num_threads()} threads"
    )
    for r in results:
        share = f"{100 * r['logging_seconds'] / r['training_seconds']:.2f}%"
        counts = (str(r[name]) for name in ("tasks", "seeds", "log_interval"))
        seconds = (f"{r['training_seconds']:.2f}", f"{r['logging_seconds']:.4f}")
        table.add_row(r["config"], *counts, *seconds, share)
    terminal.console().print(table)
    write_report(benchmark, {"results": results})


def measure(config_path: str, intervals: int, steps: int) -> dict[str, Any]:
    """Medians over the intervals: the seconds that training takes for a log interval, and those of logging it, with
    the interval's share of the heat maps."""
    with tempfile.TemporaryDirectory() as directory:
        run_dir = Path(directory)
        arguments = [
            "--config",
            config_path,
            "--device",
            "cpu",
            "--random_steps",
            "0",
            "--run_dir",
            directory,
        ]
        config, text = configure(arguments)
        (run_dir / "config.yaml").write_text(text, encoding="utf-8")
        trainer = Trainer(TrainingLoop(config, run_dir))
        try:
            training, lines, pictures = _time(trainer, config, intervals, steps)
        finally:
            trainer.close()
    assert config.evaluation.interval is not None
    share = (
        config.log_interval / config.evaluation.interval
    )  # pictures are drawn once in an evaluation interval
    return {
        "config": config_path,
        "tasks": len(config.get_benchmark().tasks),
        "seeds": len(config.seeds),
        "log_interval": config.log_interval,
        "training_seconds": statistics.median(training) * config.log_interval,
        "logging_seconds": statistics.median(lines) + statistics.median(pictures) * min(1.0, share),
        "all_training_seconds_per_step": training,
        "all_line_seconds": lines,
        "all_picture_seconds": pictures,
    }


def _time(
    trainer: Trainer, config: TrainConfig, intervals: int, steps: int
) -> tuple[list[float], list[float], list[float]]:
    """Seconds of an environment step with its updates, of a line of metrics with its curves, and of the heat maps."""
    training, lines, pictures = [], [], []
    trainer.open(HeldDirectory(trainer.run_dir))
    num_seeds, num_tasks, _ = trainer.loop.env.layout
    shape = (num_seeds, num_tasks, num_tasks)
    cosines = {
        f"{n}/cosine_matrix": np.linspace(-1, 1, math.prod(shape)).reshape(shape) for n in ("critic", "actor")
    }
    for interval in range(intervals + 1):
        first, times = trainer.step, [time.perf_counter()]
        while trainer.step < first + steps:
            trainer.loop.advance(diagnose=trainer.step + config.worlds_per_task >= first + steps)
        times.append(time.perf_counter())
        trainer.log({"seconds": 0.0, "steps_per_second": 0.0})
        trainer.logger.flush()
        times.append(time.perf_counter())
        trainer.logger.draw(trainer.step, cosines)
        trainer.logger.flush()
        times.append(time.perf_counter())
        if interval:
            of_training, of_line, of_pictures = np.diff(times).tolist()
            training.append(of_training / (trainer.step - first))
            lines.append(of_line)
            pictures.append(of_pictures)
    trainer.logger.close()
    return training, lines, pictures
