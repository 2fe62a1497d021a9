"""Parameters of every architecture, and the time of an update relative to `shared`, without and with balancing.

    python scripts/network_table.py --device cpu --output table.json

All contenders take turns, so that a slow spell of the machine hits all of them; a ratio compares two timings of one
turn, and medians are reported. On a GPU an update is one CUDA graph, as in training, and with --compile it goes through
torch.compile, as it does there by default. Prints a Markdown table.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from agents.config import SACConfig
from agents.networks import Architecture, Shared
from agents.sac import SAC, Batch
from envs.benchmarks import get_benchmark
from mtrl.balancers import AlignedMTL, Balancer
from mtrl.config.lookup import networks
from mtrl.device.cuda_graph import WARM_UP_CALLS, Captured

OBSERVATION_SIZE, ACTION_SIZE = 39, 4


def architectures() -> dict[str, Architecture]:
    """Every architecture with its default options, `shared` first, and `shared` with the task id."""
    named = {name: cls() for name, cls in networks().items()}
    return {"shared": named.pop("shared"), "shared, task id": Shared(task_id=True)} | named


def make_agent(
    architecture: Architecture, balancer: Balancer | None, tasks: tuple[str, ...], device: str
) -> SAC:
    return SAC(
        architecture,
        SACConfig(max_grad_norm=1.0),
        observation_size=OBSERVATION_SIZE,
        action_size=ACTION_SIZE,
        num_tasks=len(tasks),
        seeds=[0],
        critic_balancer=balancer,
        actor_balancer=balancer,
        device=device,
        task_names=tasks,
    )


def make_update(agent: SAC, num_tasks: int, batch_size: int, compiled: bool) -> Callable[[], Any]:
    """One update on a batch of random transitions."""
    shape, device = (1, num_tasks, batch_size), agent.device
    batch = Batch(
        observation=torch.randn(*shape, OBSERVATION_SIZE, device=device),
        action=torch.rand(*shape, ACTION_SIZE, device=device) * 2 - 1,
        reward=torch.randn(shape, device=device),
        next_observation=torch.randn(*shape, OBSERVATION_SIZE, device=device),
        terminated=torch.zeros(shape, device=device),
    )
    if compiled:
        agent.compile()
    if device.type == "cuda":
        return Captured(lambda: (agent.update(batch), None)[1], agent.update_generators())
    return lambda: agent.update(batch)


def seconds(update: Callable[[], Any], count: int, device: str) -> float:
    """Of one update, over `count` of them."""
    if device == "cuda":
        torch.cuda.synchronize()
    started = time.perf_counter()
    for _ in range(count):
        update()
    if device == "cuda":
        torch.cuda.synchronize()
    return (time.perf_counter() - started) / count


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", choices=["cpu", "cuda"], required=True)
    parser.add_argument("--output", type=Path, required=True, help="JSON file")
    parser.add_argument("--benchmark", default="MT10")
    parser.add_argument("--batch_size", type=int, default=128, help="transitions per task")
    parser.add_argument("--repetitions", type=int, default=7, help="turns that each contender gets")
    parser.add_argument("--updates", type=int, default=None, help="in a turn; 3 on a CPU, 200 on a GPU")
    parser.add_argument("--compile", action="store_true", help="through torch.compile as well")
    options = parser.parse_args()
    if options.device == "cuda":
        torch.set_float32_matmul_precision("high")
    count = options.updates or (200 if options.device == "cuda" else 3)
    tasks = get_benchmark(options.benchmark).tasks

    updates: dict[tuple[str, str], Callable[[], Any]] = {}
    rows: dict[str, dict[str, Any]] = {}
    for name, architecture in architectures().items():
        rows[name] = {}
        for method, balancer in {"plain": None, "AlignedMTL": AlignedMTL()}.items():
            if name == "single_task" and balancer is not None:
                continue
            agent = make_agent(architecture, balancer, tasks, options.device)
            for network, module in {"actor": agent.actor, "critics": agent.critic}.items():
                rows[name][f"{network}_parameters"] = sum(p.numel() for p in module.parameters())
            updates[name, method] = make_update(agent, len(tasks), options.batch_size, options.compile)
            for _ in range(WARM_UP_CALLS + 1):
                updates[name, method]()

    times: dict[tuple[str, str], list[float]] = {key: [] for key in updates}
    for _ in range(options.repetitions):
        for key, update in updates.items():
            times[key].append(seconds(update, count, options.device))

    print(
        "| network | actor parameters | critic parameters | plain, ms | x shared | AlignedMTL, ms | x shared |"
    )
    print("|---|---|---|---|---|---|---|")
    for name, row in rows.items():
        cells = [name, f"{row['actor_parameters']:,}", f"{row['critics_parameters']:,}"]
        for method in ("plain", "AlignedMTL"):
            if (name, method) not in times:
                cells += ["-", "-"]
                continue
            ratios = [a / b for a, b in zip(times[name, method], times["shared", method], strict=True)]
            milliseconds, ratio = 1e3 * statistics.median(times[name, method]), statistics.median(ratios)
            row[method] = {
                "milliseconds": milliseconds,
                "ratio_to_shared": ratio,
                "all_milliseconds": [1e3 * s for s in times[name, method]],
            }
            cells += [f"{milliseconds:.2f}", f"{ratio:.2f}"]
        print("| " + " | ".join(cells) + " |")
    settings = {name: str(value) for name, value in vars(options).items()}
    settings["device_name"] = (
        torch.cuda.get_device_name() if options.device == "cuda" else platform.processor() or "cpu"
    )
    settings |= {"torch": torch.__version__, "threads": str(torch.get_num_threads()), "updates": str(count)}
    options.output.write_text(
        json.dumps({"settings": settings, "networks": rows}, indent=1) + "\n", encoding="utf-8"
    )


if __name__ == "__main__":
    main()
