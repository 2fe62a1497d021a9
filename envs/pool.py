"""Worker processes that run engines, and that may die or hang without taking anybody with them.

The workers are plain child processes of `python -c`, not `multiprocessing` ones: those import the user's
main module again in every worker, which would load PyTorch there and needs an `if __name__ == "__main__"`
guard in each script. Observations, actions and the like lie in shared memory (`envs.worlds.Buffers`); channels
carry commands and replies.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import signal
import socket
import subprocess
import sys
import time
import traceback
from collections.abc import Iterable, Sequence
from typing import Any

from envs.benchmarks import Protocol
from envs.channel import Channel
from envs.shares import share
from envs.worlds import Buffers, Engine, World, allocate

_START = "import sys; from envs.pool import serve; serve(*map(int, sys.argv[1:]))"
_SPIN = 150e-6  # seconds
_SETTINGS = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "MALLOC_TRIM_THRESHOLD_": "131072",  # bytes: glibc gives back what compiling a model needed
}


def make_engine(path: str, worlds: Sequence[World], protocol: Protocol, buffers: Buffers) -> Engine:
    """The engine of the class at `path` ("module:Class")."""
    module, name = path.split(":")
    engine: Engine = getattr(importlib.import_module(module), name)(worlds, protocol, buffers)
    return engine


def serve(channel_descriptor: int, buffer_descriptor: int, num_worlds: int) -> None:
    """A worker: makes the engine that the first message describes, then does what each message says.

    A message is a method's name and its arguments; the reply is whether it went well, and the result or the
    traceback as text. The frequent ones are nothing: ("step",), and (True, []).
    """
    for number in (signal.SIGINT, signal.SIGTERM):  # sent to all processes of a job; the parent decides
        signal.signal(number, signal.SIG_IGN)
    channel = Channel(channel_descriptor)
    buffers = Buffers.attach(buffer_descriptor, num_worlds)
    engine = None
    with contextlib.suppress(EOFError, ConnectionError, KeyboardInterrupt):
        while True:
            channel.spin(_SPIN)
            name, *arguments = channel.receive() or ("step",)
            try:
                result = None
                if name == "make":
                    path, worlds, protocol = arguments
                    engine = make_engine(path, worlds, protocol, buffers)
                else:
                    result = getattr(engine, name)(*arguments)
            except Exception:
                channel.send((False, traceback.format_exc()))
            else:
                channel.send(None if result == [] else (True, result))


class WorkerError(RuntimeError):
    """A worker died, hung or raised; the message says which."""


class Worker:
    """One child process and the engine in it."""

    def __init__(
        self,
        engine: str,
        worlds: Sequence[World],
        protocol: Protocol,
        buffer_descriptor: int,
        num_worlds: int,
    ) -> None:
        self.worlds = list(worlds)
        ours, theirs = socket.socketpair()
        self.channel = Channel(ours.detach())
        descriptors = (theirs.fileno(), buffer_descriptor)
        path = os.pathsep.join(os.path.abspath(entry) for entry in sys.path)
        self.process = subprocess.Popen(
            [sys.executable, "-P", "-c", _START, *map(str, descriptors), str(num_worlds)],
            pass_fds=descriptors,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            env={**os.environ, **_SETTINGS, "PYTHONPATH": path},
        )
        theirs.close()
        self.send("make", engine, self.worlds, protocol)

    def send(self, name: str, *arguments: Any) -> None:
        with contextlib.suppress(ConnectionError):  # `receive` will say that it died
            self.channel.send(None if name == "step" else (name, *arguments))

    def ready(self, seconds: float) -> bool:
        """Whether there is something to receive, within so many seconds; a worker's death is something, too."""
        return self.channel.ready(seconds)

    def receive(self) -> Any:
        """The result of the command sent last, when there is one.

        Raises:
            WorkerError: the worker died, or raised.
        """
        try:
            reply: tuple[bool, Any] = self.channel.receive() or (True, [])
        except (EOFError, ConnectionError):
            code = self.process.wait()
            cause = f"signal {-code}" if code < 0 else f"exit code {code}"
            raise WorkerError(f"its worker process died ({cause})") from None
        done, result = reply
        if not done:
            raise WorkerError(f"its worker process raised: {result.strip().splitlines()[-1]}") from None
        return result

    def stop(self) -> None:
        self.channel.close()
        self.process.kill()
        self.process.wait()


class Pool:
    """Engines for all worlds, spread over worker processes.

    Args:
        engine: where the engine's class is ("module:Class").
        num_workers: at most; 0 runs everything in this process, where nothing can be killed or timed out.
        timeout: seconds after which a worker that has not answered counts as hung. Starting one has
            `start_timeout`.
    """

    start_timeout = 300.0

    def __init__(
        self,
        engine: str,
        worlds: Sequence[World],
        protocol: Protocol,
        num_workers: int,
        timeout: float,
    ) -> None:
        self.engine, self.protocol, self.timeout, self.num_worlds = engine, protocol, timeout, len(worlds)
        self.descriptor = allocate(len(worlds))
        self.buffers = Buffers.attach(self.descriptor, len(worlds))
        self.local: Engine | None = None
        self.workers: list[Worker] = []
        self._latest = 0
        if num_workers == 0:
            self.local = make_engine(engine, worlds, protocol, self.buffers)
            return
        self.workers = [self._start(part) for part in share(worlds, num_workers)]
        failures = self._collect(range(len(self.workers)), self.start_timeout)[1]
        if failures:
            self.close()
            raise RuntimeError(f"An environment cannot be started: {next(iter(failures.values()))}.")

    def _start(self, worlds: Sequence[World]) -> Worker:
        return Worker(self.engine, worlds, self.protocol, self.descriptor, self.num_worlds)

    def call(
        self, name: str, arguments: Sequence[tuple[Any, ...]] | None = None
    ) -> tuple[list[Any], dict[int, str]]:
        """Calls a method of every engine at once.

        Args:
            arguments: those of each engine.

        Returns:
            The results that arrived, and for each worker that died, hung or raised, what happened.
        """
        if self.local is not None:
            return [getattr(self.local, name)(*(arguments[0] if arguments else ()))], {}
        for i, worker in enumerate(self.workers):
            worker.send(name, *(arguments[i] if arguments else ()))
        return self._collect(range(len(self.workers)), self.timeout)

    def restart(self, index: int) -> None:
        """Replaces a worker by a new process with fresh worlds, which have yet to be reset.

        Raises:
            RuntimeError: the new one does not come up either.
        """
        worlds = self.workers[index].worlds
        self.workers[index].stop()
        self.workers[index] = self._start(worlds)
        failures = self._collect([index], self.start_timeout)[1]
        if failures:
            raise RuntimeError(f"A worker process cannot be restarted: {failures[index]}.")

    def close(self) -> None:
        for worker in self.workers:
            worker.stop()
        self.workers, self.local = [], None
        if self.descriptor >= 0:
            os.close(self.descriptor)
            self.descriptor = -1

    def _collect(self, waiting: Iterable[int], timeout: float) -> tuple[list[Any], dict[int, str]]:
        """Waits for one reply of each of these workers, at most `timeout` seconds in all.

        It waits first for the one that was the last to answer before: while this process sleeps, the replies of the
        others do not wake it, and it takes no core from those that are still at work.
        """
        results: dict[int, Any] = {}
        failures: dict[int, str] = {}
        deadline = time.monotonic() + timeout
        for i in sorted(waiting, key=lambda i: i != self._latest):
            worker = self.workers[i]
            if not worker.ready(0.0):
                self._latest = i
                if not worker.ready(max(0.0, deadline - time.monotonic())):
                    failures[i] = f"its worker process did not answer within {timeout:g} s"
                    continue
            try:
                results[i] = worker.receive()
            except WorkerError as error:
                failures[i] = str(error)
        return [results[i] for i in sorted(results)], failures
