"""`mtrl evaluate`: evaluates checkpoints of one or more runs, prints tables, and writes every episode and clips."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from envs import CustomBenchmark, EngineName, check_engine
from mtrl.config.experiment import experiment
from mtrl.config.loading import load_config
from mtrl.config.parsing import make_parser, parse
from mtrl.config.train import Device, EvaluationConfig, TrainConfig, with_defaults
from mtrl.device.process import one_thread
from mtrl.evaluation.checkpoint import (
    CheckpointRef,
    Evaluation,
    evaluate_checkpoint,
    is_evaluation,
    write_evaluations,
)
from mtrl.evaluation.custom_clips import check_renders, write_custom_clips
from mtrl.evaluation.render import Camera, Renderer, renderer
from mtrl.evaluation.tables import heading, measure_tables, summary_table
from mtrl.evaluation.video import write_clips
from mtrl.storage.run_directory import refuse_link
from mtrl.system import terminal
from mtrl.system.paths import check_writable


def command(arguments: list[str]) -> int:
    """Evaluates the runs that the arguments name and prints a table of each measure.

    Runs that differ in their seeds share a table.
    """
    parser = make_parser(
        "evaluate",
        "Evaluate a checkpoint of one or more runs: every task and seed, on goals of its own.",
        reads_classes=True,
    )
    parser.add_argument("run_dir", type=Path, nargs="+", help="directories of runs")
    parser.add_argument("--sampled", action="store_true", help="sample actions, instead of the mean action")
    parser.add_function_arguments(evaluate, skip={"run_dir", "sampled"})
    namespace = parse(parser, arguments)
    methods = _by_method(evaluate(**namespace.as_dict()))
    console = terminal.console()
    for method in methods:
        console.print(heading(method), soft_wrap=True)
        console.print(*measure_tables(method), sep="\n")
    console.print(summary_table(methods))  # the last lines: the tables of fifty tasks are four screens
    return 0


def evaluate(
    run_dir: list[Path],
    sampled: bool = False,
    checkpoint: str = "last",
    episodes: int = 50,
    engine: EngineName | None = None,
    device: Device = "auto",
    seed: int = 1_000_000,
    worlds_per_task: int | None = None,
    num_workers: int | None = None,
    output: Path | None = None,
    video: Path | None = None,
    video_seed: int | None = None,
    camera: Camera = "corner2",
) -> list[Evaluation]:
    """Evaluates a checkpoint of every run and writes every episode as JSON.

    Args:
        checkpoint: last, best or the step of a checkpoint.
        episodes: episodes of each task and seed.
        engine: batched, or reference (Meta-World itself), or gymnasium for environments of your own; null takes the
            first that fits.
        device: auto takes a GPU if there is one.
        seed: draws the goals, where the protocol has several, and the noise of sampled actions.
        worlds_per_task: worlds that share a task's episodes; by default 10 with the batched engine, and 1 with others.
        num_workers: threads that simulate, or processes of other engines; by default as many as there are cores,
            however many training had, and none beside this process if training had none.
        output: the JSON file, a list of several runs; by default a file in each run's evaluation directory.
        video: also write a clip of each task's first episode to this directory, as MP4.
        video_seed: the trained seed in the clips; by default each run's first one.
        camera: Meta-World's camera in the clips.
    """
    if not all(
        0 < number < 2**31 for number in (episodes, 1 if worlds_per_task is None else worlds_per_task)
    ):
        raise ValueError(
            f"episodes and worlds_per_task must be positive and below 2**31, got {episodes} and {worlds_per_task}."
        )
    if video_seed is not None and video is None:
        raise ValueError("--video_seed is of clips, and without --video there are none: give it a directory.")
    if num_workers is not None and not 0 <= num_workers < 2**31:
        raise ValueError(f"num_workers must not be negative, and below 2**31, got {num_workers}.")
    refs = [CheckpointRef.find(run, _config(run, device, num_workers), checkpoint) for run in run_dir]
    engines = [check_engine(engine, ref.config.get_benchmark()) for ref in refs]
    for ref in refs:
        _check_seeds(ref, seed, video_seed)
    _check_paths(run_dir, output, video)
    with one_thread(), contextlib.ExitStack() as stack:
        process = _prepare_clips(refs, stack) if video is not None else None
        evaluations = []
        for ref, chosen in zip(refs, engines, strict=True):
            worlds = worlds_per_task or (10 if chosen == "batched" else 1)
            settings = EvaluationConfig(episodes=episodes, seed=seed, worlds_per_task=min(worlds, episodes))
            evaluation = evaluate_checkpoint(ref, settings, engine=chosen, deterministic=not sampled)
            evaluations.append(evaluation)
            if output is None:
                write_evaluations([evaluation], ref.run_dir / "evaluation" / evaluation.file_name())
            if video is None:
                continue
            shown = ref.config.seeds[0] if video_seed is None else video_seed
            if process is None or chosen == "gymnasium":
                write_custom_clips(ref, video, seed=shown, evaluation_seed=seed, deterministic=not sampled)
            else:
                write_clips(
                    ref,
                    settings,
                    process,
                    video,
                    seed=shown,
                    camera=camera,
                    engine=chosen,
                    deterministic=not sampled,
                )
    if output is not None:
        write_evaluations(evaluations, output)
    return evaluations


def _config(run: Path, device: Device, num_workers: int | None) -> TrainConfig:
    """The run's, to be evaluated by this machine, which may have more cores than that of training, or fewer."""
    config = load_config(run, device, with_balancer=False)
    if num_workers is None and config.num_workers == 0:
        return config
    return dataclasses.replace(config, num_workers=num_workers)


def _by_method(evaluations: Sequence[Evaluation]) -> list[list[Evaluation]]:
    """Evaluations at one step of runs that differ in their seeds only, together."""
    methods: list[tuple[Any, list[Evaluation]]] = []
    for evaluation in evaluations:
        config = yaml.safe_load((Path(evaluation.run) / "config.yaml").read_text(encoding="utf-8"))
        key = (evaluation.step, experiment(with_defaults(config)))
        for other, members in methods:
            if key == other and not {s for e in members for s in e.seeds} & set(evaluation.seeds):
                members.append(evaluation)
                break
        else:
            methods.append((key, [evaluation]))
    return [members for _, members in methods]


def _prepare_clips(refs: Sequence[CheckpointRef], stack: contextlib.ExitStack) -> Renderer | None:
    """Finds out before the work whether everything can be rendered; the process that renders Meta-World, if needed."""
    benchmarks = [ref.config.get_benchmark() for ref in refs]
    for benchmark in benchmarks:
        if isinstance(benchmark, CustomBenchmark):
            check_renders(benchmark)
    if all(isinstance(benchmark, CustomBenchmark) for benchmark in benchmarks):
        return None
    return stack.enter_context(renderer())


def _check_seeds(ref: CheckpointRef, seed: int, video_seed: int | None) -> None:
    seeds = ref.config.seeds
    if seed in seeds and not ref.config.fixes_goals:
        raise ValueError(
            f"--seed {seed} is one that {ref.run_dir} was trained with, so its episodes would be those of "
            "training: choose another one."
        )
    if video_seed is not None and video_seed not in seeds:
        raise ValueError(
            f"--video_seed must be a seed of the run {ref.run_dir}, one of {', '.join(map(str, seeds))}, got "
            f"{video_seed}."
        )


def _check_paths(run_dirs: Sequence[Path], output: Path | None, video: Path | None) -> None:
    """Finds out before the work, not after it, what cannot be written."""
    resolved = [run.resolve() for run in run_dirs]
    if len(set(resolved)) < len(resolved):
        raise ValueError("Each run can be given once, and one was given twice.")
    if video is not None and len({run.name for run in resolved}) < len(resolved):
        raise ValueError(
            "Clips are named after their run, and two runs have one name: evaluate them one by one."
        )
    if output is not None and output.exists() and not is_evaluation(output):
        raise ValueError(
            f"--output must be a file, a new one or one that `mtrl evaluate` wrote, and {output} is not."
        )
    directories = [run / "evaluation" for run in run_dirs] if output is None else [output.parent]
    for run in run_dirs if output is None else []:
        refuse_link(run, run / "evaluation")
    for directory in directories + ([] if video is None else [video]):
        check_writable(directory)
