"""Gymnasium environments in processes, for the engines that run them."""

from __future__ import annotations

import atexit
import contextlib
import os
import signal
import sys
import weakref
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from types import ModuleType
from typing import Any

import gymnasium
from gymnasium.vector import AsyncVectorEnv, AutoresetMode, SyncVectorEnv


class Processes:
    """Environments, each in a process of gymnasium's AsyncVectorEnv, or all in this one if `num_workers` is 0.

    Args:
        makers: make them; they can be pickled.
    """

    def __init__(self, makers: Sequence[Callable[[], gymnasium.Env[Any, Any]]], num_workers: int) -> None:
        makers = [partial(_make, os.getpid(), maker) for maker in makers]
        with without_main_module():
            self.env: AsyncVectorEnv | SyncVectorEnv = (
                # A fork would take the locks of other threads with it.
                AsyncVectorEnv(makers, context="forkserver", autoreset_mode=AutoresetMode.DISABLED)
                if num_workers
                else SyncVectorEnv(makers, autoreset_mode=AutoresetMode.DISABLED)
            )
        self._end = weakref.finalize(self, _end, self.env)
        atexit.register(self._end)  # runs before multiprocessing waits for processes that ignore SIGTERM

    def call(self, name: str, *arguments: Any, **options: Any) -> Any:
        """A method of the vector environment.

        Raises:
            RuntimeError: a process died.
        """
        try:
            return getattr(self.env, name)(*arguments, **options)
        except (EOFError, ConnectionError):
            raise RuntimeError("A process of an environment died: resume from the last checkpoint.") from None

    def close(self) -> None:
        self._end()


def _end(env: AsyncVectorEnv | SyncVectorEnv) -> None:
    if isinstance(env, AsyncVectorEnv):
        for process in env.processes:  # also those that are at something, or do not answer
            process.kill()
            process.join()
        env.closed = True
    else:
        env.close()


@contextlib.contextmanager
def without_main_module() -> Iterator[None]:
    """A process that is started meanwhile does not import the script that is running, which may do everything anew."""
    main = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main


def _make(parent: int, maker: Callable[[], gymnasium.Env[Any, Any]]) -> gymnasium.Env[Any, Any]:
    if os.getpid() != parent:
        for number in (
            signal.SIGINT,
            signal.SIGTERM,
            signal.SIGHUP,
        ):  # sent to all of a job; the parent decides
            signal.signal(number, signal.SIG_IGN)
    return maker()
