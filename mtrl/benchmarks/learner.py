"""`mtrl benchmark learner`: updates per second of every method, eager, captured and compiled, side by side."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping
from dataclasses import asdict
from functools import partial
from typing import Any, NamedTuple

import torch
from rich.table import Table

from agents.networks import Architecture, SingleTask
from mtrl.benchmarks.floor import Rates, measure_rates
from mtrl.benchmarks.learner_update import (
    CAPACITY,
    PLAIN,
    LearnerBenchmark,
    make_agent_and_replay,
    make_update,
    replay_bytes,
    work_of,
)
from mtrl.benchmarks.output import write_report
from mtrl.benchmarks.timing import median_ratio, seconds_per_call
from mtrl.config.catalogue import snake_case
from mtrl.config.resolve import resolve_device
from mtrl.config.train import TrainConfig
from mtrl.device.process import prepare_to_learn
from mtrl.system import terminal


class Variant(NamedTuple):
    """What is timed: how an update runs, of which network, and what combines its tasks."""

    mode: str
    network: str
    method: str


def main(config: LearnerBenchmark) -> None:
    """Prints a table of medians, ratios to `plain` of the same mode and number of seeds, floors and memory.

    Raises:
        ValueError: a number is not positive.
    """
    updates = 1 if config.updates is None else config.updates
    numbers = [*config.num_seeds, config.num_tasks, config.batch_size, config.repetitions, updates]
    if not config.num_seeds or not all(0 < number < 2**31 for number in numbers):
        raise ValueError(
            "num_seeds, num_tasks, batch_size, repetitions and updates must be positive numbers below 2**31, got "
            f"{numbers}."
        )
    device = torch.device(resolve_device(config.device))
    prepare_to_learn(device.type)
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
            (name, method): work_of(config, networks[name], method, num_seeds, device)
            for name, method in pairs
            if method != "single_file"
        }
        variants: dict[Variant, Callable[[], None]] = {}
        peaks: dict[Variant, int] = {}
        for mode in modes:
            for name, method in pairs:
                if method == "single_file" and (num_seeds > 1 or mode in ("compiled", "autotuned")):
                    continue
                make = partial(make_update, config, networks[name], method, mode, num_seeds, device)
                variant = Variant(mode, name, method)
                variants[variant], peaks[variant] = _warmed_up(make, device)
        times = _interleaved(variants, config.repetitions, config.updates, device)
        for variant, seconds in times.items():
            median = statistics.median(seconds)
            work = works.get((variant.network, variant.method))
            memory = peaks[variant] - num_seeds * replay_bytes(config, CAPACITY)
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
                    "ratio_to_plain": median_ratio(seconds, times.get(variant._replace(method="plain"))),
                    "ratio_to_first_network": median_ratio(
                        seconds, times.get(variant._replace(network=first))
                    ),
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
        counts[key] = updates or max(3, int(0.2 / seconds_per_call(update, 3, device)))
    times: dict[Variant, list[float]] = {key: [] for key in variants}
    for _ in range(repetitions):
        for key, update in variants.items():
            times[key].append(seconds_per_call(update, counts[key], device))
    return times


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
    agent, _ = make_agent_and_replay(config, network, "plain", 1, torch.device("cpu"))
    modules = {"actor": agent.actor, "critics": agent.critic}
    return {name: sum(p.numel() for p in module.parameters()) for name, module in modules.items()}


def _table_of_sizes(sizes: Mapping[str, Mapping[str, int]]) -> Table:
    table = terminal.table("network", "actor parameters", "critic parameters")
    for name, size in sizes.items():
        table.add_row(name, f"{size['actor']:,}", f"{size['critics']:,}")
    return table


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _note(rates: Rates, config: LearnerBenchmark, device: torch.device) -> str:
    """What the columns are: rates that the floor is reckoned with, and what the memory holds."""
    replay = replay_bytes(config, TrainConfig.buffer_size) / 2**20
    measured = "at the most, measured" if device.type == "cuda" else "reckoned"
    teraflops, gigabytes = rates.flops_per_second / 1e12, rates.bytes_per_second / 1e9
    return (
        f"of floor: the time of the update's products at {teraflops:.3g} TFLOP/s (a large product) or of its bytes at "
        f"{gigabytes:.3g} GB/s (a copy), whichever is longer, over the update's. MiB/seed: the update's memory, "
        f"{measured}; the replay takes {replay:.0f} more for each {TrainConfig.buffer_size:,} transitions per task."
    )
