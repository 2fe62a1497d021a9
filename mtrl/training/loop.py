"""Collecting and learning by turns, with everything that the next step depends on."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

import envs
from mtrl.config.build import make_agent
from mtrl.config.clock import steps_of_intervals
from mtrl.config.train import TrainConfig
from mtrl.device.cpu import prepare_cpu
from mtrl.storage import checkpoint
from mtrl.system import terminal
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

    Attributes:
        identity: which run each checkpoint says that it is of, see `mtrl.storage.check_run`.
    """

    def __init__(self, config: TrainConfig, run_dir: Path, checkpoint_path: Path | None = None) -> None:
        if config.device == "cuda":
            torch.set_float32_matmul_precision("high")  # TF32
            # Other threads would wait for their next piece of work by looking, on the cores that simulate.
            torch.set_num_threads(config.num_threads or 1)
        else:
            prepare_cpu(config.num_threads)
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
        self.diverged = DivergedSeeds(config.seeds, run_dir, lambda: self.step)
        self.collector = Collector(config, self.env, self.agent, self.replay, self.diverged)
        # On a GPU the updates of a step run while the worlds simulate it: the newest transitions are not yet in the
        # replay, and the next action waits for the updates.
        self.overlap = self.agent.device.type == "cuda" and not config.sync
        self.learner = Learner(self.agent, self.replay, config.batch_size, self.diverged)
        self.learns_from: int = config.random_steps or 0  # the replay is filled up to this step
        # From which step on metrics were logged in which interval; where and how a run is executed may change.
        self.log_intervals = [[0, config.log_interval]]
        if checkpoint_path is not None:
            try:
                self._restore(checkpoint_path)
            except (torch.OutOfMemoryError, checkpoint.CheckpointError):
                raise
            except (RuntimeError, ValueError, TypeError, IndexError, AttributeError, OverflowError) as error:
                raise checkpoint.CheckpointError(
                    f"The checkpoint {checkpoint_path} does not fit the run: {terminal.one_line(str(error))}."
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
        self._check(path, state)
        self.agent.load_state_dict(state["agent"])
        self.env.load_state_dict(state["env"])
        self.collector.load_state_dict(loop)
        self.learner.load_state_dict(loop["update_metrics"])
        self.learns_from = loop.get("learns_from", self.learns_from)
        self.diverged.load_state_dict(loop.get("frozen", {}))
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
        self._say_what_differs(path, state)

    def _check(self, path: Path, state: Mapping[str, Any]) -> None:
        """Compares a state with this loop's, apart from what generators, balancers and the replay look at themselves.

        Raises:
            CheckpointError: it does not fit, or cannot be gone on from.
        """
        agent, collector = self.agent.state_dict(), self.collector.state_dict()
        del agent["noise"], agent["exploration"]
        for optimizer in ("critic_optimizer", "actor_optimizer"):
            del agent[optimizer]["balancer"]
        checkpoint.check_fits(path, state["agent"], agent, "agent")
        kept = [n for n in ("observation", "tracker", "normalizer", "returns") if n in state["loop"]]
        for name in kept:
            # Of an episode without a success there is no step of its success.
            checkpoint.check_fits(
                path, state["loop"][name], collector[name], f"loop.{name}", finite=name != "tracker"
            )
        gramian = torch.empty(len(self.config.seeds), len(self.tasks), len(self.tasks), dtype=torch.float64)
        gramians = state["loop"]["update_metrics"]["gramians"]
        expected = dict.fromkeys(gramians, gramian)
        checkpoint.check_fits(path, gramians, expected, "loop.update_metrics.gramians", finite=False)
        # A world that a fault stopped may be anywhere until its next episode begins.
        checkpoint.check_fits(path, state["env"], self.env.state_dict(), "env", finite=False)

    def _say_what_differs(self, path: Path, state: Mapping[str, Any]) -> None:
        """Says it where the run that goes on is not the one that was not stopped."""
        theirs = state["loop"].get("device", self.config.device)
        if theirs != self.config.device:
            terminal.message(
                f"The run was trained on {theirs} and goes on on {self.config.device}, with other random numbers and "
                "roundings: this differs from the run that was not moved."
            )
        if not self.env.keeps_state:
            terminal.message(
                "The state of environments of your own cannot be saved: their episodes begin anew. This differs from "
                "the run that was not stopped."
            )
        if "replay" not in state and self.step > 0:
            terminal.message(
                f"The checkpoint {path} was written without its replay: the policy first collects up to step "
                f"{self.learns_from} of each task, then the updates go on. This differs from the run that was not "
                "stopped."
            )
