"""Clips of a policy: the first episode of each task, rendered by Meta-World itself."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from envs import Benchmark, EngineName, Protocol
from envs.goals import benchmark_goals
from mtrl.config.build import make_evaluation_env
from mtrl.config.train import EvaluationConfig
from mtrl.evaluation.checkpoint import CheckpointRef
from mtrl.evaluation.render import Camera, Clip, Renderer
from mtrl.policy.acting import to_tensor
from mtrl.system import terminal


def write_clips(
    ref: CheckpointRef,
    evaluation: EvaluationConfig,
    renderer: Renderer,
    directory: Path,
    *,
    seed: int,
    camera: Camera,
    engine: EngineName,
    deterministic: bool,
) -> list[Path]:
    """Writes `directory/<run>-step<step>-seed<seed>-<task>.mp4` of each task and returns the paths.

    Args:
        renderer: of `mtrl.evaluation.render.renderer`.
        seed: the trained seed that is shown.
        engine: where the policy acts; Meta-World plays its actions again to render them.

    Raises:
        CheckpointError: the checkpoint is damaged.
        RuntimeError, OSError: a clip cannot be rendered or written.
    """
    config = ref.config
    protocol, benchmark = config.get_protocol(), config.get_benchmark()
    assert isinstance(protocol, Protocol)
    assert isinstance(benchmark, Benchmark)
    goals = benchmark_goals(benchmark, seed if config.fixes_goals else evaluation.seed)
    actions = _act(ref, evaluation, seed, engine, deterministic)
    name = f"{ref.run_dir.resolve().name}-step{ref.step}-seed{seed}"
    directory.mkdir(parents=True, exist_ok=True)
    clips = [
        Clip(
            task=task,
            reward_version=protocol.reward_version,
            goal=goals[t][0],
            actions=actions[t],
            camera=camera,
            label=f"{task}   seed {seed}",
            path=directory / f"{name}-{task}.mp4",
        )
        for t, task in enumerate(benchmark.tasks)
    ]
    for clip in clips:
        solved_at = renderer.write(clip)
        outcome = "no success" if solved_at is None else f"success at step {solved_at}"
        terminal.message(f"{clip.path}: {outcome}")
    return [clip.path for clip in clips]


def _act(
    ref: CheckpointRef, evaluation: EvaluationConfig, seed: int, engine: EngineName, deterministic: bool
) -> NDArray[np.float64]:
    """The actions of one seed's policy in the first episode of each task, [T, H, A]."""
    config = ref.config
    env = make_evaluation_env(config, [seed], replace(evaluation, worlds_per_task=1), engine)
    s = config.seeds.index(seed)
    try:
        agent = ref.load_agent(env, evaluation)
        observation, _ = env.reset(seed=env.initial_seeds)
        steps = []
        for _ in range(config.get_protocol().horizon):
            # The networks of all seeds are one, so that all see what one of them is asked about.
            observations = to_tensor(observation, env.layout).expand(len(config.seeds), -1, -1, -1)
            actions = agent.act(observations.to(agent.device), deterministic=deterministic)[s]
            steps.append(actions.reshape(env.num_envs, -1).cpu().numpy().astype(np.float64))
            observation = env.step(steps[-1])[0]
    finally:
        env.close()
    return np.stack(steps, axis=1)
