"""Learning: updates of the agent on batches from the replay."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from agents.sac import SAC
from mtrl.device.cuda_graph import Captured
from mtrl.logging.metrics import UpdateMetrics
from mtrl.training.diverged import DivergedSeeds
from mtrl.training.replay import Replay


class Learner:
    """Makes updates; on a GPU each is one CUDA graph.

    Args:
        batch_size: transitions of every task in an update.
        diverged: seeds that are trained no more.
        leave_out: called with seeds [S] of which a loss or a gradient is not finite, and what: on a CPU after the
            update, on a GPU, where nobody waits for it, when metrics are read. Such an update changes
            nothing of these seeds.
    """

    def __init__(
        self,
        agent: SAC,
        replay: Replay,
        batch_size: int,
        diverged: DivergedSeeds,
        leave_out: Callable[[NDArray[np.bool_], str], None],
    ) -> None:
        self._agent, self._replay, self._batch_size = agent, replay, batch_size
        self._diverged, self._leave_out = diverged, leave_out
        self._metrics = UpdateMetrics()
        self.leave_out_diverged()

    def leave_out_diverged(self) -> None:
        """To be called when seeds diverged: updates leave them as they are from now on."""
        mask = self._diverged.mask[:, None, None, None]
        self._mask = torch.tensor(mask, device=self._agent.device) if mask.any() else None
        on_cpu = self._agent.device.type == "cpu"
        self.update = self._update if on_cpu else Captured(self._update)

    def _update(self) -> None:
        batch = self._replay.sample(self._batch_size)
        if self._mask is not None:
            # What is not finite changes nothing of its seed, and nothing of the others.
            batch = batch._replace(observation=batch.observation.masked_fill(self._mask, torch.nan))
        metrics = self._agent.update(batch)
        if self._agent.device.type == "cpu":
            self._check_finite({name: value.numpy() for name, value in metrics.items()})
        self._metrics.add(metrics)

    def read_metrics(self) -> dict[str, NDArray[np.float64]]:
        """Means of the updates' metrics since the last call, and the newest Gramians."""
        metrics = self._metrics.read()
        self._check_finite(metrics)
        return {name: values for name, values in metrics.items() if not name.endswith("nonfinite")}

    def _check_finite(self, metrics: Mapping[str, NDArray[Any]]) -> None:
        for name, bad in metrics.items():
            if name.endswith("nonfinite"):
                self._leave_out(bad != 0, f"a loss or gradient of the {name.split('/')[0]} is not finite")

    def state_dict(self) -> dict[str, Any]:
        return self._metrics.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self._metrics.load_state_dict(state, self._agent.device)
