"""Collecting and learning by turns, with everything that the next step depends on."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import envs
from mtrl.config.build import make_agent
from mtrl.config.clock import steps_of_intervals
from mtrl.config.train import TrainConfig
from mtrl.device.process import prepare_to_learn
from mtrl.training.collector import Collector
from mtrl.training.frozen import FrozenSeeds
from mtrl.training.learner import Learner
from mtrl.training.replay import Replay


class TrainingLoop:
    """The agent, its worlds and its replay. Everything that the next step depends on is in `state_dict`.

    Args:
        config: a resolved configuration.
        run_dir: where it is said which seeds are frozen.

    Attributes:
        identity: which run each checkpoint says that it is of, see `mtrl.storage.check_run`.
    """

    def __init__(self, config: TrainConfig, run_dir: Path) -> None:
        prepare_to_learn(config.device, config.num_threads)
        self.config = config
        self.run_dir = run_dir
        self.identity: Mapping[str, Any] = {}
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
        self.frozen = FrozenSeeds(config.seeds, run_dir, lambda: self.step)
        self.collector = Collector(config, self.env, self.agent, self.replay, self.frozen)
        # On a GPU the updates of a step run while the worlds simulate it: the newest transitions are not yet in the
        # replay, and the next action waits for the updates.
        self.overlap = self.agent.device.type == "cuda" and not config.sync
        self.learner = Learner(self.agent, self.replay, config.batch_size, self.frozen)
        self.learns_from: int = config.random_steps or 0  # the replay is filled up to this step
        # From which step on metrics were logged in which interval; where and how a run is executed may change.
        self.log_intervals = [[0, config.log_interval]]

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
        if self.agent.device.type == "cpu":
            self.agent.diagnose(diagnose)
        self.collector.start()
        if learning and self.overlap:
            self._learn()
        self.collector.step()
        if learning and not self.overlap:
            self._learn()

    def _learn(self) -> None:
        self.agent.set_progress(self.step / self.config.total_steps)
        for _ in range(self.config.updates_per_step):
            self.learner.update()

    def logged_steps(self) -> list[int]:
        """The steps until now at which a line of training was due."""
        return steps_of_intervals(self.log_intervals, self.config.worlds_per_task, self.step)

    def close(self) -> None:
        self.env.close()

    def state_dict(self) -> dict[str, Any]:
        state: dict[str, Any] = {
            "agent": self.agent.state_dict(),
            "loop": {
                **self.identity,
                "device": self.config.device,
                "learns_from": self.learns_from,
                "log_intervals": self.log_intervals,
                "frozen": self.frozen.state_dict(),
                "update_metrics": self.learner.state_dict(),
                **self.collector.state_dict(),
            },
            "env": self.env.state_dict(),
        }
        if self.config.agent.learning_rate_decay != "none":  # nothing else depends on it
            state["loop"]["total_steps"] = self.config.total_steps
        if self.config.checkpoint.replay:
            state["replay"] = self.replay.state_dict()
        return state

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Goes on where `state_dict` was called; without the replay, updates begin when a new one is filled."""
        loop = state["loop"]
        self.agent.load_state_dict(state["agent"])
        self.env.load_state_dict(state["env"])
        self.collector.load_state_dict(loop)
        self.learner.load_state_dict(loop["update_metrics"])
        self.learns_from = loop.get("learns_from", self.learns_from)
        self.frozen.load_state_dict(loop.get("frozen", {}))
        interval = self.config.log_interval
        # Before this step an older version may have logged in another one.
        unknown = [[self.step - self.config.worlds_per_task, interval]]
        self.log_intervals = loop.get("log_intervals", unknown)
        if self.log_intervals[-1][1] != interval:
            self.log_intervals = [*self.log_intervals, [self.step, interval]]
        if "replay" in state:
            self.replay.load_state_dict(state["replay"])
        elif self.step > 0:
            assert self.config.random_steps is not None
            self.learns_from = self.step + max(self.config.random_steps, self.config.batch_size)
