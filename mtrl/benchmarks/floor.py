"""The floor of an update: its work over what the machine is measured to do."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks
from torch.utils.flop_counter import FlopCounterMode

from agents.sac import SAC, Batch
from mtrl.benchmarks.timing import seconds_per_call
from mtrl.gradients import FactoredWeight


@dataclass(frozen=True)
class Work:
    """What an update cannot do without, for all its seeds.

    flops: of the matrix products, two for a multiplication and an addition.
    state: bytes of parameters, targets, moments and the balancer's state.
    gradients: bytes of the gradients of critics and actor, one for each task where they are balanced. Of a weight whose
        task gradients are had as factors: of its combined gradient and its layer's outputs', as inputs are activations.
    activations: bytes kept for the backward passes.
    batch: bytes of the transitions.
    """

    flops: int
    state: int
    gradients: int
    activations: int
    batch: int

    @property
    def memory(self) -> int:
        """Bytes that are there at once, at the most."""
        return self.state + self.gradients + self.activations + self.batch

    @property
    def traffic(self) -> int:
        """Bytes moved: each is written once and read once, however often the operations do."""
        return 2 * self.memory


@dataclass(frozen=True)
class Rates:
    """The best that a machine was measured to do: a product of large matrices, and a copy, read and written."""

    flops_per_second: float
    bytes_per_second: float

    def floor(self, work: Work) -> float:
        """Seconds for the work if computing and moving overlap perfectly."""
        return max(work.flops / self.flops_per_second, work.traffic / self.bytes_per_second)


def count_work(agent: SAC, batch: Batch) -> Work:
    """Makes one eager update and counts what it does.

    Args:
        agent: has made an update before: the balancer's state is there.
    """
    kept: dict[
        int, Tensor
    ] = {}  # one tensor of each storage; holding it keeps its address from being used again
    state = list(_tensors(agent.state_dict()))
    ours = {tensor.untyped_storage().data_ptr() for tensor in (*state, *batch)}

    def keep(tensor: Tensor) -> Tensor:
        address = tensor.untyped_storage().data_ptr()
        if address not in ours:
            kept.setdefault(address, tensor.detach())
        return tensor

    with FlopCounterMode(display=False) as counter, saved_tensors_hooks(keep, lambda tensor: tensor):
        agent.update(batch)
    gradients = 0
    for optimizer in (agent.critic_optimizer, agent.actor_optimizer):
        gradients += optimizer.parameters.owned.nbytes
        for leaf in optimizer.shared_leaves.values():
            if isinstance(leaf, FactoredWeight):
                gradients += leaf.weight.nbytes // optimizer.num_tasks + leaf.gradients.nbytes
            else:
                gradients += leaf.nbytes
    return Work(
        flops=counter.get_total_flops(),
        state=sum(tensor.nbytes for tensor in state),
        gradients=gradients,
        activations=sum(tensor.untyped_storage().nbytes() for tensor in kept.values()),
        batch=sum(tensor.nbytes for tensor in batch),
    )


def measure_rates(device: torch.device, dtype: torch.dtype = torch.float32) -> Rates:
    """The machine's rates for products of a dtype, in the precision that is set for it; best of several."""
    cuda = device.type == "cuda"
    size, length = (8192, 2**28) if cuda else (1024, 2**24)
    a, b = (torch.randn(size, size, device=device).to(dtype) for _ in range(2))
    product = torch.empty_like(a)
    source = torch.zeros(length, device=device)
    target = torch.empty_like(source)
    return Rates(
        flops_per_second=2 * size**3 / _best(lambda: torch.mm(a, b, out=product), device),
        bytes_per_second=2 * source.nbytes / _best(lambda: target.copy_(source), device),
    )


def _best(function: Callable[[], Any], device: torch.device) -> float:
    """Seconds of one call, the least of ten."""
    return min(seconds_per_call(function, 1, device) for _ in range(10))


def _tensors(state: Mapping[str, Any]) -> Iterator[Tensor]:
    for value in state.values():
        if isinstance(value, Tensor) and value.is_floating_point():  # not the generators'
            yield value
        elif isinstance(value, Mapping):
            yield from _tensors(value)
