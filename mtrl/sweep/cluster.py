"""Runs as tasks of Ray, on this machine or on a cluster: Ray places them, and retries them where a node is lost."""

from __future__ import annotations

import contextlib
import logging
import socket
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mtrl.sweep.calibrate import Measurement, measure, memory_of_a_slot
from mtrl.sweep.config import SweepConfig
from mtrl.sweep.plan import PlannedRun
from mtrl.sweep.process import last_words, start, was_killed
from mtrl.sweep.state import is_finished, lacks_evaluation, last_step

try:
    import ray

    from mtrl.sweep.storage import Storage
except ImportError as error:
    raise ValueError('The executor ray needs Ray: pip install "mtrl-toolkit[ray]".') from error


class KilledError(RuntimeError):
    """A process of training was killed, and can go on from its checkpoint."""


class RayExecutor:
    """Trains runs in tasks of Ray.

    Args:
        device: auto, cpu or cuda.

    Raises:
        ValueError: the storage cannot be opened, the cluster cannot be reached, or no node has what a run takes.
    """

    def __init__(self, config: SweepConfig, device: str) -> None:
        self._storage = None if config.storage is None else Storage(config.storage)
        if config.address is not None:
            _check_reachable(config.address)
        started_here: dict[str, Any] = {"num_cpus": config.cores, "include_dashboard": False}
        try:
            ray.init(
                address=config.address or "local",
                log_to_driver=False,
                logging_level=logging.ERROR,
                **({} if config.address else started_here),
            )
        except ConnectionError as error:
            raise ValueError(_unreachable(config.address, error)) from error
        gpus = config.gpus_per_run if device != "cpu" and ray.cluster_resources().get("GPU") else 0.0
        fit = [
            runs_at_once(node["Resources"], config.cores_per_run, gpus)
            for node in ray.nodes()
            if node["Alive"]
        ]
        self.slots, self._on_a_node = sum(fit), max(fit)
        if self.slots == 0 or (device == "cuda" and gpus == 0):
            wanted = f"{config.cores_per_run} cores and {gpus or float(device == 'cuda'):g} GPUs"
            ray.shutdown()
            raise ValueError(
                f"No node of the Ray cluster has the {wanted} that a run takes: use other cores_per_run, gpus_per_run "
                "or device."
            )
        self._root = config.directory.absolute()
        if self._storage is not None:
            self._storage.mirror(self._root)
        self._resources = {"num_cpus": config.cores_per_run, "num_gpus": gpus}
        self._train = ray.remote(_train).options(
            **self._resources, max_retries=config.retries, retry_exceptions=[KilledError]
        )
        self._runs: dict[Any, PlannedRun] = {}  # by the reference to their task's result
        self._started = self._mirrored = time.time()

    def submit(self, run: PlannedRun) -> None:
        self._runs[self._train.remote(run, str(self._root), self._storage)] = run

    def poll(self) -> dict[str, str | None]:
        """Names of the runs that ended since the last call, with what went wrong, if anything did."""
        ready, _ = (
            ray.wait(list(self._runs), num_returns=len(self._runs), timeout=0) if self._runs else ([], [])
        )
        if self._storage is not None and (ready or time.time() > self._mirrored + 30):
            self._storage.mirror(self._root)
            self._mirrored = time.time()
        ended = {}
        for reference in ready:
            name = self._runs.pop(reference).name
            try:
                ended[name] = ray.get(reference)
            except ray.exceptions.RayError as error:
                cause = getattr(error, "cause", None) or error  # what the task raised, without its traceback
                ended[name] = str(cause).strip().splitlines()[-1]
        return ended

    def running(self) -> set[str]:
        """Names of the runs whose log was written to since the sweep began."""
        logs = {run.name: run.log_path(self._root) for run in self._runs.values()}
        return {name for name, log in logs.items() if log.exists() and log.stat().st_mtime >= self._started}

    def measure(self, options: dict[str, Any], worlds: int) -> Measurement:
        """A short run on any node, see `mtrl.sweep.calibrate.measure`."""
        result: Measurement = ray.get(ray.remote(measure).options(**self._resources).remote(options, worlds))
        return result

    def memory(self) -> float:
        """Bytes that a run may take, as any node tells."""
        gpus = self._resources["num_gpus"]
        task = ray.remote(memory_of_a_slot).options(**self._resources)
        result: float = ray.get(task.remote(self._on_a_node, gpus))
        return result

    def stop(self) -> None:
        """Asks every run to write a checkpoint and to end, and waits for it."""
        for reference in self._runs:
            ray.cancel(reference)
        if self._runs:
            ray.wait(list(self._runs), num_returns=len(self._runs))

    def close(self) -> None:
        """Leaves the cluster; one that was started here ends."""
        ray.shutdown()


def _train(run: PlannedRun, root: str, storage: Storage | None) -> str | None:
    """A task: trains a run, or goes on with it, and returns what went wrong, if anything did.

    Args:
        root: the sweep's directory on a path that the nodes share.
        storage: where the run is kept instead; this node then works in a temporary directory.

    Raises:
        KilledError: the process was killed.
    """
    with contextlib.ExitStack() as stack:
        directory = Path(root)
        if storage is not None:
            directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            storage.pull(run, directory)
            stack.callback(storage.push, run, directory)
        if is_finished(run, directory):
            return None
        failure = _run_process(run, directory, storage)
        if failure is None and lacks_evaluation(run, directory):
            failure = _run_process(run, directory, storage)
        return failure


def _run_process(run: PlannedRun, directory: Path, storage: Storage | None) -> str | None:
    """Trains or evaluates a run in a process of its own, and returns what went wrong, if anything did."""
    process = start(run, directory)
    saved = last_step(run, directory)
    try:
        while process.poll() is None:
            time.sleep(0.2)
            if storage is not None and last_step(run, directory) != saved:
                saved = last_step(run, directory)
                storage.push(run, directory)
    except BaseException:  # the task was cancelled
        process.terminate()
        process.wait()
        raise
    if was_killed(process.returncode):
        raise KilledError(f"the process was killed (exit code {process.returncode})")
    return last_words(run.log_path(directory)) if process.returncode else None


def runs_at_once(resources: Mapping[str, float], cores: int, gpus: float) -> int:
    """How many runs a node with these resources can train; each has its cores, and a share of one GPU or none."""
    by_cores = int(resources.get("CPU", 0) // cores)
    return min(by_cores, int(resources.get("GPU", 0)) * int(1 / gpus)) if gpus else by_cores


def _check_reachable(address: str) -> None:
    """Ray itself tries for a minute, and then ends the process."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not port.isdecimal():
        if address not in ("auto", "local"):
            raise ValueError(f"The address of a Ray cluster must be auto or HOST:PORT, got {address!r}.")
        return
    try:
        socket.create_connection((host, int(port)), timeout=5).close()
    except (OSError, OverflowError) as error:
        raise ValueError(_unreachable(address, error)) from error


def _unreachable(address: str | None, error: Exception) -> str:
    reason = str(error).strip().splitlines()[0].rstrip(".")
    return f"The Ray cluster at {address} cannot be reached ({reason}): start it with `ray start --head`."
