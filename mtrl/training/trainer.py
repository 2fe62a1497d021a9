"""The training loop: collect, learn, log, evaluate, checkpoint."""

from __future__ import annotations

import contextlib
import copy
import json
import signal
import sys
from collections.abc import Mapping
from concurrent.futures import Future, wait
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import torch
from numpy.typing import NDArray

import envs
from mtrl.config.clock import Clock
from mtrl.config.train import TrainConfig
from mtrl.device.cpu import prepare_cpu
from mtrl.diagnostics import cosines, gradient_metrics
from mtrl.evaluation.during_training import (
    BackgroundEvaluator,
    Evaluated,
    Evaluator,
    ForegroundEvaluator,
    Policy,
)
from mtrl.evaluation.episodes import make_agent, nan_mean
from mtrl.logging.logger import Logger
from mtrl.storage import checkpoint, checkpoints
from mtrl.storage.json_lines import RETURNS, SUCCESS
from mtrl.storage.scores import Scores
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
        self.should_log = config.clock(config.log_interval)
        self.should_evaluate = config.clock(config.evaluation.interval)
        # As often as evaluations: pictures cost more than numbers.
        self.should_draw = Clock(self.should_evaluate.interval, stride=config.log_interval)
        self.should_save = config.clock(config.checkpoint.interval)
        self.scores = Scores()
        self._evaluating: tuple[int, Future[Evaluated]] | None = None  # the policy of which step
        self.stop_request = StopRequest()
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
            else ForegroundEvaluator(config, self.agent, self._stop_if_asked)
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
        # The last step is logged and evaluated in any case. A run that goes on drops what was not due then: it is the
        # same as one that had more steps to make from the start.
        goes_on = self.step < config.total_steps
        self.logger = Logger(
            self.run_dir,
            self.tasks,
            config.seeds,
            self.step,
            without_training=goes_on and not self.should_log(self.step),
            without_evaluation=goes_on and not self.should_evaluate(self.step),
        )
        self.scores = Scores.read(self.logger.metrics_path)
        self.diverged.write(self.run_dir)
        with (
            self.stop_request,
            Progress(config.total_steps, self.step) as self.progress,
            contextlib.closing(self.logger),
        ):
            try:
                self._train()
            except TrainingError as error:
                self._report(str(error))

    def _train(self) -> None:
        config = self.config
        self._evaluate_pending()
        while self.step < config.total_steps:
            self._stop_if_asked()
            self.collector.start()
            learning = self.step > self.learns_from
            if learning and self.overlap:
                self.learn()
            self.collector.step(self.collector.actions())
            done = self.step >= config.total_steps
            logged = self.should_log(self.step) or done
            if learning and not self.overlap:
                self.agent.diagnose(logged or self.agent.device.type == "cuda")
                self.learn()
            self.progress.update(self.step)
            if logged:
                self.log(self.progress.rates())
            if self.should_evaluate(self.step) or done:
                if self.evaluator.background:
                    self.save()  # if it turns out to be the best, it has to be there
                self.evaluate(self.step, self.agent.policy_state())
            if self._evaluating is not None and self._evaluating[1].done():
                self._finish_evaluation()
            if self.should_save(self.step) or done:
                self.save()
            self.writer.check()
        self._finish_evaluation()
        self.writer.wait()
        checkpoints.prune(self.run_dir / "checkpoints", self._kept(), config.checkpoint.keep)

    @property
    def step(self) -> int:
        """Environment steps per task and seed."""
        return self.collector.num_steps

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
        early = not self.should_log(
            self.step
        )  # it is the end: a run that goes on has the means of all the interval
        before = copy.deepcopy((self.learner.state_dict(), self.collector.state_dict())) if early else None
        metrics = self.learner.read_metrics() | self.collector.episode_metrics.read()
        if before is not None:
            self.learner.load_state_dict(before[0])
            self.collector.episode_metrics.load_state_dict(before[1]["episode_metrics"])
        cosine_matrices = {}
        for network in ("critic", "actor"):
            gramian = metrics.pop(f"{network}/gramian", None)
            if gramian is not None:
                if not gramian.any():
                    raise TrainingError(
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
        if self.should_draw(self.step):
            self.logger.write_cosines(self.step, cosine_matrices)
        self.logger.write_timing(self.step, timing)

    def evaluate(self, step: int, policy: Policy) -> None:
        """Evaluates the policy of a step, or begins to, when the evaluation before has come to its end."""
        self._finish_evaluation()
        self._evaluating = step, self.evaluator.start(policy)
        if not self.evaluator.background:
            self._finish_evaluation()

    def _evaluate_pending(self) -> None:
        """Makes the evaluations that were not finished when the run was stopped, of the policies that were kept."""
        directory = self.run_dir / "checkpoints"
        for step in self.scores.pending(self.should_evaluate, self.step, self.config.total_steps):
            if step not in checkpoints.steps(directory):
                continue
            try:
                agent = checkpoint.load(checkpoints.find(directory, str(step)), ["agent"])["agent"]
            except checkpoint.CheckpointError as error:
                print(f"The evaluation of step {step} is left out: {error}", file=sys.stderr)
            else:
                self.evaluate(step, {network: agent[network] for network in self.agent.acting_networks})

    def _finish_evaluation(self) -> None:
        """Waits for the evaluation that is being made, if there is one, and logs what it says."""
        if self._evaluating is None:
            return
        step, evaluated = self._evaluating
        while not evaluated.done():
            self._stop_if_asked()
            wait([evaluated], 0.1)
        self._evaluating = None
        episodes, finite = evaluated.result()
        if not finite.all():
            self._leave_out(~finite, "an action of the policy is not finite")
        metrics = {f"evaluation/{name}": nan_mean(values) for name, values in vars(episodes).items()}
        self.logger.write(step, metrics)
        self.logger.flush()  # where the line is, the evaluation is not made again
        self.scores.add(step, metrics[SUCCESS], metrics[RETURNS])
        if step == self.step == self.scores.best():
            self.save()
        self.progress.show_score(step, self.scores.measure, self.scores[step])

    def _stop_if_asked(self) -> None:
        """
        Raises:
            Interrupted: a signal asked to stop; a checkpoint was written.
        """
        number = self.stop_request.signal_number
        if number is None:
            return
        self.save()
        self.writer.wait()
        raise Interrupted(
            number,
            f"Stopped by {signal.Signals(number).name} at step {self.step}, with a checkpoint: go on by "
            f"`{terminal.command('train', '--resume', self.run_dir)}`.",
        )

    def save(self) -> None:
        """Writes a checkpoint of the current state, unless there is one of this step.

        Raises:
            OSError: it or, on a GPU, the one before cannot be written; those before are whole.
        """
        if not self.writer.has(self.step):
            self.logger.flush()
            self.writer.save(self.step, self.state_dict(), self._kept())

    def _kept(self) -> list[int | None]:
        """The steps of checkpoints that are kept whatever the rule: the best, and the one that is being evaluated."""
        evaluating = None if self._evaluating is None else self._evaluating[0]
        return [self.scores.best(), self.scores.best(self.should_evaluate), evaluating]

    def state_dict(self) -> dict[str, Any]:
        state: dict[str, Any] = {
            "agent": self.agent.state_dict(),
            "loop": {
                "experiment": self.experiment,
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
        """Seeds [S] that are bad are trained no more.

        Raises:
            TrainingError: no other is left.
        """
        new = bad & ~self.diverged.mask
        if not new.any():
            return
        seeds = [seed for seed, n in zip(self.config.seeds, new.tolist(), strict=True) if n]
        if (self.diverged.mask | new).all():
            raise TrainingError(f"{reason} (seeds {seeds})")
        self.diverged.add(new, self.step, reason)
        self.diverged.write(self.run_dir)
        self.learner.leave_out_diverged()
        print(
            f"Step {self.step}: {reason}; the seeds {seeds} stay as they were before, the others go on.",
            file=sys.stderr,
        )

    def _report(self, reason: str) -> NoReturn:
        """Keeps the last good state (a step with a value that is not finite changes nothing) and says why it ends."""
        self.save()
        self.writer.wait()
        report = {"step": self.step, "reason": reason}
        (self.run_dir / "failure.json").write_text(json.dumps(report) + "\n", encoding="utf-8")
        raise TrainingError(
            f"Training stopped at step {self.step}: {reason}. The last good state is the checkpoint of step "
            f"{self.step} in {self.run_dir / 'checkpoints'}."
        ) from None
