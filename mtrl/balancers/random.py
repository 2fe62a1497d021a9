"""What balancers that draw random numbers have in common."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from mtrl.device.generators import Generators


class Random:
    """Mixed in before `Balancer`: one generator per seed, whose states are part of the `state_dict`."""

    stream: str
    generators: Generators

    def allocate(self, zeros: Tensor, seeds: Sequence[int]) -> None:
        self.generators = Generators(seeds, f"{type(self).__name__} {self.stream}".strip(), zeros.device)

    def compile_weights(self, backend: str = "inductor") -> None:
        # The draw's kernel counts in its state, which the compiler must neither move nor repeat.
        self.generators.rand = torch.compiler.disable(self.generators.rand)  # type: ignore[method-assign]
        super().compile_weights(backend)  # type: ignore[misc]

    def get_extra_state(self) -> Tensor:
        """The states of the generators, [S, ...]: as long as the device's are; none before `setup`."""
        if not hasattr(self, "generators"):
            return torch.empty(0)
        return torch.stack(list(self.generators.state_dict().values()))

    def set_extra_state(self, state: Tensor) -> None:
        if state.numel() == 0:
            return
        # Copies, because a generator that is given a view reads from where the view's storage begins.
        self.generators.load_state_dict({str(seed): row.clone() for seed, row in enumerate(state)})
