"""Copying from the GPU to the host beside training."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from mtrl.device.cuda_graph import EXCLUSIVE

_PIECE_BYTES = 1 << 24


class HostCopier:
    """Copies tensors as they are when everything that was queued before this object was made has run.

    Another thread copies than the one that made it: training does not wait for the copy, nor the copy for what training
    queues meanwhile.
    """

    def __init__(self) -> None:
        self._stream: torch.cuda.Stream | None = None
        if torch.cuda.is_available():
            self._stream = torch.cuda.Stream()
            self._stream.wait_stream(torch.cuda.current_stream())

    def __call__(self, tensors: Iterable[Tensor]) -> list[Tensor]:
        """The tensors in the host's memory; those that are there already are not copied."""
        with EXCLUSIVE, torch.cuda.stream(self._stream):
            return [tensor if tensor.device.type == "cpu" else _copy(tensor) for tensor in tensors]


def _copy(tensor: Tensor) -> Tensor:
    # In pieces through page-locked memory: a copy of all at once to memory that is not keeps every other thread from
    # the GPU until it is done.
    host = torch.empty(tensor.shape, dtype=tensor.dtype)
    source, target = (x.view(-1).view(torch.uint8) for x in (tensor.contiguous(), host))
    locked = torch.empty(min(_PIECE_BYTES, len(target)), dtype=torch.uint8, pin_memory=True)
    for piece, place in zip(source.split(_PIECE_BYTES), target.split(_PIECE_BYTES), strict=True):
        part = locked[: len(piece)].copy_(piece, non_blocking=True)
        torch.cuda.current_stream().synchronize()
        place.copy_(part)
    return host
