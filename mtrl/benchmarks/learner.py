"""`mtrl benchmark learner`: updates per second of every method, eager, captured and compiled, side by side."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch
from rich.table import Table
from torch import Tensor

from agents.config import Precision, SACConfig
from agents.networks import Architecture, Shared, SingleTask
from agents.optimizer import TaskOptimizer
from agents.sac import SAC
from envs.benchmarks import get_benchmark
from mtrl.balancers.ls import LS
from mtrl.benchmarks.floor import Rates, Work, count_work, measure_rates
from mtrl.benchmarks.output import write_report
from mtrl.benchmarks.single_file_sac import SingleFileSAC
from mtrl.config.catalogue import snake_case
from mtrl.config.lookup import find_class
from mtrl.config.resolve import resolve_device
from mtrl.config.train import TrainConfig
from mtrl.device.cpu import prepare_cpu
from mtrl.device.cuda_graph import Captured
from mtrl.gradients import TaskGradients
from mtrl.logging.metrics import UpdateMetrics
from mtrl.system import terminal
from mtrl.training.replay import Replay

Mode = Literal["eager", "captured", "compiled", "autotuned"]
CAPACITY = 10_000  # of the replay, in transitions per task
#: The methods without a balancer.
PLAIN = ("single_file", "plain", "loop")


class Variant(NamedTuple):
    """What is timed: how an update runs, of which network, and what combines its tasks."""

    mode: str
    network: str
    method: str


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

    def _task_gradients(self, losses: Tensor, representation: Tensor) -> TaskGradients:
        leaves, num_shared = list(self.leaves.values()), len(self.shared_leaves)
        rows, owned_sums = [], [torch.zeros_like(leaf) for leaf in leaves[num_shared:]]
        for t in range(self.num_tasks):
            gradients = torch.autograd.grad(losses[:, t].sum(), leaves, retain_graph=t + 1 < self.num_tasks)
            rows.append(torch.cat([g.reshape(len(losses), -1) for g in gradients[:num_shared]], dim=-1))
            for total, gradient in zip(owned_sums, gradients[num_shared:], strict=True):
                total += gradient
        return TaskGradients(torch.stack(rows, dim=1), tuple(owned_sums), None)


def main(config: LearnerBenchmark) -> None:
    """Prints a table of medians, ratios to `plain` of the same mode and number of seeds, floors and memory.

    Raises:
        ValueError: a number is not positive.
    """
    updates = 1 if config.updates is None else config.updates
    numbers = [*config.num_seeds, config.num_tasks, config.batch_size, config.repetitions, updates]
    if not config.num_seeds or not all(0 < number < 2**31 for number in numbers):
        raise ValueError(
            "num_seeds, num_tasks, batch_size, repetitions and updates must be positive numbers below 2**31."
        )
    device = torch.device(resolve_device(config.device))
    if device.type == "cuda":
        torch.set_float32_matmul_precision("high")
    else:
        prepare_cpu()
    modes = config.modes if device.type == "cuda" else ["eager"]
    networks = _named(config.network)
    first = next(iter(networks))
    rates = measure_rates(device, getattr(torch, config.precision))
    results: list[dict[str, Any]] = []
    for num_seeds in config.num_seeds:
        pairs = [
            (name, method)
            for name, network in networks.items()
            for method in config.balancer
            if len(networks) == 1 or method in PLAIN or not isinstance(network, SingleTask)
        ]
        works = {
            (name, method): _work(config, networks[name], method, num_seeds, device)
            for name, method in pairs
            if method != "single_file"
        }
        variants: dict[Variant, Callable[[], None]] = {}
        peaks: dict[Variant, int] = {}
        for mode in modes:
            for name, method in pairs:
                if method == "single_file" and (num_seeds > 1 or mode in ("compiled", "autotuned")):
                    continue
                make = partial(_make_update, config, networks[name], method, mode, num_seeds, device)
                variant = Variant(mode, name, method)
                variants[variant], peaks[variant] = _warmed_up(make, device)
        times = _interleaved(variants, config.repetitions, config.updates, device)
        for variant, seconds in times.items():
            median = statistics.median(seconds)
            work = works.get((variant.network, variant.method))
            memory = peaks[variant] - num_seeds * _replay_bytes(config, CAPACITY)
            if device.type == "cpu":
                memory = 0 if work is None else work.memory
            floor = None if work is None else rates.floor(work)
            results.append(
                {
                    "seeds": num_seeds,
                    **variant._asdict(),
                    "milliseconds": 1e3 * median,
                    "updates_per_second": 1 / median,
                    "seed_updates_per_second": num_seeds / median,
                    "ratio_to_plain": _ratio(seconds, times.get(variant._replace(method="plain"))),
                    "ratio_to_first_network": _ratio(seconds, times.get(variant._replace(network=first))),
                    "floor_milliseconds": None if floor is None else 1e3 * floor,
                    "floor_fraction": None if floor is None else floor / median,
                    "work": None if work is None else asdict(work),
                    "bytes_per_seed": memory // num_seeds or None,
                    "all_milliseconds": [1e3 * s for s in seconds],
                }
            )
    console = terminal.console()
    console.print(_table(results, config, device))
    sizes = {name: _sizes(config, network) for name, network in networks.items()}
    if len(sizes) > 1:
        console.print(_table_of_sizes(sizes))
    console.print(_note(rates, config, device), soft_wrap=True, highlight=False)
    write_report(
        config,
        {
            "device_name": _device_name(device),
            "rates": asdict(rates),
            "parameters": sizes,
            "results": results,
        },
    )


def _named(network: Architecture | list[Architecture]) -> dict[str, Architecture]:
    networks = network if isinstance(network, list) else [network]
    return {snake_case(type(network).__name__): network for network in networks}


def _ratio(seconds: list[float], others: list[float] | None) -> float | None:
    """The median over the turns, in each of which both were timed."""
    if others is None:
        return None
    return statistics.median(a / b for a, b in zip(seconds, others, strict=True))


def _make_update(
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
    agent, replay = _agent(config, network, method, num_seeds, device)
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


def _agent(
    config: LearnerBenchmark, network: Architecture, method: str, num_seeds: int, device: torch.device
) -> tuple[SAC, Replay]:
    """A method's agent, and a replay full of random transitions."""
    balancer = None if method in PLAIN else find_class("balancer", method, given=True)()
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


def _work(
    config: LearnerBenchmark, network: Architecture, method: str, num_seeds: int, device: torch.device
) -> Work:
    agent, replay = _agent(config, network, method, num_seeds, device)
    agent.update(replay.sample(config.batch_size))
    return count_work(agent, replay.sample(config.batch_size))


def _warmed_up(
    make: Callable[[], Callable[[], None]], device: torch.device
) -> tuple[Callable[[], None], int]:
    """A variant after its first updates, and the bytes it took on a GPU at the most; 0 on a CPU, which counts none."""
    before = 0
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
    update = make()
    for _ in range(5):
        update()
    return update, torch.cuda.max_memory_allocated() - before if device.type == "cuda" else 0


def _interleaved(
    variants: Mapping[Variant, Callable[[], None]],
    repetitions: int,
    updates: int | None,
    device: torch.device,
) -> dict[Variant, list[float]]:
    """Seconds per update of every variant, `repetitions` times, all variants in turn."""
    counts = {}
    for key, update in variants.items():
        counts[key] = updates or max(3, int(0.2 / _seconds(update, 3, device)))
    times: dict[Variant, list[float]] = {key: [] for key in variants}
    for _ in range(repetitions):
        for key, update in variants.items():
            times[key].append(_seconds(update, counts[key], device))
    return times


def _seconds(update: Callable[[], None], count: int, device: torch.device) -> float:
    _synchronize(device)
    started = time.perf_counter()
    for _ in range(count):
        update()
    _synchronize(device)
    return (time.perf_counter() - started) / count


def _synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize()


def _device_name(device: torch.device) -> str:
    return (
        torch.cuda.get_device_name() if device.type == "cuda" else f"cpu, {torch.get_num_threads()} threads"
    )


def _table(results: list[dict[str, Any]], config: LearnerBenchmark, device: torch.device) -> Table:
    names = list(_named(config.network))
    several = len(names) > 1
    title = (
        f"{_device_name(device)}: {config.num_tasks} tasks x {config.batch_size} samples, "
        f"{', '.join(names) if several else config.network}, critics {config.critic_network or 'alike'} "
        f"({config.agent.critic}), medians of {config.repetitions}"
    )
    columns = [
        "seeds",
        "mode",
        *["network"] * several,
        "method",
        "ms",
        "updates/s",
        "seed-updates/s",
        "x plain",
    ]
    columns += [*[f"x {names[0]}"] * several, "of floor", "MiB/seed"]
    table = terminal.table(*columns, title=title)
    for r in results:
        table.add_row(
            str(r["seeds"]),
            r["mode"],
            *[r["network"]] * several,
            r["method"],
            f"{r['milliseconds']:.3f}",
            f"{r['updates_per_second']:.0f}",
            f"{r['seed_updates_per_second']:.0f}",
            _number(r["ratio_to_plain"]),
            *[_number(r["ratio_to_first_network"])] * several,
            _number(r["floor_fraction"]),
            "-" if r["bytes_per_seed"] is None else f"{r['bytes_per_seed'] / 2**20:.0f}",
        )
    return table


def _sizes(config: LearnerBenchmark, network: Architecture) -> dict[str, int]:
    """The numbers of parameters of the actor and of both critics together, of one seed."""
    agent, _ = _agent(config, network, "plain", 1, torch.device("cpu"))
    modules = {"actor": agent.actor, "critics": agent.critic}
    return {name: sum(p.numel() for p in module.parameters()) for name, module in modules.items()}


def _table_of_sizes(sizes: Mapping[str, Mapping[str, int]]) -> Table:
    table = terminal.table("network", "actor parameters", "critic parameters")
    for name, size in sizes.items():
        table.add_row(name, f"{size['actor']:,}", f"{size['critics']:,}")
    return table


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _replay_bytes(config: LearnerBenchmark, capacity: int) -> int:
    """Of one seed: two observations, action, reward and terminated, in float32."""
    return 4 * config.num_tasks * capacity * (2 * 39 + 4 + 2)


def _note(rates: Rates, config: LearnerBenchmark, device: torch.device) -> str:
    """What the columns are: rates that the floor is reckoned with, and what the memory holds."""
    replay = _replay_bytes(config, TrainConfig.buffer_size) / 2**20
    measured = "at the most, measured" if device.type == "cuda" else "reckoned"
    teraflops, gigabytes = rates.flops_per_second / 1e12, rates.bytes_per_second / 1e9
    return (
        f"of floor: the time of the update's products at {teraflops:.3g} TFLOP/s (a large product) or of its bytes at "
        f"{gigabytes:.3g} GB/s (a copy), whichever is longer, over the update's. MiB/seed: the update's memory, "
        f"{measured}; a replay of {TrainConfig.buffer_size} transitions per task takes {replay:.0f} more."
    )
