"""Task-stratified replay: one ring buffer per seed and task, on the training device."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from agents.sac import Batch
from mtrl.device.compile import compile_methods
from mtrl.device.generators import Generators


class Replay:
    """Ring buffers [S, T, capacity]; a sampled batch always holds B transitions of every task.

    A transition is one row [observation, action, reward, next_observation, terminated], so that sampling is one gather.
    `next_observation` must be the one that followed the action, also at an episode's end (`final_obs`).

    Args:
        capacity: transitions kept per seed and task.
        seeds: S of them.
        num_tasks: T.
        device: where the transitions live.
    """

    def __init__(
        self,
        capacity: int,
        *,
        seeds: Sequence[int],
        num_tasks: int,
        observation_size: int,
        action_size: int,
        device: torch.device | str = "cpu",
    ) -> None:
        self.capacity = capacity
        self._widths = [observation_size, action_size, 1, observation_size, 1]
        shape = (len(seeds), num_tasks, capacity, sum(self._widths))
        self.storage = torch.zeros(shape, device=device)
        # How many were ever added to each ring; int64 on the device, so that sampling needs no synchronisation.
        self.added = torch.zeros(shape[:2], dtype=torch.int64, device=device)
        self.generators = Generators(seeds, "replay", device)
        self._seed_index = torch.arange(shape[0], device=device)[:, None, None]
        self._task_index = torch.arange(num_tasks, device=device)[None, :, None]
        self._first = (
            self._seed_index * num_tasks + self._task_index
        ) * capacity  # row of each ring, [S, T, 1]
        self._counting = torch.arange(capacity, device=device)
        self._staging = torch.empty(0)
        if self.storage.device.type == "cuda":
            self._copied = torch.cuda.Event()

    @property
    def size(self) -> Tensor:
        """Transitions held by each ring, [S, T]."""
        return self.added.clamp(max=self.capacity)

    def add(self, batch: Batch, valid: NDArray[np.bool_]) -> None:
        """Adds W transitions to every ring (`Batch` with B = W), except those that are not valid, [S, T, W]."""
        columns = (
            batch.observation,
            batch.action,
            batch.reward.unsqueeze(-1),
            batch.next_observation,
            batch.terminated.unsqueeze(-1),
        )
        rows = self._to_device(torch.cat(columns, dim=-1))
        if valid.all():
            position = (self.added.unsqueeze(-1) + self._counting[: rows.shape[2]]) % self.capacity
            self.storage[self._seed_index, self._task_index, position] = rows
            self.added += rows.shape[2]
            return
        kept = torch.from_numpy(valid).to(self.storage.device)
        position = (self.added.unsqueeze(-1) + kept.cumsum(-1) - kept.long()) % self.capacity
        seed, task, _ = kept.nonzero(as_tuple=True)
        self.storage[seed, task, position[kept]] = rows[kept]
        self.added += kept.sum(-1)

    def _to_device(self, rows: Tensor) -> Tensor:
        """On a GPU from page-locked memory: a copy from elsewhere waits for all that is queued."""
        if self.storage.device.type != "cuda":
            return rows.to(self.storage.device)
        self._copied.synchronize()  # the copy before this one is done
        if self._staging.shape != rows.shape:
            self._staging = torch.empty_like(rows).pin_memory()
        self._staging.copy_(rows)
        on_device = self._staging.to(self.storage.device, non_blocking=True)
        self._copied.record()
        return on_device

    def sample(self, batch_size: int) -> Batch:
        """B transitions of every task, drawn uniformly with replacement from what each ring holds."""
        return self._gather(self.generators.rand(self.storage.shape[1], batch_size, dtype=torch.float64))

    def _gather(self, uniform: Tensor) -> Batch:
        index = (uniform * self.size.unsqueeze(-1)).long()
        rows = nn.functional.embedding(self._first + index, self.storage.flatten(0, 2))
        observation, action, reward, next_observation, terminated = rows.split(self._widths, dim=-1)
        return Batch(observation, action, reward.squeeze(-1), next_observation, terminated.squeeze(-1))

    def compile(self) -> None:
        """Compiles the gathering of a batch into one kernel."""
        compile_methods(self, "_gather")

    def state_dict(self) -> dict[str, Any]:
        """The transitions held (not the empty rest of the rings), the cursors and the generators."""
        held = int(self.size.max())
        return {
            "storage": self.storage[:, :, :held],
            "added": self.added,
            "generators": self.generators.state_dict(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """
        Raises:
            ValueError: it is no state of this replay.
        """
        storage, added = state["storage"], state["added"]
        if (added.shape, added.dtype) != (self.added.shape, self.added.dtype) or (added < 0).any():
            raise ValueError(f"the replay counts transitions as {list(added.shape)} of {added.dtype}")
        rows = self.storage[:, :, : int(added.max())]
        if (storage.shape, storage.dtype) != (rows.shape, rows.dtype):
            raise ValueError(
                f"the replay must hold {list(rows.shape)} of {rows.dtype}, and it holds {list(storage.shape)} of "
                f"{storage.dtype}"
            )
        if not storage.sum(dtype=torch.float64).isfinite():
            raise ValueError("the replay holds numbers that are not finite")
        rows.copy_(storage)
        self.added.copy_(added)
        self.generators.load_state_dict(state["generators"])
