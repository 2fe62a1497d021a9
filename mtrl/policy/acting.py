"""Acting: observations of all worlds in, actions out."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from agents.actor_critic import ActorCritic
from mtrl.device.cuda_graph import Captured


def to_tensor(observation: NDArray[np.float64], layout: tuple[int, int, int]) -> Tensor:
    """Observations [S·T·W, O] as a float32 tensor [S, T, W, O]."""
    return torch.from_numpy(observation.reshape(*layout, -1).astype(np.float32))


def finite_actions(actions: Tensor) -> tuple[Tensor, NDArray[np.bool_]]:
    """Actions [S, T, W, A] on the CPU, zero for seeds of which one is not finite; and of which seeds all are [S]."""
    finite = torch.isfinite(actions).flatten(1).all(-1)
    if not finite.all():
        actions = torch.where(finite[:, None, None, None], actions, 0.0)
    return actions, finite.numpy()


class VectorPolicy:
    """The agent's policy for a fixed number of worlds; on a GPU one graph replay and two small copies.

    What is queued after `start` runs on the GPU while `finish` waits and while the actions are used: between updates
    it need not wait for the host.

    Args:
        agent: whose parameters act, as they are when the queue comes to it.
        shape: of the observations, [S, T, W, O].
        deterministic: whether actions are the mean ones, and not drawn.
        spin: whether `finish` keeps a core busy while it waits for a GPU, or leaves it to others.
    """

    def __init__(
        self, agent: ActorCritic, shape: tuple[int, ...], *, deterministic: bool = False, spin: bool = True
    ) -> None:
        self._agent, self._deterministic = agent, deterministic
        self._observation = torch.zeros(shape, device=agent.device)
        self._actions = torch.zeros(*shape[:3], agent.action_size, device=agent.device)
        self._event: torch.cuda.Event | None = None
        self._run: Callable[[], None] = self._act
        self._given, self._taken = self._observation, self._actions
        if agent.device.type == "cuda":
            self._run = Captured(self._act)
            self._event = torch.cuda.Event(blocking=not spin)
            # Only page-locked memory is copied without the host's waiting for all that is queued.
            self._given, self._taken = (
                torch.zeros_like(x, device="cpu").pin_memory() for x in (self._given, self._taken)
            )

    def start(self, observation: Tensor) -> None:
        """Begins to act on observations [S, T, W, O] on the CPU; the actions before have been fetched."""
        self._given.copy_(observation)
        if self._event is None:
            self._run()
            return
        self._observation.copy_(self._given, non_blocking=True)
        self._run()
        self._taken.copy_(self._actions, non_blocking=True)
        self._event.record()

    def finish(self) -> Tensor:
        """The actions [S, T, W, A] on the CPU."""
        if self._event is not None:
            self._event.synchronize()
        return self._taken.clone()

    def _act(self) -> None:
        self._actions.copy_(self._agent.act(self._observation, deterministic=self._deterministic))
