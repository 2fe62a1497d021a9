"""Messages between a process and its child: any object, and "nothing", which is one byte and costs next to nothing."""

from __future__ import annotations

import os
import pickle
import select
from typing import Any

_NOTHING, _OBJECT = b"\0", b"\1"
_LENGTH_BYTES = 8


class Channel:
    """One end of a connection of two sockets; what the other end sends arrives in order."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        self._poll = select.poll()
        self._poll.register(descriptor, select.POLLIN)

    def send(self, message: Any = None) -> None:
        """Sends an object, or nothing.

        Raises:
            BrokenPipeError: nobody is at the other end.
        """
        if message is None:
            os.write(self.descriptor, _NOTHING)
            return
        content = pickle.dumps(message)
        for part in (_OBJECT + len(content).to_bytes(_LENGTH_BYTES), content):
            rest = memoryview(part)
            while rest:
                rest = rest[os.write(self.descriptor, rest) :]

    def receive(self) -> Any:
        """Waits for the next message.

        Raises:
            EOFError, ConnectionResetError: nobody is at the other end.
        """
        if self._read(1) == _NOTHING:
            return None
        return pickle.loads(self._read(int.from_bytes(self._read(_LENGTH_BYTES))))

    def ready(self, seconds: float) -> bool:
        """Whether there is something to receive within so many seconds; the end of the other side is something, too."""
        return bool(self._poll.poll(1000 * seconds))

    def close(self) -> None:
        os.close(self.descriptor)

    def _read(self, count: int) -> bytes:
        content = os.read(self.descriptor, count)
        if not content:
            raise EOFError
        if len(content) < count:
            content += self._read_rest(count - len(content))
        return content

    def _read_rest(self, count: int) -> bytes:
        parts = []
        while count:
            part = os.read(self.descriptor, min(count, 1 << 20))
            if not part:
                raise EOFError
            parts.append(part)
            count -= len(part)
        return b"".join(parts)
