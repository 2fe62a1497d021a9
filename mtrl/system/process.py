"""A worker process as its parent sees it.

The workers are plain child processes of `python -c`, not `multiprocessing` ones: those import the user's
main module again in every worker, which would load PyTorch there and needs an `if __name__ == "__main__"`
guard in each script.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import traceback
from collections.abc import Callable, Sequence
from typing import Any

from mtrl.system.channel import Channel

_START = "import sys; from {} import serve; serve(*map(int, sys.argv[1:]))"
_SETTINGS = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "MALLOC_TRIM_THRESHOLD_": "131072",  # bytes: glibc gives back what compiling a model needed
}


class WorkerError(RuntimeError):
    """A worker died, hung or raised; the message says which."""


class Worker:
    """One child process, which is starting when this returns.

    Args:
        assignment: its first message.
        descriptors: of files that it is given besides the end of its channel.
        module: whose `serve`, called with the descriptors, is its life.
    """

    def __init__(self, assignment: Any, descriptors: Sequence[int] = (), module: str = "envs.worker") -> None:
        ours, theirs = socket.socketpair()
        self.channel = Channel(ours.detach())
        passed = (theirs.fileno(), *descriptors)
        path = os.pathsep.join(os.path.abspath(entry) for entry in sys.path)
        self.process = subprocess.Popen(
            [sys.executable, "-P", "-c", _START.format(module), *map(str, passed)],
            pass_fds=passed,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            env={**os.environ, **_SETTINGS, "PYTHONPATH": path},
        )
        theirs.close()
        self.send(assignment)

    def send(self, message: Any = None) -> None:
        """Sends a message, or nothing, which wakes it."""
        with contextlib.suppress(ConnectionError):  # `receive` will say that it died
            self.channel.send(message)

    def receive(self) -> tuple[Any, ...]:
        """The next result that it sends, alone in a tuple, which is empty if it sends nothing.

        Raises:
            WorkerError: the worker died, or raised.
        """
        try:
            reply: tuple[bool, Any] | None = self.channel.receive()
        except (EOFError, ConnectionError):
            code = self.process.wait()
            cause = f"signal {-code}" if code < 0 else f"exit code {code}"
            raise WorkerError(f"its worker process died ({cause})") from None
        if reply is None:
            return ()
        done, result = reply
        if not done:
            raise WorkerError(f"its worker process raised: {result.strip().splitlines()[-1]}") from None
        return (result,)

    def stop(self) -> None:
        self.channel.close()
        self.process.kill()
        self.process.wait()


def live(descriptor: int, life: Callable[[Channel], None]) -> None:
    """The child's side: its life, with the end of the channel at a descriptor, until the parent is gone.

    What goes wrong is sent as a traceback: a reply is whether it went well, and the result or that text.
    """
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):  # sent to all of a job; the parent decides
        signal.signal(number, signal.SIG_IGN)
    channel = Channel(descriptor)
    with contextlib.suppress(EOFError, ConnectionError, KeyboardInterrupt):
        try:
            life(channel)
        except Exception as error:
            if isinstance(error, EOFError | ConnectionError):
                raise
            channel.send((False, traceback.format_exc()))
