"""The updates that `mtrl benchmark learner` times: its options, and the update of each method."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal, cast

import torch
from torch import Tensor

from agents.config import Precision, SACConfig
from agents.networks import Architecture, Shared
from agents.optimizer import TaskOptimizer
from agents.sac import SAC
from envs.benchmarks import get_benchmark
from mtrl.balancers.ls import LS
from mtrl.benchmarks.floor import Work, count_work
from mtrl.benchmarks.single_file_sac import SingleFileSAC
from mtrl.config.lookup import find_balancers
from mtrl.device.cuda_graph import Captured
from mtrl.gradients import TaskGradients
from mtrl.logging.metrics import UpdateMetrics
from mtrl.training.replay import Replay

Mode = Literal["eager", "captured", "compiled", "autotuned"]
CAPACITY = 10_000  # of the replay, in transitions per task
#: The methods without a balancer.
PLAIN = ("single_file", "plain", "loop")


@dataclass(frozen=True)
class LearnerBenchmark:
    """Time the whole update: sampling, losses, per-task gradients, balancing, optimisers, targets, metrics.

    Args:
        balancer: balancers by name, and `plain` (gradient of the mean loss), `loop` (LS by one backward
            pass per task) and `single_file` (plain SAC written with torch.nn: residual networks, or else MLPs, of the
            same sizes, with the same settings).
        modes: eager, captured (one CUDA graph), compiled (captured, losses through torch.compile) and autotuned
            (compiled, with kernels timed for each matrix product); a CPU has eager.
        num_seeds: agents trained side by side, one figure for each entry.
        num_tasks: T.
        batch_size: transitions of every task in an update.
        network: the architecture of actor and critics, or several by name, timed in turn. Of `single_task`, beside
            others, there is no variant with a balancer.
        critic_network: the architecture of the critics, where it is another one; null takes `network`.
        agent: settings of SAC; gradients are clipped at 1.0 if nothing is given.
        precision: float32 (TF32 on a GPU) or bfloat16, of all but single_file.
        repetitions: how often each variant is timed, in turn with all others.
        updates: updates in one timing; null: enough for a fifth of a second.
        device: auto takes a GPU if there is one.
        output: a JSON file for the results.
    """

    balancer: list[str] = field(
        default_factory=lambda: [
            *("single_file", "plain", "LS", "loop"),
            *("AlignedMTL", "PCGrad", "CAGrad", "NashMTL", "MGDA"),
        ]
    )
    modes: list[Mode] = field(default_factory=lambda: ["eager", "captured", "compiled"])
    num_seeds: list[int] = field(default_factory=lambda: [1])
    num_tasks: int = 10
    batch_size: int = 128
    network: Architecture | list[Architecture] = field(default_factory=Shared)
    critic_network: Architecture | None = None
    agent: SACConfig = field(default_factory=SACConfig)
    precision: Precision = "float32"
    repetitions: int = 5
    updates: int | None = None
    device: Literal["auto", "cpu", "cuda"] = "auto"
    output: Path | None = None


class LoopOptimizer(TaskOptimizer):
    """The baseline: per-task gradients by T calls of `autograd.grad` on parameters that are not expanded."""

    def _task_gradients(self, losses: Tensor, representation: Tensor | None) -> TaskGradients:
        leaves, num_shared = cast("list[Tensor]", [*self.leaves.values()]), len(self.shared_leaves)
        rows, owned_sums = [], [torch.zeros_like(leaf) for leaf in leaves[num_shared:]]
        for t in range(self.num_tasks):
            gradients = torch.autograd.grad(losses[:, t].sum(), leaves, retain_graph=t + 1 < self.num_tasks)
            rows.append(torch.cat([g.reshape(len(losses), -1) for g in gradients[:num_shared]], dim=-1))
            for total, gradient in zip(owned_sums, gradients[num_shared:], strict=True):
                total += gradient
        return TaskGradients(torch.stack(rows, dim=1), tuple(owned_sums), None)


def make_update(
    config: LearnerBenchmark,
    network: Architecture,
    method: str,
    mode: str,
    num_seeds: int,
    device: torch.device,
) -> Callable[[], None]:
    """A function that makes one update of a method."""
    if method == "single_file":
        critics = config.critic_network or network
        sac = SingleFileSAC(
            network, critics, config.agent, config.num_tasks, config.batch_size, device, CAPACITY
        )
        if mode == "eager":
            return sac.update
        return Captured(sac.update)
    agent, replay = make_agent_and_replay(config, network, method, num_seeds, device)
    metrics = UpdateMetrics()
    if mode in ("compiled", "autotuned"):
        agent.compile(autotune=mode == "autotuned")
        replay.compile()

    def update() -> None:
        metrics.add(agent.update(replay.sample(config.batch_size)))

    gramian = agent.update(replay.sample(config.batch_size)).get("critic/gramian")
    if gramian is not None and not gramian.any():
        raise RuntimeError(
            f"{method} ({mode}) gets gradients of zero: what would be timed is not the update."
        )
    if mode == "eager":
        return update
    return Captured(update)


def make_agent_and_replay(
    config: LearnerBenchmark, network: Architecture, method: str, num_seeds: int, device: torch.device
) -> tuple[SAC, Replay]:
    """A method's agent, and a replay full of random transitions."""
    balancer = None if method in PLAIN else find_balancers([method])[0]()
    agent = SAC(
        network,
        replace(config.agent, max_grad_norm=config.agent.max_grad_norm or 1.0),
        critic_architecture=config.critic_network,
        observation_size=39,
        action_size=4,
        num_tasks=config.num_tasks,
        seeds=range(num_seeds),
        critic_balancer=balancer,
        actor_balancer=None if balancer is not None and balancer.requires_positive_losses else balancer,
        device=device,
        task_names=get_benchmark("MT50").tasks[: config.num_tasks],
        precision=config.precision,
    )
    agent.factor_gradients(config.batch_size)
    if method == "loop":
        for optimizer in (agent.critic_optimizer, agent.actor_optimizer):
            optimizer.__class__ = LoopOptimizer
            optimizer.balancer = LS().setup(config.num_tasks, seeds=agent.seeds, device=device)
    replay = Replay(
        CAPACITY,
        seeds=range(num_seeds),
        num_tasks=config.num_tasks,
        observation_size=39,
        action_size=4,
        device=device,
    )
    replay.storage.normal_()
    replay.storage[..., 39:43].tanh_()
    replay.storage[..., -1] = 0.0
    replay.added.fill_(CAPACITY)
    agent.diagnose(device.type == "cuda")  # as in training: on a CPU only before metrics are written
    return agent, replay


def work_of(
    config: LearnerBenchmark, network: Architecture, method: str, num_seeds: int, device: torch.device
) -> Work:
    agent, replay = make_agent_and_replay(config, network, method, num_seeds, device)
    agent.update(replay.sample(config.batch_size))
    return count_work(agent, replay.sample(config.batch_size))


def replay_bytes(config: LearnerBenchmark, capacity: int) -> int:
    """Of one seed: two observations, action, reward and terminated, in float32."""
    return 4 * config.num_tasks * capacity * (2 * 39 + 4 + 2)
