"""The options of a sweep: a YAML file, any of them overridden on the command line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Annotated, Any, Literal

from envs import EngineName
from envs.suggestion import unknown
from mtrl.config.files import nest, override, read_config
from mtrl.config.parsing import make_parser, parse
from mtrl.config.resolve import check_null, check_seeds
from mtrl.options import NonNegativeInt, PositiveFloat, PositiveInt, Range, check
from mtrl.system.files import parse_yaml, read_mapping

Grid = dict[str, list]  # type: ignore[type-arg]  # of Any, the parser would make what looks like a class into one
Cores = Annotated[int, Range(1, 2**16)]


@dataclass(frozen=True)
class FinalEvaluation:
    """The evaluation of a run's last checkpoint, by `mtrl evaluate`.

    Args:
        engine: reference (Meta-World itself) or batched, or gymnasium for environments of your own; null makes none.
        episodes: episodes of each task and seed.
    """

    engine: EngineName | None = None
    episodes: int = 50

    def __post_init__(self) -> None:
        check_null("evaluate.", self)
        if not 0 < self.episodes < 2**31:
            raise ValueError(f"evaluate.episodes must be positive and below 2**31, got {self.episodes}.")


@dataclass(frozen=True)
class SweepConfig:
    """Train every combination of some options, over several seeds.

    Args:
        base: what all runs share: a configuration file of `mtrl train`, relative to the sweep's file, or its content.
        axes: for each varied option (balancer, network, agent.gamma, ...) its values; every combination is a method. A
            list of such mappings is the union of their combinations.
        seeds: the seeds of every method.
        seeds_per_run: seeds trained side by side in one process; auto measures how many fit into memory, and leaves
            no slot idle.
        evaluate: how the last checkpoint of each run is evaluated as soon as it is trained, such as
            `{engine: reference, episodes: 50}`; the report then takes these episodes for `final`.
        collect: a directory that keeps, without checkpoints, what a report needs of every finished run, in the file
            relative to that; a run that lies there counts as finished on any machine.
        sweep_dir: where runs, logs, the manifest and the report go; null means runs/ and the name of the sweep's file.
        executor: local (processes on this machine) or ray (needs `pip install "mtrl-toolkit[ray]"`).
        address: of a Ray cluster that runs already, such as auto or 10.0.0.1:6379; null starts Ray on this machine.
        storage: a URL that all Ray nodes reach (s3://bucket/path, through fsspec), where they have no file system in
            common; null means that sweep_dir is a path which they share.
        cores: of this machine, to be used at once (a Ray cluster at an address has its own); null takes all.
        cores_per_run: cores of a process: threads that simulate, and those of PyTorch unless `num_threads` says.
        gpus_per_run: GPUs of a process where training is on GPUs; 0.5 lets two share one.
        memory_per_run: GiB that one process may take where seeds_per_run is auto; null divides what this machine has.
        retries: how often a process that was killed, or whose node was lost, goes on from its last checkpoint.
    """

    base: str | dict = field(default_factory=dict)  # type: ignore[type-arg]
    axes: Grid | list[Grid] = field(default_factory=dict)
    seeds: list[int] = field(default_factory=lambda: [0])
    seeds_per_run: PositiveInt | Literal["auto"] = "auto"
    evaluate: FinalEvaluation = field(default_factory=FinalEvaluation)
    collect: str | None = None
    sweep_dir: str | None = None
    executor: Literal["local", "ray"] = "local"
    address: str | None = None
    storage: str | None = None
    cores: Cores | None = None
    cores_per_run: Cores = 1
    gpus_per_run: Annotated[float, Range(0.01, 1.0, why="a run uses one GPU")] = 1.0
    memory_per_run: PositiveFloat | None = None
    retries: NonNegativeInt = 3

    def __post_init__(self) -> None:
        check_null("", self)
        check("the sweep", type(self), vars(self))
        check_seeds(self.seeds)
        if self.axes == []:
            raise ValueError("axes must have at least one mapping of options to values, or be {}, got [].")
        if self.executor == "local" and (self.address or self.storage):
            raise ValueError("address and storage are Ray's: use them with --executor ray.")

    @property
    def directory(self) -> Path:
        assert self.sweep_dir is not None
        return Path(self.sweep_dir)


@dataclass(frozen=True)
class Request:
    """What the command line asks for.

    Args:
        file: the sweep.
        only: the number of a run (from 0, as `--dry_run` lists them): train that one alone, for a job array.
        dry_run: list the runs, and train nothing.
        estimate: the same with time and memory, from a short run of each method.
        config: the options of the file and of the command line.
    """

    file: Path
    only: int | None
    dry_run: bool
    estimate: bool
    config: SweepConfig


def parse_request(arguments: list[str]) -> Request:
    """The sweep that `mtrl sweep ARGUMENTS` asks for.

    Raises:
        ValueError: an option or the file is wrong.
    """
    parser = make_parser(
        "sweep",
        "Train every combination of some options over several seeds, and compare them.",
        reads_classes=True,
    )
    parser.add_argument("file", type=Path, help="a YAML file with any of the options below")
    parser.add_argument(
        "--dry_run", action="store_true", help="list the runs and how far they are; train nothing"
    )
    parser.add_argument(
        "--estimate",
        action="store_true",
        help="the same with time and memory, from a short run of each method",
    )
    parser.add_argument("--only", type=int, metavar="NUMBER", help="train this run alone, for a job array")
    parser.add_class_arguments(SweepConfig)
    arguments, of_base = _separate_base(arguments)
    given = parse(parser, arguments)
    if given.only is not None and (given.dry_run or given.estimate):
        raise ValueError(
            "--only trains a run, and --dry_run and --estimate train none: leave one of them out."
        )
    file = given.file
    values = sweep_options(read_mapping("sweep", file, may_be_pipe=True))
    if isinstance(values["base"], str):
        values["base"] = str(file.parent / values["base"])
    if values["collect"] is not None:
        values["collect"] = str(file.parent / values["collect"])
    values["sweep_dir"] = values["sweep_dir"] or str(Path("runs") / file.stem)
    parser.set_defaults(values)
    namespace = parse(parser, arguments)
    config = make_config({f.name: namespace[f.name] for f in fields(SweepConfig)})
    if of_base:
        base = read_config(Path(config.base)) if isinstance(config.base, str) else nest(config.base)
        config = replace(config, base=override(base, of_base))
    directory = config.directory.absolute()
    # The sweep holds the second while it trains.
    own = [path.resolve() for path in (directory, directory / "runs")]
    if config.collect is not None and Path(config.collect).resolve() in own:
        raise ValueError(
            f"collect must be another directory than sweep_dir and its runs, {directory}, got {config.collect}."
        )
    existing = next(path for path in (directory, *directory.parents) if path.exists())
    if not existing.is_dir():
        raise ValueError(f"sweep_dir must be a directory, and {existing} is a file: choose another one.")
    return Request(file, namespace.only, namespace.dry_run, namespace.estimate, config)


def _separate_base(arguments: Sequence[str]) -> tuple[list[str], dict[str, Any]]:
    """The arguments without `--base.OPTION VALUE`, and what these say, which overrides what all runs share.

    Raises:
        ValueError: one has no value that can be read, or would be without effect.
    """
    others: list[str] = []
    of_base: dict[str, Any] = {}
    words = iter(arguments)
    for word in words:
        option, equals, value = word.partition("=")
        if not option.startswith("--base."):
            others.append(word)
            continue
        name = option.removeprefix("--base.")
        if name in ("seeds", "run_dir"):
            raise ValueError(f"{option} is the sweep's own: use --seeds or --sweep_dir.")
        value = value if equals else next(words, "")
        if not value or value.startswith("--"):
            raise ValueError(f"{option} needs a value: leave it out for that of the file.")
        try:
            of_base[name] = parse_yaml(value)
        except ValueError as error:
            raise ValueError(f"{option} must be valid YAML, got {value!r}: {error}.") from error
    return others, of_base


def make_config(options: Mapping[str, Any]) -> SweepConfig:
    """The sweep with these options, as they were parsed."""
    return SweepConfig(**{**options, "evaluate": FinalEvaluation(**dict(options["evaluate"].items()))})


def sweep_options(options: Mapping[str, Any]) -> dict[str, Any]:
    """All options of a sweep, those that a file gives and the defaults.

    Raises:
        ValueError: an option or a value is wrong.
    """
    names = [f.name for f in fields(SweepConfig)]
    for name in options:
        if name not in names:
            raise unknown("option of a sweep", str(name), names)
    if options.get("evaluate", {}) is None:  # the parser takes null for any option
        raise ValueError("evaluate must be a mapping of options to values, got null.")
    parser = make_parser("sweep", "")
    parser.add_class_arguments(SweepConfig)
    return parse(parser, options).as_dict()
