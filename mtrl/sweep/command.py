"""`mtrl sweep`: plans the runs, has them trained, and compares them."""

from __future__ import annotations

import math
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import Any, Protocol

from mtrl.reporting.command import report, show
from mtrl.reporting.runs import Source
from mtrl.sweep import manifest
from mtrl.sweep.calibrate import Calibration, Measurement
from mtrl.sweep.collect import check_collected, collect, fetch, files
from mtrl.sweep.config import SweepConfig, parse_request
from mtrl.sweep.local import LocalExecutor, slots, with_cores
from mtrl.sweep.plan import Method, PlannedRun, methods
from mtrl.sweep.state import Progress, check_kept, is_finished, is_trained, last_step
from mtrl.sweep.table import LiveTable, duration
from mtrl.system import terminal
from mtrl.system.lock import locked
from mtrl.system.paths import check_writable
from mtrl.system.signals import Interrupted, StopRequest

_GIB = 2**30
_COLUMNS = ("number", "run", "state", "seeds in the process")


class Executor(Protocol):
    """Trains the runs that are submitted, resumes those that are killed, and never trains one twice."""

    slots: int
    """Runs at once."""

    def submit(self, run: PlannedRun) -> None: ...

    def poll(self) -> dict[str, str | None]:
        """Names of the runs that ended since the last call, with what went wrong, if anything did."""

    def running(self) -> set[str]:
        """Names of the runs that are being trained."""

    def stop(self) -> None:
        """Has every run write a checkpoint and end."""

    def measure(self, options: dict[str, Any], worlds: int) -> Measurement:
        """A short run where the others will be."""

    def memory(self) -> float:
        """Bytes that a run may take there."""

    def close(self) -> None: ...


def command(arguments: list[str]) -> int:
    """Runs `mtrl sweep ARGUMENTS`; 1 if a run failed."""
    request = parse_request(arguments)
    config = request.config
    found = methods(config)
    for name in ("runs", "configs", "logs", "report"):
        check_writable(config.directory / name)
    if config.collect is not None:
        fetch(Path(config.collect), config.directory)
    if request.dry_run and not request.estimate:
        _print_runs(found, config)
        return 0
    executor = _make_executor(config, found)
    previous = signal.signal(signal.SIGTERM, _terminate)
    try:
        calibration = Calibration(executor.measure)
        runs = _plan(config, found, executor, calibration)
        if request.estimate:
            _print_plan(runs, found, config, executor, calibration)
            return 0
        if request.only is not None and not 0 <= request.only < len(runs):
            raise ValueError(
                f"--only must be the number of a run, from 0 to {len(runs) - 1}, got {request.only}."
            )
        _check_places(runs, config)
        if request.only is not None:
            manifest.write(config.directory, runs)
            return train_runs([runs[request.only]], config.directory, executor, config.collect)
        held = config.directory / "runs"  # not the directory itself, to which other processes may bring runs
        held.mkdir(parents=True, exist_ok=True)
        with locked(held):
            manifest.write(config.directory, runs)
            code = train_runs(runs, config.directory, executor, config.collect)
    finally:
        signal.signal(signal.SIGTERM, previous)
        executor.close()
    report_runs([run for run in runs if is_finished(run, config.directory)], config)
    return code


def _terminate(number: int, frame: FrameType | None) -> None:
    """While runs are planned there is nothing to save, but temporary files and processes to tidy up."""
    sys.exit(128 + number)


def _make_executor(config: SweepConfig, found: Sequence[Method]) -> Executor:
    devices = {method.device for method in found}
    device = "cuda" if "cuda" in devices else "auto" if "auto" in devices else "cpu"
    if config.executor == "local":
        return LocalExecutor(
            config.directory, with_cores(slots(config, device), config.cores_per_run), config.retries
        )
    from mtrl.sweep.cluster import RayExecutor

    return RayExecutor(config, device)


def _plan(
    config: SweepConfig, found: Sequence[Method], executor: Executor, calibration: Calibration
) -> list[PlannedRun]:
    seeds = config.seeds_per_run
    # No more seeds side by side than give every slot work.
    fair = -(-len(found) * len(config.seeds) // executor.slots)

    def size(method: Method) -> int:
        if seeds != "auto":
            return seeds
        if fair == 1:
            return 1
        given = config.memory_per_run
        return min(fair, calibration.most_seeds(method, executor.memory() if given is None else given * _GIB))

    return manifest.plan(config.directory, found, config.seeds, size, keep_packs=seeds == "auto")


def _check_places(runs: Sequence[PlannedRun], config: SweepConfig) -> None:
    """Finds out before the work, not after it, which runs could not be trained or collected."""
    for run in runs:
        if config.collect is not None:
            check_collected(run, config.directory, Path(config.collect))
        check_kept(run, config.directory)


def train_runs(
    runs: Sequence[PlannedRun], root: Path, executor: Executor, collected: str | None = None
) -> int:
    """Trains what is not finished; 1 if a run failed.

    Args:
        collected: where what a report needs of each run goes as soon as that is finished.

    Raises:
        Interrupted: a signal asked to stop; every run that was being trained wrote a checkpoint.
    """
    states = {run.name: "finished" if is_finished(run, root) else "waiting" for run in runs}
    failures: dict[str, str] = {}

    def collect_finished() -> None:
        if collected is not None:
            collect([run for run in runs if states[run.name] == "finished"], root, Path(collected))

    collect_finished()
    for run in runs:
        if states[run.name] == "waiting":
            executor.submit(run)
    if "waiting" not in states.values():
        print(f"All {len(runs)} runs of the sweep are finished: nothing was trained.", file=sys.stderr)
        return 0
    with StopRequest() as request:
        try:
            with LiveTable([Progress(run, root) for run in runs]) as table:
                while {"waiting", "running"} & set(states.values()) and request.signal_number is None:
                    for name, failure in executor.poll().items():
                        states[name] = "failed" if failure else "finished"
                        if failure:
                            failures[name] = failure
                        else:
                            collect_finished()
                    going = executor.running()
                    for name, state in states.items():
                        if state in ("waiting", "running"):
                            states[name] = "running" if name in going else "waiting"
                    table.update(states)
                    time.sleep(0.5)
        finally:
            executor.stop()  # nothing is left to stop, unless a signal or an error came between
    for name, failure in failures.items():
        terminal.message(f"mtrl: the run {name} failed: {failure.removeprefix('mtrl: ')}")
    if request.signal_number is not None:
        name = signal.Signals(request.signal_number).name
        raise Interrupted(
            request.signal_number,
            f"Stopped by {name}: the same command goes on from the checkpoints of the runs.",
        )
    return 1 if failures else 0


def _print_runs(found: Sequence[Method], config: SweepConfig) -> None:
    """The runs as they are, at once: nothing is measured."""
    seeds = config.seeds_per_run
    size = len(config.seeds) if seeds == "auto" else seeds
    runs = manifest.plan(config.directory, found, config.seeds, lambda _: size, keep_packs=seeds == "auto")
    table = terminal.table(*_COLUMNS)
    _check_places(runs, config)
    for number, run in enumerate(runs):
        table.add_row(*_row(number, run, config.directory))
    console = terminal.console()
    console.print(table)
    open_packs = " Fewer seeds may share a process (seeds_per_run auto): that is measured when it begins."
    console.print(
        f"{len(runs)} runs, {sum(is_finished(run, config.directory) for run in runs)} of them finished; --estimate "
        f"measures time and memory.{open_packs * (seeds == 'auto')}",
        soft_wrap=True,
    )


def _row(number: int, run: PlannedRun, root: Path) -> list[str]:
    """The cells of `_COLUMNS`."""
    step = last_step(run, root) or 0
    if is_finished(run, root):
        state = "finished"
    elif is_trained(run, root):
        state = "to be evaluated"
    else:
        state = f"from step {step}" if step else "new"
    return [str(number), run.name, state, str(len(run.seeds))]


def _print_plan(
    runs: Sequence[PlannedRun],
    found: Sequence[Method],
    config: SweepConfig,
    executor: Executor,
    calibration: Calibration,
) -> None:
    by_name = {method.name: method for method in found}
    table = terminal.table(*_COLUMNS, "time", "GiB")
    seconds = []
    for number, run in enumerate(runs):
        row = _row(number, run, config.directory)
        if not is_finished(run, config.directory):
            estimate = calibration.estimate(by_name[run.method], len(run.seeds))
            step = last_step(run, config.directory) or 0
            seconds.append(estimate.seconds * (1 - step / run.total_steps))
            row += [duration(seconds[-1]), f"{estimate.memory / _GIB:.1f}"]
        table.add_row(*row)
    console = terminal.console()
    console.print(table)
    whole = max(0.0, sum(seconds) / executor.slots, *seconds)
    console.print(
        f"{len(runs)} runs, {executor.slots} at once: about {duration(whole)} (h:mm:ss). Estimated from a few hundred "
        "steps of each method with one seed, measured alone on an idle slot, and of the first with two seeds, which "
        "gives the cost of a further seed for all.",
        soft_wrap=True,
    )


def report_runs(runs: Sequence[PlannedRun], config: SweepConfig) -> None:
    """The comparison of the finished runs, in the sweep's directory; one that is there and newer stays."""
    output = config.directory / "report"
    directories = [run.directory(config.directory) for run in runs]
    written = output / "report.json"
    newest = max((path.stat().st_mtime for d in directories for path in files(d)), default=math.inf)
    if written.exists() and written.stat().st_mtime > newest:
        terminal.message(f"mtrl: the report of the sweep is in {output}.")
    elif directories:
        grids = config.axes if isinstance(config.axes, list) else [config.axes]
        mixed = any(axis in grid for grid in grids for axis in ("protocol", "benchmark"))
        source: Source = "metrics" if config.evaluate.engine is None else "evaluation"
        show(report(directories, source=source, output=output, allow_mixed=mixed))
