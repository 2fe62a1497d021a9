"""The training loop: collect, learn, log, evaluate, checkpoint."""

from __future__ import annotations

import contextlib
import copy
import json
import math
import signal
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

import envs
from mtrl.config.train import TrainConfig
from mtrl.device.cpu import prepare_cpu
from mtrl.diagnostics import cosines, gradient_metrics
from mtrl.evaluation.during_training import BackgroundEvaluator, Evaluator, ForegroundEvaluator
from mtrl.evaluation.episodes import Measure, make_agent, measure_of, nan_mean
from mtrl.logging.logger import Logger
from mtrl.storage import checkpoint, checkpoints
from mtrl.storage.writer import CheckpointWriter
from mtrl.system import terminal
from mtrl.system.signals import Interrupted, StopRequest
from mtrl.training.collector import Collector
from mtrl.training.diverged import DivergedSeeds
from mtrl.training.learner import Learner
from mtrl.training.progress import Progress
from mtrl.training.replay import Replay


class TrainingError(RuntimeError):
    """Training stopped because going on would learn from garbage."""


class Trainer:
    """A training run. Everything that the next step depends on is in `state_dict`.

    Args:
        config: a resolved configuration.
        run_dir: where logs and checkpoints go; nothing is written there before `run`.
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
        self.diverged = DivergedSeeds(config.seeds)
        self.collector = Collector(config, self.env, self.agent, self.replay, self.diverged, self._leave_out)
        # On a GPU the updates of a step run while the worlds simulate it: the newest transitions are not yet in the
        # replay, and the next action waits for the updates.
        self.overlap = self.agent.device.type == "cuda" and not config.sync
        self.learner = Learner(self.agent, self.replay, config.batch_size, self.diverged, self._leave_out)
        self.learns_from: int = config.random_steps or 0  # the replay is filled up to this step
        self.pending_evaluation: int | None = None  # of the policy of which step
        self.stop_request = StopRequest()
        self.best_step: int | None = None
        self.best_score: float | None = None  # mean over seeds and tasks
        self.measure: Measure = "success"  # what of: the first evaluation shows whether there is success
        self.best_end: int | None = (
            None  # the last step, if its evaluation is the best and not of the interval
        )
        self.best_end_score: float | None = None
        if checkpoint_path is not None:
            try:
                self._restore(checkpoint_path)
            except (torch.OutOfMemoryError, checkpoint.CheckpointError):
                raise
            except (RuntimeError, ValueError, TypeError, IndexError, AttributeError, OverflowError) as error:
                raise checkpoint.CheckpointError(
                    f"The checkpoint {checkpoint_path} does not fit the run: {error}."
                ) from error
        self.evaluator: Evaluator = (
            BackgroundEvaluator(config)
            if self.overlap
            else ForegroundEvaluator(config, self.agent, self._interrupt_evaluation)
        )
        self.writer = CheckpointWriter(
            run_dir / "checkpoints", background=self.overlap, rule=config.checkpoint.keep
        )

    def run(self) -> None:
        """Trains to the end.

        Raises:
            TrainingError: no seed is left without a loss, an observation or an action that is not finite; a checkpoint
                of the last good state was written.
            Interrupted: a signal asked to stop; a checkpoint was written.
        """
        config = self.config
        assert config.evaluation.interval is not None
        assert config.checkpoint.interval is not None
        pending_policy = self._load_pending_policy()
        goes_on = self.step < config.total_steps  # what was logged as the end of a shorter run is not
        self.logger = Logger(
            self.run_dir,
            self.tasks,
            config.seeds,
            self.step,
            self.pending_evaluation,
            without_training=goes_on and not self._is_due(config.log_interval),
            without_evaluation=goes_on and not self._is_due(config.evaluation.interval),
        )
        self.diverged.write(self.run_dir)
        with (
            self.stop_request,
            Progress(config.total_steps, self.step) as self.progress,
            contextlib.closing(self.logger),
        ):
            if pending_policy is not None:
                self.evaluator.start(pending_policy)
                if not self.evaluator.background or self.step >= config.total_steps:
                    self._finish_evaluation()
                    self.save(again=True)
            while self.step < config.total_steps:
                before = self.step
                self.collector.start()
                learning = self.step > self.learns_from
                if learning and self.overlap:
                    self.learn()
                self.collector.step(self.collector.actions())
                done = self.step >= config.total_steps
                logged = _passed(before, self.step, config.log_interval) or done
                if learning and not self.overlap:
                    self.agent.diagnose(logged or self.agent.device.type == "cuda")
                    self.learn()
                self.progress.update(self.step)
                if logged:
                    self.log(self.progress.rates())
                if _passed(before, self.step, config.evaluation.interval) or done:
                    self.evaluate()
                if self.pending_evaluation is not None and (done or self.evaluator.ready()):
                    self._finish_evaluation()
                if _passed(before, self.step, config.checkpoint.interval) or done:
                    self.save()
                self.writer.check()
                if self.stop_request.signal_number is not None and not done:
                    self._interrupt()
            self.writer.wait()

    @property
    def step(self) -> int:
        """Environment steps per task and seed."""
        return self.collector.num_steps

    def _is_due(self, interval: int) -> bool:
        """Whether an interval ended with this step.

        The last step is logged and evaluated in any case. Where no interval ended with it, that leaves no trace: a run
        that then goes on to more steps is the same as one that had them to make from the start.
        """
        return _passed(self.step - self.config.worlds_per_task, self.step, interval)

    def close(self) -> None:
        self.env.close()
        self.evaluator.close()
        self.writer.close()

    def learn(self) -> None:
        """The updates of one vector step; on a GPU they are queued and not waited for."""
        for _ in range(self.config.updates_per_step):
            self.learner.update()

    def log(self, timing: Mapping[str, float]) -> None:
        """Writes the means of the training metrics since the last call."""
        due = self._is_due(self.config.log_interval)
        before = None if due else copy.deepcopy((self.learner.state_dict(), self.collector.state_dict()))
        metrics = self.learner.read_metrics() | self.collector.episode_metrics.read()
        if before is not None:
            self.learner.load_state_dict(before[0])
            self.collector.episode_metrics.load_state_dict(before[1]["episode_metrics"])
        cosine_matrices = {}
        for network in ("critic", "actor"):
            gramian = metrics.pop(f"{network}/gramian", None)
            if gramian is not None:
                if not gramian.any():
                    self._stop(
                        f"the gradient of what the tasks share of the {network} is exactly zero for all of them"
                    )
                system = torch.from_numpy(gramian)
                measures = gradient_metrics(system)
                metrics |= {f"{network}/{name}": values for name, values in measures.items()}
                cosine_matrices[f"{network}/cosine_matrix"] = cosines(system).numpy()
        for network, optimizer in (
            ("critic", self.agent.critic_optimizer),
            ("actor", self.agent.actor_optimizer),
        ):
            if optimizer.balancer is not None:
                failures = optimizer.balancer.failures.cpu().numpy().astype(np.float64)
                metrics[f"{network}/solver_failures"] = failures
        self.logger.write(self.step, metrics)
        assert self.config.evaluation.interval is not None
        if _passed(max(0, self.step - self.config.log_interval), self.step, self.config.evaluation.interval):
            self.logger.write_cosines(self.step, cosine_matrices)  # pictures cost more than numbers
        self.logger.write_timing(self.step, timing)

    def evaluate(self) -> None:
        """Begins to evaluate the policy as it is now, when the evaluation before has come to its end."""
        if self.pending_evaluation is not None:
            self._finish_evaluation()
        self.pending_evaluation = self.step
        self.evaluator.start(self.agent.policy_state())
        if self.evaluator.background:
            self.save()  # if it turns out to be the best, it has to be there

    def _finish_evaluation(self) -> None:
        """Waits for the pending evaluation and keeps what it says."""
        while self.pending_evaluation == self.step and not self.evaluator.ready(0.1):
            self._interrupt_evaluation()
        evaluated = self.evaluator.result()
        step, self.pending_evaluation = self.pending_evaluation, None
        assert step is not None
        if not evaluated.finite.all():
            self._leave_out(~evaluated.finite, "an action of the policy is not finite")
        metrics = {
            f"evaluation/{name}": nan_mean(values) for name, values in vars(evaluated.episodes).items()
        }
        self.logger.write(step, metrics)
        if self.best_score is None:
            self.measure = measure_of(self.config, evaluated.episodes)
        name = "returns" if self.measure == "return" else "success"
        score = float(metrics[f"evaluation/{name}"].mean())
        is_best = score > (-math.inf if self.best_score is None else self.best_score)
        if is_best and step == self.step and not self._is_due(self.config.evaluation.interval or 1):
            self.best_end, self.best_end_score = step, score
        elif is_best:
            self.best_step, self.best_score = step, score
        if step == self.step and (is_best or self.evaluator.background):
            self.save(again=self.evaluator.background)
        self.progress.show_score(step, self.measure, score)

    def _load_pending_policy(self) -> dict[str, Any] | None:
        """The policy whose evaluation was not finished when the run was stopped, if there is one."""
        if self.pending_evaluation is None:
            return None
        try:
            path = checkpoints.find(self.run_dir / "checkpoints", str(self.pending_evaluation))
            agent = checkpoint.load(path, ["agent"])["agent"]
        except checkpoint.CheckpointError as error:
            print(f"The evaluation of step {self.pending_evaluation} is left out: {error}", file=sys.stderr)
            self.pending_evaluation = None
            return None
        return {network: agent[network] for network in self.agent.acting_networks}

    def _interrupt_evaluation(self) -> None:
        if self.stop_request.signal_number is not None:  # an evaluation takes longer than a scheduler waits
            self._interrupt()

    def _interrupt(self) -> None:
        number = self.stop_request.signal_number
        assert number is not None
        self.save(again=self.pending_evaluation == self.step)
        self.writer.wait()
        raise Interrupted(
            number,
            f"Stopped by {signal.Signals(number).name} at step {self.step}, with a checkpoint: go on by "
            f"`{terminal.command('train', '--resume', self.run_dir)}`.",
        )

    def save(self, *, again: bool = False) -> None:
        """Writes a checkpoint of the current state, unless there is one of this step that need not be written again.

        Raises:
            OSError: it or, on a GPU, the one before cannot be written; those before are whole.
        """
        if again or not self.writer.has(self.step):
            self.logger.flush()
            best = self.best_step if self.best_end is None else self.best_end
            self.writer.save(self.step, self.state_dict(), best, [self.best_step, self.pending_evaluation])

    def state_dict(self) -> dict[str, Any]:
        state: dict[str, Any] = {
            "agent": self.agent.state_dict(),
            "loop": {
                "experiment": self.experiment,
                "device": self.config.device,
                "best_step": self.best_step,
                "best_score": self.best_score,
                "measure": self.measure,
                "learns_from": self.learns_from,
                "pending_evaluation": self.pending_evaluation,
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
        self.best_step = loop["best_step"]
        self.best_score = loop.get(
            "best_score", loop.get("best_success")
        )  # its name before there were returns
        self.measure = loop.get("measure", self.measure)
        self.learns_from = loop.get("learns_from", self.learns_from)
        self.pending_evaluation = loop.get("pending_evaluation")
        self.diverged.load_state_dict(loop.get("frozen", {}))
        self.learner.leave_out_diverged()
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

    def _leave_out(self, bad: NDArray[np.bool_], reason: str) -> None:
        """Seeds [S] that are bad are trained no more; training stops where no other is left."""
        new = bad & ~self.diverged.mask
        if not new.any():
            return
        seeds = [seed for seed, n in zip(self.config.seeds, new.tolist(), strict=True) if n]
        if (self.diverged.mask | new).all():
            self._stop(f"{reason} (seeds {seeds})")
        self.diverged.add(new, self.step, reason)
        self.diverged.write(self.run_dir)
        self.learner.leave_out_diverged()
        print(
            f"Step {self.step}: {reason}; the seeds {seeds} stay as they were before, the others go on.",
            file=sys.stderr,
        )

    def _stop(self, reason: str) -> None:
        """Reports, keeps the last good state (a step with a value that is not finite changes nothing) and stops."""
        self.save()
        self.writer.wait()
        report = {"step": self.step, "reason": reason}
        (self.run_dir / "failure.json").write_text(json.dumps(report) + "\n", encoding="utf-8")
        raise TrainingError(
            f"Training stopped at step {self.step}: {reason}. The last good state is the checkpoint of step "
            f"{self.step} in {self.run_dir / 'checkpoints'}."
        )


def _passed(before: int, now: int, interval: int) -> bool:
    return before // interval < now // interval
