"""SIGINT and SIGTERM as a request: the first asks training to stop where it can, the second ends the process."""

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
    """While it is entered, the first SIGINT or SIGTERM only sets `signal_number`; a second one exits at once.

    Python takes handlers in the main thread only: elsewhere this changes nothing.
    """

    def __init__(self) -> None:
        self.signal_number: int | None = None
        self._before: dict[int, Any] = {}

    def __enter__(self) -> StopRequest:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._before[number] = signal.signal(number, self._handle)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _handle(self, number: int, _: FrameType | None) -> None:
        if self.signal_number is not None:
            os._exit(128 + number)  # files are whole or absent at any time, so there is nothing to tidy up
        self.signal_number = number
        os.write(2, b"\nmtrl: stopping after this step, with a checkpoint; once more to exit at once.\n")
