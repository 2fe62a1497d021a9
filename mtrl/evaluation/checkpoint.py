"""Evaluating a checkpoint of a run, and what is kept of it: every episode, as JSON."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from agents.actor_critic import ActorCritic
from envs import CustomBenchmark, EngineName, Protocol, VectorEnv, check_engine
from envs.custom import episode_seed
from envs.goals import benchmark_goals
from mtrl.config.build import make_actor_critic, make_evaluation_env
from mtrl.config.experiment import record
from mtrl.config.train import EvaluationConfig, TrainConfig
from mtrl.device.generators import Generators
from mtrl.evaluation.episodes import Episodes, nan_mean, run_episodes
from mtrl.logging.logger import json_values
from mtrl.storage import checkpoint, checkpoints
from mtrl.storage.check_run import check_run
from mtrl.system.files import parse_json, read_file, read_mapping, write_text


@dataclass(frozen=True)
class Evaluation:
    """The result of evaluating one checkpoint.

    experiment: what makes the run the one that it is: its options, see `mtrl.config.experiment.record`.
    success_rule: which step of an episode counts for its success, see `envs.CustomProtocol`; any in Meta-World.
    starts: of every episode, [S][T][n]: the goal, where object and target are placed (3 or 6 numbers); or the seed from
        which it begins, in an environment of the user's.
    episodes: their outcomes, [S, T, n].
    """

    run: str
    experiment: dict[str, Any]
    step: int
    tasks: list[str]
    seeds: list[int]
    protocol: str
    engine: str
    policy: Literal["mean", "sampled"]
    goal_seed: int
    worlds_per_task: int
    success_rule: Literal["any", "final"]
    starts: list[list[list[Any]]]
    episodes: Episodes

    def to_json(self) -> dict[str, Any]:
        content = {name: value for name, value in vars(self).items() if name not in ("starts", "episodes")}
        content["mean_success"] = json_values(self.success().mean(-1))
        kind = "reset_seed" if self.protocol == "custom" else "goal"
        return content | {"episodes": {**self.episodes.to_json(), kind: self.starts}}

    def file_name(self) -> str:
        """Of the file that keeps it: all settings are in it, so that no other evaluation replaces it."""
        episodes = self.episodes.success.shape[-1]
        sampled = "-sampled" * (self.policy == "sampled")
        how = (
            f"{self.engine}-{episodes}_episodes-seed_{self.goal_seed}-{self.worlds_per_task}_worlds{sampled}"
        )
        return f"step_{self.step:010d}-{how}.json"

    def success(self) -> NDArray[np.float64]:
        """Success rate of every seed and task, [S, T]."""
        return nan_mean(self.episodes.success)


@dataclass(frozen=True)
class CheckpointRef:
    """A checkpoint that is to be evaluated.

    Args:
        config: the resolved configuration of its run.
        path: the checkpoint's directory.
    """

    run_dir: Path
    config: TrainConfig
    path: Path
    step: int

    @classmethod
    def find(cls, run_dir: Path, config: TrainConfig, which: str) -> CheckpointRef:
        """The checkpoint of a run that is called "last", "best" or by its step.

        Raises:
            CheckpointError: it is missing, or its manifest is damaged.
            ValueError: the run's files disagree.
        """
        path = checkpoints.find(run_dir / "checkpoints", which)
        check_run(run_dir, path, config)
        return cls(run_dir, config, path, checkpoint.read_manifest(path)["step"])

    def load_agent(self, env: VectorEnv, evaluation: EvaluationConfig) -> ActorCritic:
        """The agent as it acts, with noise of the evaluation's seed, the same for every trained seed.

        Raises:
            CheckpointError: the checkpoint is damaged.
        """
        agent = make_actor_critic(self.config, env)
        agent.load_policy(checkpoint.load_part(self.path, "agent", agent.policy_state()))
        agent.exploration = Generators([evaluation.seed] * len(self.config.seeds), "evaluation", agent.device)
        return agent


def evaluate_checkpoint(
    ref: CheckpointRef,
    evaluation: EvaluationConfig,
    *,
    engine: EngineName | None = None,
    deterministic: bool = True,
) -> Evaluation:
    """Evaluates a checkpoint of a finished or running training.

    Args:
        ref: the checkpoint.
        evaluation: number of episodes, seed and worlds.
        engine: which engine simulates; None takes the first that fits.
        deterministic: act with the mean of the policy; sampled actions are those of the evaluation's seed.

    Raises:
        CheckpointError: the checkpoint is damaged.
    """
    config = ref.config
    assert evaluation.episodes is not None
    env = make_evaluation_env(config, config.seeds, evaluation, engine)
    try:
        agent = ref.load_agent(env, evaluation)
        episodes = run_episodes(
            env,
            lambda observation: agent.act(observation, deterministic=deterministic),
            evaluation.episodes,
            agent.device,
        )
        starts = _starts(config, env.initial_seeds, evaluation.episodes)
    finally:
        env.close()
    return Evaluation(
        run=str(ref.run_dir),
        experiment=record(read_mapping("configuration", ref.run_dir / "config.yaml")),
        step=ref.step,
        tasks=list(config.get_benchmark().tasks),
        seeds=list(config.seeds),
        protocol=config.get_protocol().name,
        engine=check_engine(engine, config.get_benchmark()),
        policy="mean" if deterministic else "sampled",
        goal_seed=evaluation.seed,
        worlds_per_task=evaluation.worlds_per_task,
        success_rule=config.get_protocol().success,
        starts=starts,
        episodes=episodes,
    )


def _starts(config: TrainConfig, goal_seeds: Sequence[int], num_episodes: int) -> list[list[list[Any]]]:
    """What every episode begins with, [S][T][n]: goals in order, and again where they do not suffice; or seeds."""
    benchmark, protocol = config.get_benchmark(), config.get_protocol()
    if isinstance(benchmark, CustomBenchmark):
        return [
            [[episode_seed(seed, task, k) for k in range(num_episodes)] for task in benchmark.tasks]
            for seed in goal_seeds
        ]
    assert isinstance(protocol, Protocol)
    order = np.arange(num_episodes) % protocol.num_goals
    return [[goals[order].tolist() for goals in benchmark_goals(benchmark, seed)] for seed in goal_seeds]


def write_evaluations(evaluations: Sequence[Evaluation], path: Path) -> None:
    """Writes one evaluation as a JSON object, several as a list of them."""
    contents = [evaluation.to_json() for evaluation in evaluations]
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, json.dumps(contents if len(contents) > 1 else contents[0], indent=1) + "\n")


def is_evaluation(path: Path) -> bool:
    """Whether this is a file of `write_evaluations`."""
    try:
        content = parse_json(read_file("evaluation", path).decode())
    except ValueError:
        return False
    return all(
        isinstance(c, dict) and "episodes" in c for c in (content if isinstance(content, list) else [content])
    )
