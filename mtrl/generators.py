"""Random numbers of each seed's own, so that what one seed draws never depends on the others."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from mtrl import philox


class Generators:
    """One source of random numbers per seed; every draw is stacked on a leading axis S.

    On a GPU with Triton all seeds draw in one kernel (`mtrl.philox`), otherwise each from a `torch.Generator`.

    Args:
        seeds: the seeds, one per trained agent.
        stream: names the use ("replay", "policy", ...): streams of one seed are independent of each other.
        device: where the numbers are drawn.

    Attributes:
        generators: those of PyTorch, which a CUDA graph that draws must register; none where the kernel draws.
    """

    def __init__(self, seeds: Sequence[int], stream: str, device: torch.device | str = "cpu") -> None:
        self.device = torch.device(device)
        self.generators: list[torch.Generator] = []
        self._states: Tensor | None = None
        keys = [_entropy(seed, stream) for seed in seeds]
        if philox.usable(self.device):
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
        """
        Raises:
            ValueError: the state is that of another kind of generator.
        """
        for name, own in self.state_dict().items():
            if state[name].shape != own.shape:
                raise ValueError(
                    f"The state of the random numbers cannot go on on {self.device}: it was saved on another kind of "
                    "device (CPU, GPU with Triton, GPU without) or by another version of the toolkit; go on there, or "
                    "with that version."
                )
        if self._states is not None:
            self._states.copy_(torch.stack([state[str(i)] for i in range(len(self._states))]))
        for i, generator in enumerate(self.generators):
            generator.set_state(state[str(i)].cpu())


def _entropy(seed: int, stream: str) -> int:
    """64 bits for a stream of a seed."""
    sequence = np.random.SeedSequence([seed, zlib.crc32(stream.encode())])
    return int(sequence.generate_state(1, np.uint64)[0])
