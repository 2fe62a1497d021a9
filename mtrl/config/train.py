"""The typed configuration of a training run."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from agents.config import Precision, SACConfig
from agents.networks import Architecture, MultiHead
from envs import CustomBenchmark, CustomProtocol, EngineName
from envs.benchmarks import Benchmark, Protocol, get_benchmark, get_protocol
from mtrl.balancers import AlignedMTL, Balancer
from mtrl.config.clock import Clock
from mtrl.config.keep import KEPT

Seeds = list[int]
Device = Literal["auto", "cpu", "cuda"]


@dataclass(frozen=True)
class EvaluationConfig:
    """Evaluation during training, in environments and with random numbers of its own.

    Args:
        interval: environment steps per task between evaluations; null takes the protocol's.
        episodes: episodes per task and seed; null takes the protocol's.
        seed: draws the goals where the protocol has several; they are the same for every trained seed.
        worlds_per_task: worlds that share a task's episodes.
    """

    interval: int | None = None
    episodes: int | None = None
    seed: int = 1_000_000
    worlds_per_task: int = 1


@dataclass(frozen=True)
class CheckpointConfig:
    """When and what a checkpoint holds.

    Args:
        interval: environment steps per task between checkpoints; null means at each evaluation.
        replay: also store the replay, which exact resumption needs and which is by far the largest part.
        keep: which checkpoints are kept besides the newest two and the best: all, a number of the newest ones, or
            every:STEPS (the first one from each multiple of these steps on).
    """

    interval: int | None = None
    replay: bool = True
    keep: int | str = KEPT


#: Options that are groups of options.
GROUPS = {"agent": SACConfig, "evaluation": EvaluationConfig, "checkpoint": CheckpointConfig}


@dataclass(frozen=True)
class TrainConfig:
    """Train a multi-task agent on Meta-World, or on environments of your own.

    Args:
        benchmark: MT1:<task>, MT3, MT10, MT25 or MT50, or tasks of your own choice and order: reach,push,door-open; or
            a YAML file that names environments of your own, or what is in it.
        protocol: the rules of the experiment: metaworld_plus or paper, or custom for environments of your own; null
            takes the first that fits.
        network: the architecture of actor and critics: a name that `mtrl list networks` prints or an import path.
        critic_network: the architecture of the critics, where it is another one than the actor's; null takes `network`.
        balancer: combines the per-task gradients of the shared parameters; a name that `mtrl list balancers` prints, an
            import path, or null for the plain gradient of the mean loss.
        balance: which gradients are balanced; the temperature's never are.
        agent: settings of SAC.
        seeds: seeds trained side by side in this run.
        total_steps: environment steps per task and seed.
        batch_size: transitions of every task in an update.
        buffer_size: transitions kept per task and seed.
        random_steps: environment steps per task with uniform actions first; null takes the protocol's.
        worlds_per_task: worlds of every task and seed stepped at once; each vector step is that many steps per task.
        staggered: begin the first episodes of a task's worlds at different times, so that they never all end at once.
        updates_per_step: updates after each vector step.
        evaluation: evaluation during training.
        checkpoint: checkpoints.
        log_interval: environment steps per task between two lines of training metrics.
        device: auto takes a GPU if there is one.
        compile: on a GPU, fuse what lies between the matrix products; costs half a minute at the start. `autotune` also
            times kernels for the products: a minute and a half more, for long runs of many seeds.
        precision: of the networks' passes in an update; bfloat16 leaves parameters, optimisers, targets and the
            balancer in float32.
        sync: on a GPU, strictly alternate collection, learning and evaluation instead of overlapping them.
        engine: batched, or reference (Meta-World itself, in processes), or gymnasium for environments of your own; null
            takes the first that fits.
        num_workers: threads that simulate, the main one among them; null takes the number of cores, also of another
            machine that goes on with the run. The engine reference has as many processes, gymnasium one for each world,
            and both none with 0.
        num_threads: threads of PyTorch on the CPU; null leaves that to PyTorch, or is one beside a GPU. One is best for
            small networks.
        init_from: a run whose parameters this one begins with: those shared by the tasks, and those of the tasks that
            both have.
        init_checkpoint: which of its checkpoints: last, best or a step.
        run_dir: a directory that does not exist yet; null derives it from benchmark, network, balancer and seeds.
    """

    benchmark: str | list[str] | dict[str, Any] = "MT10"
    protocol: str | None = None
    network: Architecture = field(default_factory=MultiHead)
    critic_network: Architecture | None = None
    balancer: Balancer | None = field(default_factory=AlignedMTL)
    balance: Literal["both", "critic", "actor"] = "both"
    agent: SACConfig = field(default_factory=SACConfig)
    seeds: Seeds = field(default_factory=lambda: [0])
    total_steps: int = 2_000_000
    batch_size: int = 128
    buffer_size: int = 100_000
    random_steps: int | None = None
    worlds_per_task: int = 1
    staggered: bool = False
    updates_per_step: int = 1
    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)
    checkpoint: CheckpointConfig = field(default_factory=CheckpointConfig)
    log_interval: int = 1_000
    device: Device = "auto"
    compile: bool | Literal["autotune"] = True
    precision: Precision = "float32"
    sync: bool = False
    engine: EngineName | None = None
    num_workers: int | None = None
    num_threads: int | None = None
    init_from: str | None = None
    init_checkpoint: str = "last"
    run_dir: str | None = None

    def get_benchmark(self) -> Benchmark | CustomBenchmark:
        if isinstance(self.benchmark, dict):
            return CustomBenchmark.from_mapping(self.benchmark)
        return get_benchmark(self.benchmark)

    def get_protocol(self) -> Protocol | CustomProtocol:
        benchmark = self.get_benchmark()
        own = isinstance(benchmark, CustomBenchmark)
        if self.protocol is not None and (self.protocol == "custom") != own:
            whose, fitting = (
                ("environments of your own", "custom") if own else ("Meta-World's tasks", "another one")
            )
            raise ValueError(
                f"The benchmark {benchmark.name} has {whose}, which the protocol {self.protocol} is not for: choose "
                f"{fitting}."
            )
        if isinstance(benchmark, CustomBenchmark):
            return benchmark.protocol
        return get_protocol("metaworld_plus" if self.protocol is None else self.protocol)

    def clock(self, interval: int | None) -> Clock:
        """When that is due which one of the configuration's intervals is of."""
        assert interval is not None
        return Clock(interval, self.worlds_per_task)

    @property
    def fixes_goals(self) -> bool:
        """Whether each seed has one goal of each task for the whole run, which evaluations then have as well."""
        protocol = self.get_protocol()
        return isinstance(protocol, Protocol) and protocol.num_goals == 1


def with_defaults(config: Mapping[str, Any]) -> dict[str, Any]:
    """What `config.yaml` holds, with the defaults of options that the version which wrote it did not know.

    A new option's default is what the versions before it did, so both make the same experiment.
    """
    options = dataclasses.fields(TrainConfig)
    defaults = {o.name: o.default for o in options if o.default is not dataclasses.MISSING}
    groups = {
        name: {**dataclasses.asdict(group()), **(config.get(name) or {})} for name, group in GROUPS.items()
    }
    return {**defaults, **config, **groups}
