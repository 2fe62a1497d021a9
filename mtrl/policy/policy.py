"""A trained policy in Python: observations and the names of their tasks in, actions out.

Loading one imports no environment and starts no process.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from agents.actor_critic import ActorCritic
from agents.config import SACConfig
from agents.networks.base import Architecture
from agents.task_policy import TaskPolicy
from mtrl.config.imports import import_class
from mtrl.storage.check_run import META_WORLD_SIZES, check_run
from mtrl.storage.checkpoint import load_part, read_manifest
from mtrl.storage.checkpoints import find
from mtrl.system.files import read_mapping
from mtrl.system.terminal import one_line, shorten

Observation = TypeVar("Observation", NDArray[Any], Tensor)
TaskName = str | int | np.integer[Any]


class Policy(nn.Module):
    """The policy of one trained seed. Its parameters do not require gradients.

    Args:
        network: what it computes.
        tasks: the names of its tasks, in the order of their indices.

    Attributes:
        tasks: the same.
        step: environment steps per task that it was trained for.
        seed: the seed that it was trained with.
    """

    def __init__(self, network: TaskPolicy, tasks: Sequence[str], *, step: int, seed: int) -> None:
        super().__init__()
        self.network = network
        self.tasks, self.step, self.seed = tuple(tasks), step, seed

    @property
    def observation_size(self) -> int:
        return self.network.observation_size

    @property
    def action_size(self) -> int:
        return self.network.action_size

    def forward(
        self,
        observation: Observation,
        task: TaskName | Sequence[TaskName] | NDArray[np.integer[Any]] | Tensor | None = None,
        *,
        deterministic: bool = True,
    ) -> Observation:
        """The action in [-1, 1] for an observation, or those of a batch.

        Args:
            observation: [O] or [N, O], a NumPy array or a tensor.
            task: the name of its task, or the task's index in `tasks`; one for each observation, or one for all. It can
                be left out where there is only one task.
            deterministic: the mean action; otherwise one is drawn, with the numbers of `torch.manual_seed`.

        Returns:
            [A] or [N, A], float32: a NumPy array for an array, a tensor on the same device for a tensor.

        Raises:
            ValueError: the observation has another shape or is not finite, or there is no such task.
        """
        if not isinstance(observation, Tensor):
            array = np.asarray(observation, dtype=np.float32)
            with torch.no_grad():
                action = self(torch.from_numpy(array), task, deterministic=deterministic)
            return cast("Observation", action.numpy())
        if observation.dim() not in (1, 2) or observation.shape[-1] != self.observation_size:
            raise ValueError(
                f"An observation of shape [{self.observation_size}] or a batch [N, {self.observation_size}] is "
                f"expected, but it has {list(observation.shape)}."
            )
        if not torch.isfinite(observation).all():
            raise ValueError("A finite observation is expected, but it holds NaN or infinity.")
        like = next(self.parameters())
        batch = observation.to(like).reshape(-1, self.observation_size)
        indices = self._indices(task, len(batch)).to(like.device)
        if not len(batch):
            return observation.new_zeros(0, self.action_size, dtype=like.dtype)
        mean, log_std = self.network(batch, indices)
        if not deterministic:
            mean = mean + log_std.exp() * torch.randn_like(mean)
        action = torch.tanh(mean).view(*observation.shape[:-1], self.action_size)
        return action.to(observation.device)

    def _indices(self, task: Any, count: int) -> Tensor:
        """The tasks' indices [N]."""
        if task is None:
            if len(self.tasks) > 1:
                raise ValueError(
                    f"This policy has {len(self.tasks)} tasks: name one of {', '.join(self.tasks)}."
                )
            task = 0
        if isinstance(task, (Tensor, np.ndarray)):
            task = task.tolist()
        if isinstance(task, (str, int, np.integer)):
            return torch.full((count,), self._index(task))
        indices = [self._index(t) for t in task]
        if len(indices) != count:
            raise ValueError(f"A task for each of the {count} observations is expected, got {len(indices)}.")
        return torch.tensor(indices)

    def _index(self, task: TaskName) -> int:
        if isinstance(task, str):
            for name in (task, f"{task}-v3"):
                if name in self.tasks:
                    return self.tasks.index(name)
            from envs.suggestion import unknown  # nothing else here needs environments

            raise unknown("task", task, self.tasks)
        if (
            isinstance(task, bool)
            or not isinstance(task, (int, np.integer))
            or not 0 <= task < len(self.tasks)
        ):
            raise ValueError(
                f"A task is expected to be a name or an index below {len(self.tasks)}, but it is {task!r}."
            )
        return int(task)


def load_policy(
    run: str | Path,
    checkpoint: str | int = "last",
    seed: int | None = None,
    device: torch.device | str = "cpu",
) -> Policy:
    """The policy of a run, while it is trained or after.

    A network of the user's own must have been imported: what a file names is not.

    Args:
        run: the run's directory.
        checkpoint: last, best or the step of a checkpoint.
        seed: the trained seed; by default the run's first one.
        device: where it computes.

    Raises:
        ValueError: this is no run, or it has no such seed or checkpoint.
        CheckpointError: the checkpoint is missing or damaged.
    """
    run = Path(run)
    config, tasks, sizes = _read_run(run)
    seeds: list[int] = config["seeds"]
    seed = seeds[0] if seed is None else seed
    try:
        place = torch.device(device)
        torch.empty(0, device=place)
    except (RuntimeError, TypeError, AssertionError) as error:
        reason = str(error).partition("\n")[0].rstrip(".")
        raise ValueError(f"The device {device!r} cannot be used: {reason}.") from error
    if seed not in seeds or type(seed) is not int:
        raise ValueError(
            f"The run {run} was trained with the seeds {', '.join(map(str, seeds))}, not {seed}."
        )
    try:
        path = find(run / "checkpoints", str(checkpoint))
        network, settings = _make_architecture(config["network"]), SACConfig(**config["agent"])
        critic = config.get("critic_network")
        critic_network = None if critic is None else _make_architecture(critic)
        check_run(run, path)  # before anything is built, in sizes that may have been edited
        agent = ActorCritic(
            network,
            settings,
            critic_architecture=critic_network,
            num_tasks=len(tasks),
            task_names=tasks,
            seeds=[seed],
            observation_size=sizes["observation_size"],
            action_size=sizes["action_size"],
        )
    except (TypeError, KeyError, AttributeError, RuntimeError, MemoryError) as error:
        raise ValueError(
            f"The run {run} cannot be read: its config.yaml or stamp.json does not fit this version "
            f"({one_line(str(error))})."
        ) from error
    s = seeds.index(seed)
    ours = agent.policy_state()
    of_all_seeds = {n: {k: x.expand(len(seeds), *x.shape[1:]) for k, x in v.items()} for n, v in ours.items()}
    state = load_part(path, "agent", of_all_seeds)
    agent.load_policy({n: {k: state[n][k][s : s + 1] for k in v} for n, v in ours.items()})
    step: int = read_manifest(path)["step"]
    return Policy(TaskPolicy(agent), tasks, step=step, seed=seed).to(place)


def _read_run(run: Path) -> tuple[dict[str, Any], list[str], dict[str, int]]:
    """The configuration that a run keeps, the names of its tasks, and the sizes of observations and actions."""
    path = run / "config.yaml"
    if not os.path.isfile(path):  # unlike the path's method it takes any name
        inside = f"; its runs are in {run / 'runs'}" if os.path.isdir(run / "runs") else ""
        raise ValueError(f"{run} is no run directory: it has no config.yaml{inside}.")
    try:
        config, stamp = read_mapping("configuration", path), read_mapping("stamp", run / "stamp.json")
        tasks = stamp["benchmark"]["tasks"]
        # A stamp that does not say is of before there were other environments.
        sizes = {name: stamp.get(name, size) for name, size in META_WORLD_SIZES.items()}
        missing = {"network", "agent", "seeds"} - config.keys()
        for name, values, kind in (("seeds", config.get("seeds", [0]), int), ("tasks", tasks, str)):
            if not (isinstance(values, list) and values and all(type(value) is kind for value in values)):
                raise ValueError(f"{name} is {shorten(values)}")
        if not all(type(size) is int and 0 < size < 2**31 for size in sizes.values()):
            raise ValueError(f"the sizes are {shorten(sizes)}")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(
            f"The run {run} cannot be read: config.yaml or stamp.json is damaged "
            f"({one_line(str(error)).rstrip('.')})."
        ) from error
    if missing:
        raise ValueError(
            f"The run {run} cannot be read: its config.yaml has no {', '.join(sorted(missing))}."
        )
    return config, tasks, sizes


def _make_architecture(described: Mapping[str, Any]) -> Architecture:
    architecture: type[Any] = import_class("network", described["class_path"], Architecture)
    made: Architecture = architecture(**described.get("init_args") or {})
    return made
