"""A training configuration with the values of its protocol and of the machine filled in, and checked."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch

from envs import CustomBenchmark, check_engine
from mtrl.config.imports import import_named
from mtrl.config.keep import check_rule
from mtrl.config.train import GROUPS, Device, TrainConfig
from mtrl.device import triton
from mtrl.system.files import read_mapping


@dataclass(frozen=True)
class TrainingPreset:
    """What a protocol prescribes for training, beside what `envs.Protocol` says of the tasks.

    random_steps: environment steps per task with uniform actions before the first update.
    max_grad_norm: clipping of each seed's gradients, or None.
    """

    random_steps: int
    max_grad_norm: float | None


TRAINING_PRESETS = {
    "metaworld_plus": TrainingPreset(random_steps=4_000, max_grad_norm=1.0),
    "paper": TrainingPreset(random_steps=1_500, max_grad_norm=None),
    "custom": TrainingPreset(random_steps=1_000, max_grad_norm=1.0),
}


def resolve(config: TrainConfig) -> TrainConfig:
    """The same configuration with the protocol's and the machine's values filled in.

    Raises:
        ValueError: something does not fit; the sentence says what was expected, what was found and what to do.
    """
    check_null("", config)
    for name in GROUPS:
        check_null(f"{name}.", getattr(config, name))
    config = dataclasses.replace(config, benchmark=_read_benchmark(config.benchmark))
    benchmark, protocol = config.get_benchmark(), config.get_protocol()
    preset = TRAINING_PRESETS[protocol.name]
    agent, evaluation, checkpoint = config.agent, config.evaluation, config.checkpoint
    if agent.max_grad_norm is None:
        agent = dataclasses.replace(agent, max_grad_norm=preset.max_grad_norm)
    interval = _default(evaluation.interval, protocol.evaluation_interval)
    episodes = _default(evaluation.episodes, protocol.evaluation_episodes)
    evaluation = dataclasses.replace(evaluation, interval=interval, episodes=episodes)
    checkpoint = dataclasses.replace(checkpoint, interval=_default(checkpoint.interval, interval))
    seeds = "_".join(str(s) for s in config.seeds)
    balancer = "none" if config.balancer is None else type(config.balancer).__name__
    tasks = benchmark.name.replace(":", "_").replace(",", "_")
    if len(tasks) > 80:  # file systems take names of 255 bytes
        tasks = f"{len(benchmark.tasks)}_tasks"
    name = f"{tasks}-{type(config.network).__name__}-{balancer}-seed{seeds}"
    resolved = dataclasses.replace(
        config,
        benchmark=benchmark.to_mapping() if isinstance(benchmark, CustomBenchmark) else benchmark.name,
        protocol=protocol.name,
        engine=check_engine(config.engine, benchmark),
        agent=agent,
        evaluation=evaluation,
        checkpoint=checkpoint,
        random_steps=_default(config.random_steps, preset.random_steps),
        device=resolve_device(config.device),
        run_dir=config.run_dir if config.run_dir is not None else str(Path("runs") / name),
    )
    _check_values(resolved)
    return resolved


def _read_benchmark(benchmark: str | list[str] | dict[str, Any]) -> str | list[str] | dict[str, Any]:
    """A benchmark of the user's environments as a mapping, with its horizon; others as they are.

    Raises:
        ValueError: a file cannot be read, something in it is wrong, or it names code that the user did not allow.
    """
    if isinstance(benchmark, str) and benchmark.endswith((".yaml", ".yml")):
        benchmark = {
            "name": Path(benchmark).stem,
            **read_mapping("benchmark", Path(benchmark), may_be_pipe=True),
        }
    if not isinstance(benchmark, dict):
        return benchmark
    own = CustomBenchmark.from_mapping(benchmark)
    for task in own.environments:
        if task.module is not None:
            import_named("environment", task.env, task.module)
    return own.with_horizon().to_mapping()


def _check_values(config: TrainConfig) -> None:
    """Refuses values of a resolved configuration that do not fit.

    Raises:
        ValueError: one does not; the sentence names it, with what is expected.
    """
    check_rule(config.checkpoint.keep)
    positive = {
        "total_steps": config.total_steps,
        "batch_size": config.batch_size,
        "buffer_size": config.buffer_size,
        "worlds_per_task": config.worlds_per_task,
        "updates_per_step": config.updates_per_step,
        "log_interval": config.log_interval,
        "evaluation.interval": config.evaluation.interval,
        "evaluation.episodes": config.evaluation.episodes,
        "evaluation.worlds_per_task": config.evaluation.worlds_per_task,
        "checkpoint.interval": config.checkpoint.interval,
    }
    for name, value in positive.items():
        bits = 31 if name.endswith(("_size", "_per_task", "_per_step", "episodes")) else 63
        if value is None or not 0 < value < 2**bits:
            raise ValueError(f"{name} must be a positive number below 2**{bits}, got {value}.")
    for name, value, bits in (
        ("random_steps", config.random_steps, 63),
        ("evaluation.seed", config.evaluation.seed, 32),
    ):
        if value is None or not 0 <= value < 2**bits:
            raise ValueError(f"{name} must not be negative, and below 2**{bits}, got {value}.")
    if config.num_workers is not None and not 0 <= config.num_workers < 2**63:
        raise ValueError(f"num_workers must not be negative, and below 2**63, got {config.num_workers}.")
    if config.num_threads is not None and not 0 < config.num_threads <= 1024:
        raise ValueError(f"num_threads must be a number of threads from 1 to 1024, got {config.num_threads}.")
    check_seeds(config.seeds)
    if config.evaluation.seed in config.seeds and not config.fixes_goals:
        raise ValueError(
            f"evaluation.seed must be none of the seeds that are trained, got {config.evaluation.seed}: its episodes "
            "would be those of training; choose another one."
        )
    if config.buffer_size < config.worlds_per_task:
        raise ValueError(
            f"buffer_size must hold a step of every world, got {config.buffer_size} for "
            f"{config.worlds_per_task} worlds per task."
        )


def check_seeds(seeds: Sequence[int]) -> None:
    """Refuses seeds of a run that are not different ones which every environment takes.

    Raises:
        ValueError: they are not.
    """
    if not seeds or len(set(seeds)) != len(seeds) or not all(0 <= seed < 2**32 for seed in seeds):
        raise ValueError(f"seeds must be different integers from 0 to 2**32 - 1, at least one, got {seeds}.")


def check_null(prefix: str, settings: Any) -> None:
    """Refuses null (which the parser takes for any option) in the fields of a dataclass that are never None.

    Raises:
        ValueError: a field is None.
    """
    for f in dataclasses.fields(settings):
        if getattr(settings, f.name) is None and "None" not in str(f.type):
            raise ValueError(f"{prefix}{f.name} must have a value, got null.")


def _default(value: int | None, default: int) -> int:
    return default if value is None else value


def resolve_device(device: Device) -> Literal["cpu", "cuda"]:
    """The device to run on.

    Raises:
        ValueError: CUDA was asked for and there is none, or there is a GPU without Triton.
    """
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cuda" and not torch.cuda.is_available():
        raise ValueError(
            "device cuda needs a GPU that PyTorch can use, and none was found; use --device cpu."
        )
    triton.require(torch.device(device))
    return device
