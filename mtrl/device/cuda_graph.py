"""A function on device tensors as one CUDA graph."""

from __future__ import annotations

import threading
from collections.abc import Callable

import torch

WARM_UP_CALLS = 3
#: Held during a capture, which another thread's work on a GPU would spoil, and by other threads for such work.
EXCLUSIVE = threading.Lock()


class Captured:
    """Calls a function a few times as it is, then records it as a CUDA graph and replays that.

    The function takes and returns nothing: it reads and changes tensors in place, with static shapes and without
    synchronising. The first calls do real work (libraries initialise, optimisers make their state). What it draws by
    `mtrl.device.generators` is fresh in each replay.
    """

    def __init__(self, function: Callable[[], None]) -> None:
        self._function = function
        self._graph: torch.cuda.CUDAGraph | None = None
        self._calls = 0
        self._stream = torch.cuda.Stream()

    def __call__(self) -> None:
        if self._graph is not None:
            self._graph.replay()
            return
        # Warm up on the stream of the capture, as the documentation of torch.cuda.graph asks for.
        self._stream.wait_stream(torch.cuda.current_stream())
        if self._calls < WARM_UP_CALLS:
            with torch.cuda.stream(self._stream):
                self._function()
            torch.cuda.current_stream().wait_stream(self._stream)
            self._calls += 1
            return
        graph = torch.cuda.CUDAGraph()
        with EXCLUSIVE, torch.cuda.graph(graph, stream=self._stream):
            self._function()
        self._graph = graph
        graph.replay()
