"""Evaluating a policy: episodes on goals of their own, with the mean action, in environments apart from training's."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

import envs
from mtrl.logging.logger import json_values
from mtrl.policy.acting import to_tensor


@dataclass
class Episodes:
    """Outcomes of finished episodes, each [S, T, n].

    success: at any step (the field's definition), or as the protocol says; NaN where nothing was said of it.
    success_at_end: at the last step, or the last one at which something was said.
    returns: undiscounted sum of rewards. steps_to_success: steps until the first success, NaN if there was none.
    """

    success: NDArray[np.float64]
    success_at_end: NDArray[np.float64]
    returns: NDArray[np.float64]
    steps_to_success: NDArray[np.float64]

    def to_json(self) -> dict[str, Any]:
        return {name: json_values(values) for name, values in vars(self).items()}


class EpisodeTracker:
    """Follows the running episode of every world [S, T, W].

    Args:
        success: an episode succeeds if it does at any step ("any") or at the last one ("final").
    """

    def __init__(self, layout: tuple[int, int, int], success: Literal["any", "final"] = "any") -> None:
        self._final = success == "final"
        self.returns = np.zeros(layout)
        self.length = np.zeros(layout)
        self.steps_to_success = np.full(layout, np.nan)
        self.last_success = np.full(layout, np.nan)

    def step(self, rewards: NDArray[np.float64], success: NDArray[Any], done: NDArray[np.bool_]) -> Episodes:
        """Adds a step, each argument [S, T, W]; success is NaN where nothing is said of it.

        Returns:
            the episodes that this step ended, [S, T, W], NaN where none did.
        """
        self.returns += rewards
        self.length += 1
        self.last_success = np.where(np.isnan(success), self.last_success, success)
        self.steps_to_success = np.where(
            (success == 1) & np.isnan(self.steps_to_success), self.length, self.steps_to_success
        )
        at_any = np.where(np.isnan(self.last_success), np.nan, ~np.isnan(self.steps_to_success))
        finished = Episodes(
            success=np.where(done, self.last_success if self._final else at_any, np.nan),
            success_at_end=np.where(done, self.last_success, np.nan),
            returns=np.where(done, self.returns, np.nan),
            steps_to_success=np.where(done, self.steps_to_success, np.nan),
        )
        self.returns[done] = 0.0
        self.length[done] = 0.0
        self.steps_to_success[done] = np.nan
        self.last_success[done] = np.nan
        return finished

    def state_dict(self) -> dict[str, NDArray[np.float64]]:
        return {name: value for name, value in vars(self).items() if name != "_final"}

    def load_state_dict(self, state: dict[str, NDArray[np.float64]]) -> None:
        for name in self.state_dict():
            setattr(self, name, np.array(state[name]))


def run_episodes(
    env: envs.VectorEnv, policy: Callable[[Tensor], Tensor], num_episodes: int, device: torch.device
) -> Episodes:
    """Runs `num_episodes` episodes of every seed and task from the first goal on; world w has w, w + W, w + 2W, ...

    An episode that a fault of its world broke off is reported on stderr and has no outcome (NaN).

    Args:
        env: sequential goals, S seeds, T tasks and W worlds per task.
        policy: maps observations [S, T, W, O] on `device` to actions [S, T, W, A].
    """
    num_seeds, num_tasks, num_worlds = layout = env.layout
    rounds = -(-num_episodes // num_worlds)
    shape = (num_seeds, num_tasks, rounds * num_worlds)
    episodes = Episodes(*(np.full(shape, np.nan) for _ in fields(Episodes)))
    count = np.zeros(layout, dtype=np.int64)
    tracker = EpisodeTracker(env.layout, env.protocol.success)
    observation, _ = env.reset(seed=env.initial_seeds)
    while (count < rounds).any():
        actions = policy(to_tensor(observation, layout).to(device)).cpu().numpy()
        observation, rewards, terminated, truncated, infos = env.step(actions.reshape(env.num_envs, -1))
        done = (terminated | truncated).reshape(layout)
        finished = tracker.step(rewards.reshape(layout), infos["success"].reshape(layout), done)
        for fault in env.faults():
            print(f"evaluation: {fault}", file=sys.stderr)
        broken = infos["invalid"].reshape(layout)
        s, t, w = np.nonzero(done & (count < rounds))
        for name, values in vars(finished).items():
            outcome = np.where(broken, np.nan, values)
            getattr(episodes, name)[s, t, count[s, t, w] * num_worlds + w] = outcome[s, t, w]
        count[s, t, w] += 1
    return Episodes(**{name: values[..., :num_episodes] for name, values in vars(episodes).items()})


def nan_mean(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mean over the last axis of what is not NaN; NaN where nothing is left."""
    present = ~np.isnan(values)
    with np.errstate(invalid="ignore"):
        mean: NDArray[np.float64] = np.where(present, values, 0.0).sum(-1) / present.sum(-1)
    return mean
