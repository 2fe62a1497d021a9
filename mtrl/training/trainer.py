"""A training run: the loop, with its logs, evaluations, checkpoints and signals."""

from __future__ import annotations

import contextlib
import json
import signal
import sys
from collections.abc import Mapping
from concurrent.futures import Future, wait
from typing import NoReturn

from mtrl.config.clock import Clock
from mtrl.evaluation.background import BackgroundEvaluator
from mtrl.evaluation.episodes import nan_mean
from mtrl.evaluation.foreground import Evaluated, ForegroundEvaluator, PolicyState
from mtrl.logging.logger import Logger
from mtrl.storage import checkpoint, checkpoints
from mtrl.storage.json_lines import RETURNS, SUCCESS
from mtrl.storage.run_directory import HeldDirectory
from mtrl.storage.scores import Scores
from mtrl.storage.writer import CheckpointWriter
from mtrl.system import terminal
from mtrl.system.files import write_text
from mtrl.system.signals import Interrupted, StopRequest
from mtrl.training.frozen import TrainingError
from mtrl.training.loop import TrainingLoop
from mtrl.training.progress import ProgressBar


class Trainer:
    """Trains and keeps: lines, evaluations, checkpoints. None of these changes what is trained.

    Args:
        loop: what is trained; nothing is written to its run directory before `run`.
    """

    def __init__(self, loop: TrainingLoop) -> None:
        config = loop.config
        self.loop, self.config, self.run_dir = loop, config, loop.run_dir
        self.should_log = config.clock(config.log_interval)
        self.should_evaluate = config.clock(config.evaluation.interval)
        # As often as evaluations: pictures cost more than numbers.
        self.should_draw = Clock(self.should_evaluate.interval, stride=config.log_interval)
        self.should_save = config.clock(config.checkpoint.interval)
        self.scores = Scores()
        self._evaluating: tuple[int, Future[Evaluated]] | None = None  # the policy of which step
        self.stop_request = StopRequest()
        self.evaluator = (
            BackgroundEvaluator(config)
            if loop.overlap
            else ForegroundEvaluator(config, loop.agent, self._stop_if_asked)
        )
        self.writer = CheckpointWriter(
            self.run_dir / "checkpoints", background=loop.overlap, rule=config.checkpoint.keep
        )

    @property
    def step(self) -> int:
        """Environment steps per task and seed."""
        return self.loop.step

    def run(self, directory: HeldDirectory) -> None:
        """Trains to the end.

        Args:
            directory: where the run is.

        Raises:
            TrainingError: no seed is left without a loss, an observation or an action that is not finite; a checkpoint
                of the last good state was written.
            Interrupted: a signal asked to stop; a checkpoint was written.
            MovedError: the run directory is another one now; nothing was written there.
        """
        config = self.config
        self.open(directory)
        with (
            self.stop_request,
            ProgressBar(config.total_steps, self.step) as self.progress,
            contextlib.closing(self.logger),
        ):
            try:
                self._train()
            except TrainingError as error:
                self._report(str(error))

    def open(self, directory: HeldDirectory) -> None:
        """Begins the run's logs, or goes on with them, and reads which evaluations were made."""
        config = self.config
        self.directory = directory
        # The last step is logged and evaluated in any case. A run that goes on drops what was not due then: it is the
        # same as one that had more steps to make from the start.
        goes_on = self.step < config.total_steps
        self.logger = Logger(
            self.run_dir,
            self.loop.tasks,
            config.seeds,
            self.loop.identity.get("experiment", {}),
            self.step,
            without_training=goes_on and self.step not in self.loop.logged_steps(),
            without_evaluation=goes_on and not self.should_evaluate(self.step),
        )
        self.scores = Scores.read(self.logger.metrics_path, len(config.seeds), self.loop.tasks)
        self.loop.frozen.write()

    def _train(self) -> None:
        config = self.config
        self._evaluate_pending()
        while self.step < config.total_steps:
            self._stop_if_asked()
            step = self.step + config.worlds_per_task
            done = step >= config.total_steps
            logged = self.should_log(step) or done
            self.loop.advance(diagnose=logged)
            self.progress.update(self.step)
            if logged:
                self.log(self.progress.rates())
            if self.should_evaluate(self.step) or done:
                if self.evaluator.background:
                    self.save()  # if it turns out to be the best, it has to be there
                self.evaluate(self.step, self.loop.agent.policy_state())
            if self._evaluating is not None and self._evaluating[1].done():
                self._finish_evaluation()
            if self.should_save(self.step) or done:
                self.save()
            self.writer.check()
        self._finish_evaluation()
        self.writer.wait()
        checkpoints.prune(self.run_dir / "checkpoints", self._kept(), config.checkpoint.keep)

    def close(self) -> None:
        self.loop.close()
        self.evaluator.close()
        self.writer.close()

    def log(self, timing: Mapping[str, float]) -> None:
        """Writes the means of the training metrics since the last call, and measures of the newest gradients."""
        self.directory.check()
        # At the end of a run between two lines: one that goes on has the means of the whole interval.
        keep = not self.should_log(self.step)
        metrics = self.loop.learner.read_metrics(keep=keep)
        metrics |= self.loop.collector.episode_metrics.read(keep=keep)
        self.logger.write(self.step, metrics)
        if self.should_draw(self.step):
            self.logger.draw(self.step, metrics)
        self.logger.write_timing(self.step, timing)

    def evaluate(self, step: int, policy: PolicyState) -> None:
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
            policy = self.loop.agent.policy_state()
            try:
                agent = checkpoint.load_part(checkpoint.path_of(directory, step), "agent", policy)
            except checkpoint.CheckpointError as error:
                print(f"The evaluation of step {step} is left out: {error}", file=sys.stderr)
            else:
                self.evaluate(step, {network: agent[network] for network in policy})

    def _finish_evaluation(self) -> None:
        """Waits for the evaluation that is being made, if there is one, and logs what it says."""
        if self._evaluating is None:
            return
        step, evaluated = self._evaluating
        while not evaluated.done():
            self._stop_if_asked()
            wait([evaluated], 0.1)
        self._evaluating = None
        self.directory.check()
        episodes, finite = evaluated.result()
        if not finite.all():
            self.loop.frozen.freeze(~finite, "an action of the policy is not finite")
        metrics = {f"evaluation/{name}": nan_mean(values) for name, values in vars(episodes).items()}
        self.logger.write(step, metrics)
        self.logger.flush()  # where the line is, the evaluation is not made again
        self.scores.add(step, metrics[SUCCESS], metrics[RETURNS])
        if step == self.step == self.scores.best():
            self.save()
        measure = self.scores.measure
        values = metrics[SUCCESS if measure == "success" else RETURNS].mean(0)  # [T]
        self.progress.show_score(step, measure, dict(zip(self.loop.tasks, values.tolist(), strict=True)))

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
            MovedError: see `run`.
        """
        self.directory.check()
        if not self.writer.has(self.step):
            self.logger.flush()
            self.writer.save(self.step, self.loop.state_dict(), self._kept())

    def _kept(self) -> list[int | None]:
        """The steps of checkpoints that are kept whatever the rule: the best, and the one that is being evaluated."""
        evaluating = None if self._evaluating is None else self._evaluating[0]
        return [self.scores.best(), self.scores.best(self.should_evaluate), evaluating]

    def _report(self, reason: str) -> NoReturn:
        """Keeps the last good state (a step with a value that is not finite changes nothing) and says why it ends."""
        self.save()
        self.writer.wait()
        report = {"step": self.step, "reason": reason}
        write_text(self.run_dir / "failure.json", json.dumps(report) + "\n")
        raise TrainingError(
            f"Training stopped at step {self.step}: {reason}. The last good state is the checkpoint of step "
            f"{self.step} in {self.run_dir / 'checkpoints'}."
        ) from None
