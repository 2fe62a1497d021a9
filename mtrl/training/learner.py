"""Learning: updates of the agent on batches from the replay."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from agents.sac import SAC
from mtrl.device.cuda_graph import Captured
from mtrl.diagnostics import cosines, gradient_metrics
from mtrl.logging.metrics import UpdateMetrics
from mtrl.training.frozen import FrozenSeeds, TrainingError
from mtrl.training.replay import Replay


class Learner:
    """Makes updates; on a GPU each is one CUDA graph.

    Args:
        batch_size: transitions of every task in an update.
        frozen: seeds that are left as they are. It is told of seeds of which a loss or a gradient is not finite: on a
            CPU after the update, on a GPU, where nobody waits for it, when metrics are read. Such an update changes
            nothing of these seeds.
    """

    def __init__(self, agent: SAC, replay: Replay, batch_size: int, frozen: FrozenSeeds) -> None:
        self._agent, self._replay, self._batch_size = agent, replay, batch_size
        self._frozen, self._metrics = frozen, UpdateMetrics()
        self._prepare()

    def update(self) -> None:
        """One update; on a GPU it is queued and not waited for."""
        if len(self._frozen.reasons) != self._num_frozen:
            self._prepare()
        self._run()

    def _prepare(self) -> None:
        """Updates leave the seeds as they are that are frozen now."""
        self._num_frozen = len(self._frozen.reasons)
        mask = self._frozen.mask[:, None, None, None]
        self._mask = torch.tensor(mask, device=self._agent.device) if mask.any() else None
        on_cpu = self._agent.device.type == "cpu"
        self._run = self._update if on_cpu else Captured(self._update)

    def _update(self) -> None:
        batch = self._replay.sample(self._batch_size)
        if self._mask is not None:
            # What is not finite changes nothing of its seed, and nothing of the others.
            batch = batch._replace(observation=batch.observation.masked_fill(self._mask, torch.nan))
        metrics = self._agent.update(batch)
        if self._agent.device.type == "cpu":
            self._check_finite({name: value.numpy() for name, value in metrics.items()})
        self._metrics.add(metrics)

    def read_metrics(self, *, keep: bool = False) -> dict[str, NDArray[np.float64]]:
        """What is logged of updates, [S], [S, T] or, of two tasks, [S, T, T].

        Means since the last call of what an update says; measures of the newest update's gradients of what the tasks
        share; how often the balancer's solver failed until now.

        Args:
            keep: the next call's means are of the same updates, too.

        Raises:
            TrainingError: all gradients of a network are zero.
        """
        read = self._metrics.read(keep=keep)
        self._check_finite(read)
        metrics = {
            name: values for name, values in read.items() if not name.endswith(("nonfinite", "gramian"))
        }
        optimizers = {"critic": self._agent.critic_optimizer, "actor": self._agent.actor_optimizer}
        for network in optimizers:
            gramian = read.get(f"{network}/gramian")
            if gramian is None:
                continue
            if not gramian.any():
                raise TrainingError(
                    f"the gradient of what the tasks share of the {network} is exactly zero for all of them"
                )
            system = torch.from_numpy(gramian)
            measures = {**gradient_metrics(system), "cosine_matrix": cosines(system).numpy()}
            metrics |= {f"{network}/{name}": values for name, values in measures.items()}
        for network, optimizer in optimizers.items():
            if optimizer.balancer is not None:
                failures = optimizer.balancer.failures.cpu().numpy().astype(np.float64)
                metrics[f"{network}/solver_failures"] = failures
        return metrics

    def _check_finite(self, metrics: Mapping[str, NDArray[Any]]) -> None:
        for name, bad in metrics.items():
            if name.endswith("nonfinite"):
                self._frozen.freeze(bad != 0, f"a loss or gradient of the {name.split('/')[0]} is not finite")

    def state_dict(self) -> dict[str, Any]:
        return self._metrics.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self._metrics.load_state_dict(state, self._agent.device)
