"""What each command does with its arguments; each imports what it needs when it is called."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import yaml

from mtrl.config import catalogue


def train_command(arguments: list[str]) -> int:
    """Train a multi-task agent, or go on with a run."""
    from mtrl.config.loading import dump, load_config, parse_resume, train_config, train_parser
    from mtrl.config.parsing import parse
    from mtrl.sweep.devices import is_on_devices, resume_on_devices, train_on_devices
    from mtrl.training.resume import resume
    from mtrl.training.run import train

    if any(argument.partition("=")[0] == "--resume" for argument in arguments):
        options = parse_resume(arguments)
        if is_on_devices(options.resume):
            if options.total_steps is not None or options.device is not None:
                raise ValueError(
                    f"The seeds of {options.resume} are spread over devices: give --total_steps or --device to each of "
                    f"the runs in {options.resume / 'runs'}."
                )
            return resume_on_devices(options.resume)
        resume(load_config(options.resume, options.device), options.resume, options.total_steps)
        return 0
    parser = train_parser()
    parser.add_argument(
        "--resume",
        type=str,
        metavar="RUN_DIR",
        help="go on with a run exactly where it stopped; with --total_steps N to another number of steps",
    )
    parser.add_argument(
        "--devices",
        type=str,
        metavar="N",
        help="spread the seeds over N GPUs, or over a list of them (0,1), one process each; cpu,cpu: two on the CPU",
    )
    namespace = parse(parser, arguments)
    config = train_config(parser, namespace)
    if namespace.devices is not None:
        return train_on_devices(namespace.devices, yaml.safe_load(dump(parser, namespace, config)))
    train(config, dump(parser, namespace, config))
    return 0


def evaluate_command(arguments: list[str]) -> int:
    """Evaluate checkpoints: success of each task and seed, with clips."""
    from mtrl.evaluation.command import command

    return command(arguments)


def export_command(arguments: list[str]) -> int:
    """Write a trained policy as ONNX or a torch.export program."""
    from mtrl.policy.exporter import command

    return command(arguments)


def sweep_command(arguments: list[str]) -> int:
    """Train methods x seeds, here or on a Ray cluster."""
    from mtrl.sweep.command import command

    return command(arguments)


def report_command(arguments: list[str]) -> int:
    """Compare runs: tables and figures of success over seeds."""
    from mtrl.reporting.command import command

    return command(arguments)


def toy_command(arguments: list[str]) -> int:
    """Run balancers on the synthetic two-task problem."""
    from mtrl.config.parsing import parse_dataclass
    from mtrl.toy import command as toy

    toy.main(
        parse_dataclass("toy", "Run balancers on the synthetic two-task problem.", toy.ToyConfig, arguments)
    )
    return 0


def benchmark_command(arguments: list[str]) -> int:
    """Measure speed: of the learner, the balancers, the environments, evaluations, logging or checkpoints."""
    from envs.suggestion import unknown
    from mtrl.benchmarks import balancers, checkpoint, env, evaluation, learner, learner_update, logging
    from mtrl.config.parsing import parse_dataclass

    kinds: dict[str, tuple[type[Any], Callable[[Any], None]]] = {
        "learner": (learner_update.LearnerBenchmark, learner.main),
        "env": (env.EnvBenchmark, env.main),
        "evaluation": (evaluation.EvaluationBenchmark, evaluation.main),
        "balancers": (balancers.BalancerBenchmarkConfig, balancers.main),
        "logging": (logging.LoggingBenchmark, logging.main),
        "checkpoint": (checkpoint.CheckpointBenchmark, checkpoint.main),
    }
    if not arguments or arguments[0] in ("-h", "--help"):
        print(
            f"usage: mtrl benchmark {{{','.join(kinds)}}} [options]\n\nMeasure speed, all variants side by side."
        )
        return 0 if arguments else 2
    if arguments[0] not in kinds:
        raise unknown("benchmark command", arguments[0], kinds)
    config_class, run = kinds[arguments[0]]
    description = (config_class.__doc__ or "").split("\n")[0]
    run(parse_dataclass(f"benchmark {arguments[0]}", description, config_class, arguments[1:]))
    return 0


def list_command(arguments: list[str]) -> int:
    """List networks, balancers, benchmarks or protocols."""
    from envs.benchmarks import BENCHMARKS, PROTOCOLS

    kinds: dict[str, Callable[[], dict[str, str]]] = {
        "networks": catalogue.networks,
        "balancers": catalogue.balancers,
        "benchmarks": lambda: (
            {n: ", ".join(b.tasks) for n, b in BENCHMARKS.items()}
            | {
                "MT1:<task>": "any one task of MT50",
                "<task>,<task>,...": "any tasks of MT50, in any order",
                "<file>.yaml": "Gymnasium environments of your own, as docs/library.md says",
            }
        ),
        "protocols": lambda: (
            {
                n: f"reward {p.reward_version}{', normalised' if p.normalize_rewards else ''}; {p.num_goals} goals per "
                f"task; horizon {p.horizon}; evaluated every {p.evaluation_interval} steps by {p.evaluation_episodes} "
                "episodes per task"
                for n, p in PROTOCOLS.items()
            }
            | {"custom": "for environments of your own; horizon and success are in the benchmark's file"}
        ),
    }
    if arguments in (["-h"], ["--help"]):
        print(f"usage: mtrl list {{{','.join(kinds)}}}\n\nPrint the names that the other commands take.")
        return 0
    if len(arguments) != 1:
        raise ValueError(
            f"mtrl list takes one of {', '.join(kinds)}; got {' '.join(arguments) or 'nothing'}."
        )
    if arguments[0] not in kinds:
        from envs.suggestion import unknown

        raise unknown("list", arguments[0], kinds)
    for name, summary in kinds[arguments[0]]().items():
        print(f"{name}: {summary}")
    return 0


COMMANDS: dict[str, Callable[[list[str]], int]] = {
    "train": train_command,
    "evaluate": evaluate_command,
    "export": export_command,
    "sweep": sweep_command,
    "toy": toy_command,
    "report": report_command,
    "benchmark": benchmark_command,
    "list": list_command,
}
