"""`mtrl benchmark balancers`: what one call of each balancer costs, as ratios within one run.

Contenders take turns on the same gradients: the balancer, TorchJD where it has the method, which treats the seeds one
after the other, and on a GPU the balancer inside a CUDA graph.
"""

from __future__ import annotations

import platform
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
from rich.table import Table
from torch import Tensor

from mtrl.balancers import Balancer
from mtrl.benchmarks.output import write_report
from mtrl.config.lookup import find_balancers
from mtrl.device.cuda_graph import WARM_UP_CALLS, Captured
from mtrl.system import terminal

#: A contender stops early once its timed calls took this long, in seconds.
BUDGET = 2.0

Call = Callable[[], Any]


@dataclass
class BalancerBenchmarkConfig:
    """Times one call of each balancer, and of TorchJD where it has the method.

    Args:
        balancer: names of the methods, default: all.
        tasks: numbers of tasks.
        seeds: how many seeds are balanced at once.
        parameters: length of a task gradient.
        repeats: timed calls of each contender; medians are reported.
        device: auto measures the CPU, and the GPU if there is one.
        output: also write the measurements to this JSON file.
    """

    balancer: list[str] = field(default_factory=list)
    tasks: list[int] = field(default_factory=lambda: [2, 10, 50])
    seeds: int = 1
    parameters: int = 10_000
    repeats: int = 30
    device: Literal["auto", "cpu", "cuda"] = "auto"
    output: Path | None = None


@dataclass
class Timing:
    """Median milliseconds per call; None where there is no such contender.

    capturable: on a GPU "yes", or why not; "different" if a replay does not give what the eager call gives.
    """

    device: str
    method: str
    tasks: int
    eager: float
    captured: float | None
    torchjd: float | None
    capturable: str | None


def torchjd_aggregators(num_tasks: int) -> dict[str, Callable[[], Any]]:
    """How to make TorchJD's version of a method, by our name; empty without TorchJD."""
    try:
        from torchjd import aggregation
    except ImportError:
        return {}
    return {
        "LS": aggregation.Mean,
        "RLW": aggregation.Random,
        "GradDrop": aggregation.GradDrop,
        "PCGrad": aggregation.PCGrad,
        "GradVac": aggregation.GradVac,
        "MGDA": aggregation.MGDA,
        "IMTLG": aggregation.IMTLG,
        "AlignedMTL": aggregation.AlignedMTL,
        "CAGrad": lambda: aggregation.CAGrad(c=0.9),
        "NashMTL": lambda: aggregation.NashMTL(n_tasks=num_tasks),
        "FairGrad": lambda: aggregation.FairGrad(alpha=1.0),
        "UPGrad": aggregation.UPGrad,
        "DualProj": aggregation.DualProj,
    }


def system(num_seeds: int, num_tasks: int, parameters: int, device: str) -> dict[str, Tensor]:
    """Arguments of a balancer: random gradients that share a little of their direction, and positive losses."""
    generator = torch.Generator().manual_seed(num_tasks)
    shared = torch.randn(num_seeds, 1, parameters, generator=generator)
    jacobian = torch.randn(num_seeds, num_tasks, parameters, generator=generator) + 0.2 * shared
    losses = torch.rand(num_seeds, num_tasks, generator=generator) + 0.5
    arguments = {"jacobian": jacobian, "losses": losses, "representation": jacobian[..., :1000]}
    return {name: value.to(device) for name, value in arguments.items()}


def capture(make: Callable[[], Balancer], arguments: dict[str, Tensor]) -> tuple[str, Call | None]:
    """Whether a method can be captured, judged by a replay that must agree with an eager call in the same
    state; and the replay."""
    balancer, eager = make(), make()
    direction = torch.zeros_like(arguments["jacobian"][:, 0])

    def step() -> None:
        direction.copy_(balancer(**arguments).direction)

    captured = Captured(step)
    try:
        for _ in range(WARM_UP_CALLS + 1):
            captured()
        torch.cuda.synchronize()
    except RuntimeError as error:
        return str(error).splitlines()[0], None
    for _ in range(WARM_UP_CALLS + 1):
        expected = eager(**arguments).direction
    return ("yes" if torch.allclose(direction, expected, rtol=1e-3, atol=1e-5) else "different"), captured


def interleave(contenders: dict[str, Call], repeats: int, cuda: bool) -> dict[str, float]:
    """Median milliseconds of each contender; they take turns, so that a slow spell of the machine hits all of them."""
    times: dict[str, list[float]] = {name: [] for name in contenders}
    for name in list(contenders):
        try:
            for _ in range(WARM_UP_CALLS):
                contenders[name]()
        except ImportError:  # TorchJD's optional dependencies
            del contenders[name]
    for _ in range(repeats):
        left = [name for name in contenders if sum(times[name]) < 1e3 * BUDGET]
        if not left:
            break
        for name in left:
            times[name].append(_milliseconds(contenders[name], cuda))
    return {name: statistics.median(values) for name, values in times.items() if values}


def _milliseconds(call: Call, cuda: bool) -> float:
    if not cuda:
        began = time.perf_counter()
        call()
        return 1e3 * (time.perf_counter() - began)
    begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    begin.record()
    call()
    end.record()
    end.synchronize()
    return float(begin.elapsed_time(end))


def measure(method: type[Balancer], num_tasks: int, device: str, config: BalancerBenchmarkConfig) -> Timing:
    """Times one method and its contenders."""
    arguments = system(config.seeds, num_tasks, config.parameters, device)

    def make() -> Balancer:
        return method().setup(num_tasks, seeds=range(config.seeds), device=device)

    name, balancer = method.__name__, make()
    contenders: dict[str, Call] = {"eager": lambda: balancer(**arguments)}
    capturable = None
    if device == "cuda":
        capturable, replay = capture(make, arguments)
        if replay is not None:
            contenders["captured"] = replay
    makers = torchjd_aggregators(num_tasks)
    if name in makers:
        try:
            aggregators = [makers[name]() for _ in range(config.seeds)]
            contenders["torchjd"] = lambda: [
                aggregate(gradients)
                for aggregate, gradients in zip(aggregators, arguments["jacobian"], strict=True)
            ]
        except ImportError:
            pass
    medians = interleave(contenders, config.repeats, device == "cuda")
    return Timing(
        device=device,
        method=name,
        tasks=num_tasks,
        eager=medians["eager"],
        captured=medians.get("captured"),
        torchjd=medians.get("torchjd"),
        capturable=capturable,
    )


def run(config: BalancerBenchmarkConfig) -> list[Timing]:
    """Measures what the configuration asks for.

    Raises:
        ValueError: a name is not a balancer's, a number is not positive, or there is no GPU to measure.
    """
    numbers = [config.seeds, config.parameters, config.repeats, *config.tasks]
    if not all(0 < number < 2**31 for number in numbers):
        raise ValueError(
            f"seeds, parameters, repeats and tasks must be at least 1 and below 2**31, got {numbers}."
        )
    if config.device == "cuda" and not torch.cuda.is_available():
        raise ValueError("There is no CUDA device here; choose --device cpu.")
    methods = find_balancers(config.balancer)
    devices = [config.device] if config.device != "auto" else ["cpu", *["cuda"] * torch.cuda.is_available()]
    timings = []
    for device in devices:
        for num_tasks in config.tasks:
            for method in methods:
                timings.append(measure(method, num_tasks, device, config))
                print(f"{device}, T = {num_tasks}, {method.__name__}", file=sys.stderr, flush=True)
    return timings


def table(timings: list[Timing], device: str) -> Table:
    """The timings of one device, for reading: ratios above 1 mean that the balancer is faster."""
    columns = ["method", "T", "ms per call", "TorchJD"]
    if device == "cuda":
        columns += ["ms in a CUDA graph", "capturable"]
    result = terminal.table(
        *columns, title=f"Balancers on {device}; TorchJD as a multiple of the time per call"
    )
    for t in timings:
        if t.device == device:
            ratio = "-" if t.torchjd is None else f"{t.torchjd / t.eager:.1f}x"
            captured = "-" if t.captured is None else f"{t.captured:.3f}"
            extra = [captured, t.capturable] if device == "cuda" else []
            result.add_row(t.method, str(t.tasks), f"{t.eager:.3f}", ratio, *extra)
    return result


def main(config: BalancerBenchmarkConfig) -> None:
    """Measures, prints a table for each device, and writes the JSON file if asked to."""
    timings = run(config)
    for device in dict.fromkeys(t.device for t in timings):
        terminal.console().print(table(timings, device))
    hardware = torch.cuda.get_device_name() if torch.cuda.is_available() else platform.processor()
    stamp = {"torch": torch.__version__, "threads": torch.get_num_threads(), "hardware": hardware}
    write_report(config, {"environment": stamp, "timings": [asdict(t) for t in timings]})
