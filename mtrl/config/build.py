"""What a configuration describes, built: the agent, and environments to evaluate it in."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import envs
from agents.actor_critic import ActorCritic
from agents.sac import SAC
from mtrl.config.train import EvaluationConfig, TrainConfig


def make_agent(config: TrainConfig, env: envs.VectorEnv) -> SAC:
    """An agent to be trained, with fresh parameters, for a resolved configuration and the spaces of an environment."""
    balancer = config.balancer
    return SAC(
        **_networks(config, env),
        critic_balancer=balancer if config.balance in ("both", "critic") else None,
        actor_balancer=balancer if config.balance in ("both", "actor") else None,
    )


def make_actor_critic(config: TrainConfig, env: envs.VectorEnv) -> ActorCritic:
    """The same, only to act."""
    return ActorCritic(**_networks(config, env))


def _networks(config: TrainConfig, env: envs.VectorEnv) -> dict[str, Any]:
    assert env.single_observation_space.shape is not None
    assert env.single_action_space.shape is not None
    return {
        "architecture": config.network,
        "config": config.agent,
        "critic_architecture": config.critic_network,
        "observation_size": env.single_observation_space.shape[0],
        "action_size": env.single_action_space.shape[0],
        "num_tasks": len(config.get_benchmark().tasks),
        "task_names": config.get_benchmark().tasks,
        "seeds": config.seeds,
        "device": config.device,
        "precision": config.precision,
    }


def evaluation_env_arguments(
    config: TrainConfig,
    seeds: Sequence[int],
    evaluation: EvaluationConfig,
    engine: envs.EngineName | None,
) -> dict[str, Any]:
    """The arguments of the `VectorEnv` to evaluate in: goals in order, drawn from `evaluation.seed`.

    They are the same for every trained seed.

    Where the protocol fixes one goal per seed for the run, it is that goal that is evaluated.
    """
    goal_seeds = list(seeds) if config.fixes_goals else [evaluation.seed] * len(seeds)
    return envs.arguments(
        config.get_benchmark(),
        config.get_protocol(),
        goal_seeds,
        engine=engine,
        worlds_per_task=evaluation.worlds_per_task,
        goal_order="sequential",
        num_workers=config.num_workers,
    )


def make_evaluation_env(
    config: TrainConfig,
    seeds: Sequence[int],
    evaluation: EvaluationConfig,
    engine: envs.EngineName | None,
) -> envs.VectorEnv:
    """Environments to evaluate in (see `evaluation_env_arguments`)."""
    return envs.VectorEnv(**evaluation_env_arguments(config, seeds, evaluation, engine))
