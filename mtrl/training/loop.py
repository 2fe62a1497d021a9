"""Collecting and learning by turns, with everything that the next step depends on."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

import envs
from mtrl.config.train import TrainConfig
from mtrl.device.cpu import prepare_cpu
from mtrl.evaluation.episodes import make_agent
from mtrl.storage import checkpoint
from mtrl.training.collector import Collector
from mtrl.training.diverged import DivergedSeeds
from mtrl.training.learner import Learner
from mtrl.training.replay import Replay


class TrainingLoop:
    """The agent, its worlds and its replay. Everything that the next step depends on is in `state_dict`.

    Args:
        config: a resolved configuration.
        run_dir: where it is said which seeds diverged.
        checkpoint_path: go on from this checkpoint.
        experiment: what each checkpoint says that it is of, see `mtrl.config.experiment.record`.
    """

    def __init__(
        self,
        config: TrainConfig,
        run_dir: Path,
        checkpoint_path: Path | None = None,
        *,
        experiment: Mapping[str, Any] | None = None,
    ) -> None:
        if config.device == "cuda":
            torch.set_float32_matmul_precision("high")  # TF32
            # Other threads would wait for their next piece of work by looking, on the cores that simulate.
            torch.set_num_threads(config.num_threads or 1)
        else:
            prepare_cpu(config.num_threads)
        self.config = config
        self.run_dir = run_dir
        self.experiment = experiment
        self.tasks = config.get_benchmark().tasks
        self.env = envs.make(
            config.get_benchmark(),
            config.get_protocol(),
            config.seeds,
            engine=config.engine,
            worlds_per_task=config.worlds_per_task,
            staggered=config.staggered,
            num_workers=config.num_workers,
        )
        self.agent = make_agent(config, self.env)
        self.agent.factor_gradients(config.batch_size)
        self.replay = Replay(
            config.buffer_size,
            seeds=config.seeds,
            num_tasks=len(self.tasks),
            observation_size=self.agent.observation_size,
            action_size=self.agent.action_size,
            device=self.agent.device,
        )
        if self.agent.device.type == "cuda" and config.compile:
            self.agent.compile(autotune=config.compile == "autotune")
            self.replay.compile()
        self.diverged = DivergedSeeds(config.seeds, run_dir, lambda: self.step)
        self.collector = Collector(config, self.env, self.agent, self.replay, self.diverged)
        # On a GPU the updates of a step run while the worlds simulate it: the newest transitions are not yet in the
        # replay, and the next action waits for the updates.
        self.overlap = self.agent.device.type == "cuda" and not config.sync
        self.learner = Learner(self.agent, self.replay, config.batch_size, self.diverged)
        self.learns_from: int = config.random_steps or 0  # the replay is filled up to this step
        if checkpoint_path is not None:
            try:
                self._restore(checkpoint_path)
            except (torch.OutOfMemoryError, checkpoint.CheckpointError):
                raise
            except (RuntimeError, ValueError, TypeError, IndexError, AttributeError, OverflowError) as error:
                raise checkpoint.CheckpointError(
                    f"The checkpoint {checkpoint_path} does not fit the run: {error}."
                ) from error

    @property
    def step(self) -> int:
        """Environment steps per task and seed."""
        return self.collector.num_steps

    def advance(self, *, diagnose: bool) -> None:
        """One step of all worlds, and its updates.

        Args:
            diagnose: whether gradients are measured that the balancer does without, on a CPU; on a GPU they always are.
        """
        learning = self.step > self.learns_from
        self.collector.start()
        if learning and self.overlap:
            self._learn()
        self.collector.step(self.collector.actions())
        if learning and not self.overlap:
            self.agent.diagnose(diagnose or self.agent.device.type == "cuda")
            self._learn()

    def _learn(self) -> None:
        self.agent.set_progress(self.step / self.config.total_steps)
        for _ in range(self.config.updates_per_step):
            self.learner.update()

    def close(self) -> None:
        self.env.close()

    def state_dict(self) -> dict[str, Any]:
        state: dict[str, Any] = {
            "agent": self.agent.state_dict(),
            "loop": {
                "experiment": self.experiment,
                "tasks": list(self.tasks),
                "device": self.config.device,
                "learns_from": self.learns_from,
                "frozen": self.diverged.state_dict(),
                "update_metrics": self.learner.state_dict(),
                **self.collector.state_dict(),
            },
            "env": self.env.state_dict(),
        }
        if self.config.checkpoint.replay:
            state["replay"] = self.replay.state_dict()
        return state

    def _restore(self, path: Path) -> None:
        state = checkpoint.load(path)
        loop = state["loop"]
        ours = self.agent.state_dict()
        networks = {n: ours[n] for n in ("actor", "critic", "target", "log_alpha")}
        checkpoint.check_fits(path, state["agent"], networks, "agent")
        self.agent.load_state_dict(state["agent"])
        if loop.get("device", self.config.device) != self.config.device:
            print(
                f"The run was trained on {loop['device']} and goes on on {self.config.device}, with other random "
                "numbers and roundings: this differs from the run that was not moved.",
                file=sys.stderr,
            )
        self.env.load_state_dict(state["env"])
        if not self.env.keeps_state:
            print(
                "The state of environments of your own cannot be saved: their episodes begin anew. This differs from "
                "the run that was not stopped.",
                file=sys.stderr,
            )
        ours = self.collector.state_dict()
        arrays = {n: ours[n] for n in ("observation", "tracker", "normalizer", "returns") if n in loop}
        checkpoint.check_fits(path, loop, arrays, "loop")
        self.collector.load_state_dict(loop)
        self.learner.load_state_dict(loop["update_metrics"])
        self.learns_from = loop.get("learns_from", self.learns_from)
        self.diverged.load_state_dict(loop.get("frozen", {}))
        if "replay" in state:
            self.replay.load_state_dict(state["replay"])
        elif self.step > 0:
            assert self.config.random_steps is not None
            self.learns_from = self.step + max(self.config.random_steps, self.config.batch_size)
            print(
                f"The checkpoint {path} was written without its replay: the policy first collects up to step "
                f"{self.learns_from} of each task, then the updates go on. This differs from the run that was not "
                "stopped.",
                file=sys.stderr,
            )
