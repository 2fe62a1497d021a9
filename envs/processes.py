"""Processes beside this one: they leave signals to it, and end with it. Gymnasium environments in processes."""

from __future__ import annotations

import atexit
import contextlib
import multiprocessing
import os
import signal
import sys
import weakref
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from multiprocessing import forkserver, resource_tracker
from multiprocessing.connection import Connection
from threading import Thread
from types import ModuleType
from typing import Any

import gymnasium
from gymnasium.vector import AsyncVectorEnv, AutoresetMode, SyncVectorEnv

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""What is sent to all processes of a job."""


class Processes:
    """Environments, each in a process of gymnasium's AsyncVectorEnv, or all in this one if `num_workers` is 0.

    Args:
        makers: make them; they can be pickled.
    """

    def __init__(self, makers: Sequence[Callable[[], gymnasium.Env[Any, Any]]], num_workers: int) -> None:
        makers = [partial(_make, os.getpid(), maker) for maker in makers]
        if num_workers:
            # It hands the mask on to all that it forks; without SIGTERM nobody could end a process of another program.
            with deaf_processes(signal.SIGINT):
                forkserver.ensure_running()
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


@contextlib.contextmanager
def deaf_processes(*signals: int) -> Iterator[None]:
    """A process that is started meanwhile does not import the script, and gets none of these signals.

    Before it calls `leave_signals_to_parent`, that is.
    """
    resource_tracker.ensure_running()  # its start lets signals through again
    before = signal.pthread_sigmask(signal.SIG_BLOCK, signals)
    try:
        with without_main_module():
            yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def leave_signals_to_parent() -> None:
    """The parent decides what they mean."""
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)


def begin_beside(parent: Connection) -> None:
    """What a process does first that ends at once, with the processes that it started, when `parent` is closed."""
    leave_signals_to_parent()
    Thread(target=_end_with, args=[parent], daemon=True).start()


def _end_with(parent: Connection) -> None:
    with contextlib.suppress(EOFError, OSError):
        parent.recv()
    for process in multiprocessing.active_children():  # they would print that they have lost this one
        process.kill()
    os._exit(1)


def _make(parent: int, maker: Callable[[], gymnasium.Env[Any, Any]]) -> gymnasium.Env[Any, Any]:
    if os.getpid() != parent:
        leave_signals_to_parent()
    return maker()
