"""Random numbers of each seed's own, so that what one seed draws never depends on the others."""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from mtrl.device import philox
from mtrl.device.triton import runs_on

#: Types and shapes of states: of a CPU's generators, and of a GPU's.
_KINDS = [
    (state.dtype, state.shape)
    for state in (torch.Generator().get_state(), philox.seeded([0], torch.device("cpu"))[0])
]


class Generators:
    """One source of random numbers per seed; every draw is stacked on a leading axis S.

    On a GPU all seeds draw in one kernel (`mtrl.device.philox`), on a CPU each from a `torch.Generator`.

    Args:
        seeds: the seeds, one per trained agent.
        stream: names the use ("replay", "policy", ...): streams of one seed are independent of each other.
        device: where the numbers are drawn.
    """

    def __init__(self, seeds: Sequence[int], stream: str, device: torch.device | str = "cpu") -> None:
        self.device = torch.device(device)
        self.generators: list[torch.Generator] = []
        self._states: Tensor | None = None
        keys = [_entropy(seed, stream) for seed in seeds]
        if runs_on(self.device):
            self._states = philox.seeded(keys, self.device)
        else:
            self.generators = [torch.Generator(self.device).manual_seed(key >> 1) for key in keys]

    def randn(self, *shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
        """Standard normal numbers, [S, *shape]."""
        if self._states is not None:
            return philox.randn(self._states, shape, dtype)
        return self._stack(torch.randn, shape, dtype)

    def rand(self, *shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
        """Uniform numbers in [0, 1), [S, *shape]."""
        if self._states is not None:
            return philox.rand(self._states, shape, dtype)
        return self._stack(torch.rand, shape, dtype)

    def _stack(self, function: Callable[..., Tensor], shape: Sequence[int], dtype: torch.dtype) -> Tensor:
        return torch.stack(
            [function(*shape, generator=g, device=self.device, dtype=dtype) for g in self.generators]
        )

    def state_dict(self) -> dict[str, Tensor]:
        if self._states is not None:
            return {str(i): state.clone() for i, state in enumerate(self._states)}
        return {str(i): g.get_state() for i, g in enumerate(self.generators)}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Goes on where `state_dict` was called; on another kind of device with other numbers, which it decides.

        Raises:
            ValueError: it is no state of generators.
        """
        states = [state[str(i)].cpu() for i in range(len(self.state_dict()))]
        for theirs in states:
            if (theirs.dtype, theirs.shape) not in _KINDS:
                raise ValueError(
                    f"a state of a generator is expected, and it is {list(theirs.shape)} of {theirs.dtype}"
                )
        if any(
            theirs.shape != own.shape for theirs, own in zip(states, self.state_dict().values(), strict=True)
        ):
            self._start([_digest(theirs) for theirs in states])
        elif self._states is not None:
            self._states.copy_(torch.stack(states))
        else:
            for generator, theirs in zip(self.generators, states, strict=True):
                generator.set_state(theirs)

    def _start(self, keys: Sequence[int]) -> None:
        """Begins each seed's stream with a key of 64 bits."""
        if self._states is not None:
            self._states.copy_(philox.seeded(keys, self.device))
        for generator, key in zip(self.generators, keys, strict=False):
            generator.manual_seed(key >> 1)


def _entropy(seed: int, stream: str) -> int:
    """64 bits for a stream of a seed."""
    sequence = np.random.SeedSequence([seed, zlib.crc32(stream.encode())])
    return int(sequence.generate_state(1, np.uint64)[0])


def _digest(state: Tensor) -> int:
    """64 bits for a state of a generator."""
    return int.from_bytes(hashlib.sha256(state.numpy().tobytes()).digest()[:8], "big")
