"""Training in a new run directory, and to the end of a run."""

from __future__ import annotations

import contextlib
import json
import time
from pathlib import Path

import yaml

from mtrl.config.train import TrainConfig
from mtrl.storage import checkpoint
from mtrl.storage.check_run import identity
from mtrl.storage.run_directory import HeldDirectory, created, refuse_existing
from mtrl.storage.stamp import stamp
from mtrl.system import terminal
from mtrl.system.files import reason, write_text
from mtrl.training.frozen import TrainingError
from mtrl.training.initialize import initialize
from mtrl.training.loop import TrainingLoop
from mtrl.training.trainer import Trainer


def train(config: TrainConfig, config_yaml: str) -> Path:
    """Trains a resolved configuration in a new run directory and returns that.

    Args:
        config_yaml: the configuration as it is kept in the run directory.

    Raises:
        ValueError: the directory exists already or cannot be made, or `init_from` does not fit.
        Interrupted, TrainingError: see `Trainer.run`.
    """
    assert config.run_dir is not None
    run_dir = Path(config.run_dir)
    refuse_existing(run_dir)
    if config.init_from is None and config.init_checkpoint != "last":
        raise ValueError(
            f"init_checkpoint is of the run that init_from names, and none is named: got {config.init_checkpoint!r}."
        )
    loop = TrainingLoop(config, run_dir)
    with contextlib.closing(Trainer(loop)) as trainer:
        stamped = stamp(config)
        stamped |= {name: getattr(loop.agent, name) for name in ("observation_size", "action_size")}
        loop.identity = identity(yaml.safe_load(config_yaml), stamped)
        stamped["experiment"] = loop.identity["experiment"]
        if config.init_from is not None:
            initialization = initialize(loop.agent, config, loop.env)
            for line in str(initialization).splitlines():
                terminal.message(line)
            stamped["init_from"] = initialization.to_json()

        def fill(directory: Path) -> None:
            write_text(directory / "config.yaml", config_yaml)
            write_text(directory / "stamp.json", json.dumps(stamped, indent=1) + "\n")
            # To resume from the first moment.
            checkpoint.save(directory / "checkpoints", 0, loop.state_dict())

        with created(run_dir, fill):
            run_to_end(trainer)
    return run_dir


def run_to_end(trainer: Trainer) -> None:
    """Trains to the end, and says what came of it.

    Raises:
        Interrupted, TrainingError: see `Trainer.run`; also where something cannot be written.
    """
    started, begin, directory = time.perf_counter(), trainer.step, HeldDirectory(trainer.run_dir)
    terminal.message(
        f"Training in {trainer.run_dir} from step {begin} to {trainer.config.total_steps} of each task, evaluated "
        f"every {trainer.config.evaluation.interval} steps."
    )
    try:
        trainer.run(directory)
    except OSError as error:
        directory.check()
        raise TrainingError(
            f"Training stopped at step {trainer.step}: {reason(error)}. The checkpoints that were written are "
            f"whole: remove the cause (a full disk?) and go on by "
            f"`{terminal.command('train', '--resume', trainer.run_dir)}`."
        ) from error
    minutes = (time.perf_counter() - started) / 60
    scores = trainer.scores
    (trainer.run_dir / "failure.json").unlink(missing_ok=True)
    terminal.message(
        f"Trained from step {begin} to {trainer.step} of each task in {minutes:.1f} minutes; the best mean "
        f"{scores.measure} in an evaluation was {scores[scores.best()]:.3f}. Evaluate it with "
        f"`{terminal.command('evaluate', trainer.run_dir)}`."
    )
