"""Gymnasium environments in processes, for the engines that run them."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Sequence
from functools import partial
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
        self.env: AsyncVectorEnv | SyncVectorEnv = (
            # A fork would take the locks of other threads with it.
            AsyncVectorEnv(makers, context="forkserver", autoreset_mode=AutoresetMode.DISABLED)
            if num_workers
            else SyncVectorEnv(makers, autoreset_mode=AutoresetMode.DISABLED)
        )

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
        if isinstance(self.env, AsyncVectorEnv):
            for process in self.env.processes:  # also those that are at something, or do not answer
                process.kill()
                process.join()
            self.env.closed = True
        else:
            self.env.close()


def _make(parent: int, maker: Callable[[], gymnasium.Env[Any, Any]]) -> gymnasium.Env[Any, Any]:
    if os.getpid() != parent:
        for number in (
            signal.SIGINT,
            signal.SIGTERM,
            signal.SIGHUP,
        ):  # sent to all of a job; the parent decides
            signal.signal(number, signal.SIG_IGN)
    return maker()
