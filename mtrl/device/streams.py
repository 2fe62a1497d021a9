"""Independent parts of an update, on streams side by side."""

from __future__ import annotations

from types import TracebackType

import torch


class SideStream:
    """Runs what is inside `with` on a stream of its own, beside what follows, until `join`.

    The layers of one network are too small to fill a GPU, so independent networks share it. On a CPU the work is done
    in order. Each `with` first waits for all work issued before it, which keeps memory reuse safe.
    """

    def __init__(self, device: torch.device) -> None:
        self._stream = torch.cuda.Stream(device) if device.type == "cuda" else None

    def __enter__(self) -> None:
        if self._stream is not None:
            self._stream.wait_stream(torch.cuda.current_stream())
            self._context = torch.cuda.stream(self._stream)
            self._context.__enter__()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._stream is not None:
            self._context.__exit__(kind, error, trace)

    def join(self) -> None:
        """What follows waits for the stream."""
        if self._stream is not None:
            torch.cuda.current_stream().wait_stream(self._stream)
