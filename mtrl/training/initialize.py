"""A new run that begins with what another one learned: `mtrl train --init_from RUN`.

Taken are the parameters that the tasks share, and those that a task owns which both runs have: of the actor, the
critics, their targets, and the temperatures. Optimisers, replay and the scales of rewards begin anew.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from agents.actor_critic import ActorCritic
from agents.affine import TASK_AXIS
from agents.networks import Shared
from agents.parameters import ParameterVector
from agents.sac import SAC
from envs import VectorEnv
from mtrl.config.build import make_actor_critic
from mtrl.config.loading import load_config
from mtrl.config.train import TrainConfig
from mtrl.storage import checkpoint, checkpoints
from mtrl.storage.check_run import check_run


@dataclass(frozen=True)
class Initialization:
    """What a run began with.

    run, step: where it is from.
    seeds: of that run, by the new run's seeds.
    tasks: that both runs have.
    new_tasks: that only the new run has.
    taken, new, unfit: parameters that were taken, that the other run does not have, and that have another shape there.
    """

    run: str
    step: int
    seeds: dict[int, int]
    tasks: list[str]
    new_tasks: list[str]
    taken: list[str]
    new: list[str]
    unfit: list[str]

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    def __str__(self) -> str:
        seeds = ", ".join(f"{new} from {old}" for new, old in self.seeds.items())
        lines = [
            f"Initialised from {self.run}, step {self.step} (seed {seeds}): {len(self.taken)} parameters were taken.",
            f"Tasks of both, with what each owns: {', '.join(self.tasks) or 'none'}. "
            f"New tasks: {', '.join(self.new_tasks) or 'none'}.",
        ]
        if self.new:
            lines.append(f"New, as that run does not have them: {', '.join(self.new)}.")
        if self.unfit:
            lines.append(f"New, as they have another shape there: {', '.join(self.unfit)}.")
        return "\n".join(lines)


@torch.no_grad()
def initialize(agent: SAC, config: TrainConfig, env: VectorEnv) -> Initialization:
    """Gives an agent that was not trained yet the parameters that the run `config.init_from` has for it.

    A seed takes those of the same seed; where the other run does not have it, those of its seeds in turn.

    Args:
        env: what the agent is made for.

    Raises:
        ValueError: there is no such run or checkpoint, or nothing of its actor fits.
        CheckpointError: the checkpoint is damaged.
    """
    assert config.init_from is not None
    run = Path(config.init_from)
    source = load_config(run, device="cpu", with_balancer=False)
    path = checkpoints.find(run / "checkpoints", config.init_checkpoint)
    check_run(run, path, source)
    twin = make_actor_critic(source, env)
    log_alpha = torch.empty(len(source.seeds), twin.num_tasks)
    expected = {**twin.network_state(), "log_alpha": log_alpha}
    state = checkpoint.load(path, ["agent"])["agent"]
    try:
        checkpoint.check_fits(path, state, expected, "agent")
    except checkpoint.CheckpointError as error:
        raise ValueError(
            f"Nothing can be taken from {run}, whose observations or actions have other sizes, or whose checkpoint is "
            f"of something else: {str(error).rstrip('.')}; choose another --init_from."
        ) from error
    seeds = {
        seed: seed if seed in source.seeds else source.seeds[i % len(source.seeds)]
        for i, seed in enumerate(config.seeds)
    }
    rows = [source.seeds.index(old) for old in seeds.values()]
    tasks = _Tasks(config.get_benchmark().tasks, source.get_benchmark().tasks)
    one_hot = all(isinstance(c.network, Shared) and c.network.task_id for c in (config, source))
    outcome: dict[str, list[str]] = {"taken": [], "new": [], "unfit": []}
    for network, own, new, old in _networks(agent, twin, state):
        for name, parameter in new.items():
            if name not in old:
                kind = "new"
            else:
                theirs = old[name][rows].to(parameter)
                if name in own.owned_names:
                    fits = tasks.take(parameter, theirs, TASK_AXIS)
                elif one_hot and name == _FIRST_WEIGHT:
                    fits = tasks.take_with_one_hot(parameter, theirs)
                else:
                    fits = _take(parameter, theirs)
                kind = "taken" if fits else "unfit"
            if network != "target":  # it has the critic's names
                outcome[kind].append(f"{network}.{name}")
    if not any(name.startswith("actor.") for name in outcome["taken"]):
        raise ValueError(
            f"Nothing of the actor of {run} fits this one ({type(source.network).__name__} there, "
            f"{type(config.network).__name__} here, or of other sizes): choose the --network and the sizes of that run."
        )
    tasks.take(agent.temperature.log_alpha, state["log_alpha"][rows].to(agent.device), 1)
    step: int = checkpoint.read_manifest(path)["step"]
    return Initialization(str(run), step, seeds, tasks.both, tasks.only_new, **outcome)


_FIRST_WEIGHT = (
    "network.trunk.layers.0.weight"  # of `Shared`, with the one-hot identity after everything else
)
_Parameters = Mapping[str, Tensor]


def _networks(
    agent: SAC, twin: ActorCritic, state: Mapping[str, Any]
) -> Iterator[tuple[str, ParameterVector, _Parameters, _Parameters]]:
    """Actor, critics and target critics: name, layout, parameters by name (to be changed) and those of the state.

    twin: networks as the state's.
    """
    for network, own in agent.vectors.items():
        theirs = twin.vectors[network]
        saved = state[network]
        yield network, own, own.views(own.shared, own.owned), theirs.views(saved["shared"], saved["owned"])


class _Tasks:
    """Which tasks of a new run are which of another one."""

    def __init__(self, new: Sequence[str], old: Sequence[str]) -> None:
        self.new, self.old = new, old
        self.both = [task for task in new if task in old]
        self.only_new = [task for task in new if task not in old]

    def take(self, new: Tensor, old: Tensor, axis: int) -> bool:
        """Copies what belongs to the tasks of both, where the rest of the shape is the same."""
        new, old = new.movedim(axis, 0), old.movedim(axis, 0)
        if len(new) != len(self.new) or len(old) != len(self.old) or new.shape[1:] != old.shape[1:]:
            return False
        for task in self.both:
            new[self.new.index(task)] = old[self.old.index(task)]
        return True

    def take_with_one_hot(self, new: Tensor, old: Tensor) -> bool:
        """Copies a weight [..., in + T, out] of which the last T rows belong to one task each."""
        inputs = (x[..., : -len(tasks), :] for x, tasks in ((new, self.new), (old, self.old)))
        return _take(*inputs) and self.take(
            new[..., -len(self.new) :, :], old[..., -len(self.old) :, :], axis=-2
        )


def _take(new: Tensor, old: Tensor) -> bool:
    if new.shape != old.shape:
        return False
    new.copy_(old)
    return True
