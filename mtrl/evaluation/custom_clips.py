"""Clips of a policy in environments of the user's, which render themselves (`rgb_array`)."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from envs import CustomBenchmark
from envs.custom import CustomTask, episode_seed
from envs.gymnasium_engine import ScaledEnv
from mtrl.evaluation.checkpoint import CheckpointRef
from mtrl.evaluation.render import decorate, write_mp4
from mtrl.policy.policy import load_policy
from mtrl.system import terminal


def check_renders(benchmark: CustomBenchmark) -> None:
    """Finds out before the work whether every environment renders.

    Raises:
        ValueError: one does not.
    """
    for task in benchmark.environments:
        with _environment(task) as environment:
            environment.reset(seed=0)
            _render(task, environment)


def write_custom_clips(
    ref: CheckpointRef, directory: Path, *, seed: int, evaluation_seed: int, deterministic: bool
) -> list[Path]:
    """Writes `directory/<run>-step<step>-seed<seed>-<task>.mp4` of each task and returns the paths.

    It is the first episode of an evaluation, to its end.

    Raises:
        CheckpointError: the checkpoint is damaged.
        RuntimeError, OSError: an environment fails, or a clip cannot be written.
    """
    config = ref.config
    benchmark, horizon = config.get_benchmark(), config.get_protocol().horizon
    only_end_counts = config.get_protocol().success == "final"
    assert isinstance(benchmark, CustomBenchmark)
    policy = load_policy(ref.run_dir, ref.step, seed)
    directory.mkdir(parents=True, exist_ok=True)
    paths = []
    for task in benchmark.environments:
        path = directory / f"{ref.run_dir.resolve().name}-step{ref.step}-seed{seed}-{task.name}.mp4"
        label, solved_at, total = f"{task.name}   seed {seed}", None, 0.0
        with _environment(task) as environment:
            observation, info = environment.reset(seed=episode_seed(evaluation_seed, task.name, 0))
            frames = [decorate(_render(task, environment), label, 0, None)]
            for step in range(1, horizon + 1):
                action = policy(observation, task.name, deterministic=deterministic)
                observation, reward, terminated, truncated, info = environment.step(action)
                if "error" in info:
                    raise RuntimeError(f"The environment of the task {task.name} failed:\n{info['error']}")
                total += reward
                if info.get("success") and solved_at is None:
                    solved_at = step
                elif only_end_counts and "success" in info and not info["success"]:
                    solved_at = None
                frames.append(decorate(_render(task, environment), label, step, solved_at))
                if terminated or truncated:
                    break
            rate = environment.environment.metadata.get("render_fps") or 30
        write_mp4(path, frames, rate)
        outcome = f"return {total:.1f}" if solved_at is None else f"success at step {solved_at}"
        terminal.message(f"{path}: {outcome}")
        paths.append(path)
    return paths


@contextlib.contextmanager
def _environment(task: CustomTask) -> Iterator[ScaledEnv]:
    with contextlib.closing(ScaledEnv(task, "rgb_array")) as environment:
        yield environment


def _render(task: CustomTask, environment: ScaledEnv) -> NDArray[np.uint8]:
    """A picture [H, W, 3].

    Raises:
        ValueError: it renders none.
    """
    try:
        picture: Any = environment.environment.render()
    except Exception as error:  # it runs code of the user's
        raise ValueError(
            f"The environment of the task {task.name} cannot be rendered: {type(error).__name__}: "
            f"{str(error).rstrip('.')}."
        ) from error
    if not (isinstance(picture, np.ndarray) and picture.ndim == 3 and picture.shape[-1] == 3):
        found = (
            f"of shape {picture.shape}" if isinstance(picture, np.ndarray) else f"a {type(picture).__name__}"
        )
        raise ValueError(
            f"With render_mode rgb_array the environment of the task {task.name} must render pictures [H, W, 3], and "
            f"what it renders is {found}."
        )
    return picture.astype(np.uint8)
