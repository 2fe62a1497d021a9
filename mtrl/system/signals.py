"""Signals as a request: the first asks training to stop where it can, a second SIGINT or SIGTERM ends the process."""

from __future__ import annotations

import os
import signal
import threading
from types import FrameType
from typing import Any


class Interrupted(Exception):
    """A signal asked training to stop, and it did; everything is saved."""

    def __init__(self, signal_number: int, message: str) -> None:
        super().__init__(message)
        self.exit_code = 128 + signal_number


class StopRequest:
    """While it is entered, the first SIGINT, SIGTERM or SIGHUP only sets `signal_number`.

    A second SIGINT or SIGTERM exits at once. A hang-up does not count: a shell passes on the one that the system has
    sent, and systemd sends one beside SIGTERM. A signal that is ignored, as by nohup, stays so. Python takes handlers
    in the main thread only: elsewhere this changes nothing.
    """

    def __init__(self) -> None:
        self.signal_number: int | None = None
        self._asked = 0  # by others than hang-ups
        self._before: dict[int, Any] = {}

    def __enter__(self) -> StopRequest:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                if signal.getsignal(number) is not signal.SIG_IGN:
                    self._before[number] = signal.signal(number, self._handle)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _handle(self, number: int, _: FrameType | None) -> None:
        if number != signal.SIGHUP:
            self._asked += 1
            if self._asked > 1:
                os._exit(
                    128 + number
                )  # files are whole or absent at any time, so there is nothing to tidy up
        if self.signal_number is None:
            self.signal_number = number
            _write(b"\nmtrl: stopping after this step, with a checkpoint; once more to exit at once.\n")


def _write(text: bytes) -> None:
    """Writes to stderr; where its terminal is gone, what is written from now on goes nowhere."""
    try:
        os.write(2, text)
    except OSError:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, 2)
        os.close(nowhere)
