"""Training in a run directory: a new run, or one that goes on."""

from __future__ import annotations

import contextlib
import json
import sys
import time
from pathlib import Path

from mtrl import checkpoint
from mtrl.config import TrainConfig, stamp
from mtrl.lock import locked
from mtrl.train import Trainer


def train(config: TrainConfig, config_yaml: str) -> Path:
    """Trains a resolved configuration in a new run directory and returns that.

    Args:
        config_yaml: the configuration as it is kept in the run directory.

    Raises:
        ValueError: the directory exists already.
        Interrupted, TrainingError: see `Trainer.run`.
    """
    assert config.run_dir is not None
    run_dir = Path(config.run_dir)
    if run_dir.exists():
        raise ValueError(
            f"The run directory {run_dir} exists already and is never overwritten: choose another --run_dir, or go on "
            f"with it by `mtrl train --resume {run_dir}`."
        )
    with contextlib.closing(Trainer(config, run_dir)) as trainer:
        run_dir.mkdir(parents=True)
        with locked(run_dir):
            (run_dir / "config.yaml").write_text(config_yaml)
            (run_dir / "stamp.json").write_text(json.dumps(stamp(config), indent=1) + "\n")
            _run(trainer)
    return run_dir


def resume(config: TrainConfig, run_dir: Path) -> None:
    """Goes on with a run from its newest intact checkpoint; a finished one is left as it is.

    Raises:
        CheckpointError: there is none, or all are damaged.
        ValueError: another process trains in the directory.
        Interrupted, TrainingError: see `Trainer.run`.
    """
    with locked(run_dir):
        path, damaged = checkpoint.find_intact(run_dir / "checkpoints")
        manifest = checkpoint.read_manifest(path)
        if manifest["step"] >= config.total_steps and not manifest["values"]["loop"].get("evaluation_due"):
            print(
                f"The run {run_dir} is finished, at step {manifest['step']} of {config.total_steps}: nothing was "
                f"changed. Judge it with `mtrl evaluate {run_dir}`.",
                file=sys.stderr,
            )
            return
        with contextlib.closing(Trainer(config, run_dir, path)) as trainer:
            checkpoint.set_aside(damaged)
            _run(trainer)


def _run(trainer: Trainer) -> None:
    started = time.perf_counter()
    trainer.run()
    minutes = (time.perf_counter() - started) / 60
    (trainer.run_dir / "failure.json").unlink(missing_ok=True)
    print(
        f"Trained to step {trainer.step} of each task in {minutes:.1f} minutes; the best mean success in an evaluation "
        f"was {trainer.best_success:.3f}. Judge it with `mtrl evaluate {trainer.run_dir}`.",
        file=sys.stderr,
    )
