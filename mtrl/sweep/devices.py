"""`mtrl train --devices`: a run's seeds in packs, one process for each device.

This is a sweep of one method: the packs are runs in RUN_DIR/runs, each of which is evaluated and reported as any other.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import yaml

from envs.cores import available_cores
from mtrl.storage.check_run import DisagreementError
from mtrl.storage.run_directory import created, refuse_existing
from mtrl.sweep import manifest
from mtrl.sweep.command import report_runs, train_runs
from mtrl.sweep.config import SweepConfig, make_config, sweep_options
from mtrl.sweep.local import LocalExecutor, visible_gpus, with_cores
from mtrl.sweep.plan import methods
from mtrl.sweep.state import is_finished
from mtrl.system import terminal
from mtrl.system.files import read_mapping, write_text
from mtrl.system.lock import locked
from mtrl.system.signals import Interrupted

_FILE = "devices.yaml"  # in the run directory: the devices and the sweep


def train_on_devices(devices: str, options: dict[str, Any]) -> int:
    """Trains a configuration with its seeds spread over devices; 1 if a pack of them failed.

    Args:
        devices: see `places`.
        options: a resolved configuration, as `mtrl train --config` reads it; `num_workers` null shares the cores.

    Raises:
        ValueError: there are fewer seeds than devices, a device is unknown, or the run directory exists.
        Interrupted: a signal asked to stop; every pack wrote a checkpoint.
    """
    run_dir, seeds = Path(options["run_dir"]), options["seeds"]
    if set(devices.split(",")) == {"cpu"}:
        options = {**options, "device": "cpu"}
    count = len(places(devices, options["device"]))
    if len(seeds) < count:
        raise ValueError(
            f"--devices {devices} needs at least {count} --seeds, one for each device, got {len(seeds)}."
        )
    refuse_existing(run_dir)
    sweep = SweepConfig(
        base=options,
        seeds=seeds,
        seeds_per_run=-(-len(seeds) // count),
        sweep_dir=str(run_dir),
        cores_per_run=max(1, available_cores() // count),
    )
    methods(sweep)  # what cannot be trained is refused before anything is written
    content = {"devices": devices, "sweep": dataclasses.asdict(sweep)}

    def fill(directory: Path) -> None:
        write_text(directory / _FILE, yaml.safe_dump(content, sort_keys=False))

    with created(run_dir, fill):
        pass
    return resume_on_devices(run_dir)


def is_on_devices(run_dir: Path) -> bool:
    """Whether a directory is of `train_on_devices`."""
    return (run_dir / _FILE).is_file()


def resume_on_devices(run_dir: Path) -> int:
    """Goes on with what `train_on_devices` began, on the same devices; see there.

    Raises:
        ValueError: a device is not there.
        DisagreementError: it was begun with other seeds, or another experiment.
    """
    devices, sweep = _read(run_dir)
    (method,) = methods(sweep)
    try:
        found = places(devices, method.device)
    except ValueError as error:
        each = terminal.command("train", "--resume", run_dir / "runs" / "NAME", "--device", "cpu")
        raise ValueError(f"{error} Elsewhere its runs go on one by one: `{each}`.") from error
    slots = with_cores(found, sweep.cores_per_run)
    executor = LocalExecutor(run_dir, slots, sweep.retries)
    size = -(-len(sweep.seeds) // len(slots))
    with locked(run_dir):
        begun = manifest.recorded_seeds(run_dir)
        if begun and begun != sorted(sweep.seeds):
            raise DisagreementError(
                f"The files of the run {run_dir} disagree: seeds is {sweep.seeds} in {_FILE} and {begun} in "
                "manifest.json. Restore what was changed; another experiment is a new run."
            )
        try:
            runs = manifest.plan(run_dir, [method], sweep.seeds, lambda _: size, keep_packs=True)
            manifest.write(run_dir, runs)
            code = train_runs(runs, run_dir, executor)
        except Interrupted as interrupted:
            go_on = terminal.command("train", "--resume", run_dir)
            interrupted.args = (f"Stopped, with checkpoints: go on by `{go_on}`.",)
            raise
        finally:
            executor.close()
    report_runs([run for run in runs if is_finished(run, run_dir)], sweep)
    return code


def _read(run_dir: Path) -> tuple[str, SweepConfig]:
    """The devices, and the sweep of one method over them.

    Raises:
        ValueError: the file is not as `train_on_devices` wrote it.
    """
    path = run_dir / _FILE
    content = read_mapping("file of devices", path)
    devices, options = content.get("devices"), content.get("sweep")
    if not isinstance(devices, str) or not isinstance(options, dict):
        raise ValueError(f"The file of devices {path} must have `devices` as text and `sweep` as a mapping.")
    sweep = make_config({**sweep_options(options), "sweep_dir": str(run_dir)})
    if not isinstance(sweep.base, dict) or sweep.axes != {}:
        raise ValueError(f"The sweep in {path} must have one method: a mapping as its `base`, and no `axes`.")
    return devices, sweep


def places(devices: str, device: str) -> list[dict[str, str]]:
    """The environment variables of each process.

    Args:
        devices: how many devices, or a list of them: positions among the visible GPUs (0,1), or cpu for a process on
            this machine's cores (cpu,cpu).
        device: cpu or cuda.

    Raises:
        ValueError: there is no such device.
    """
    names = devices.split(",")
    gpus = visible_gpus() if device != "cpu" else []
    if len(names) == 1 and devices.isdecimal():
        if int(devices) == 0 or (device != "cpu" and int(devices) > len(gpus)):
            raise ValueError(
                f"--devices {devices} must be a number from 1 to that of the visible GPUs, {len(gpus)}."
            )
        names = [str(i) for i in range(int(devices))] if device != "cpu" else ["cpu"] * int(devices)
    known = ["cpu"] if device == "cpu" else [str(i) for i in range(len(gpus))]
    for name in names:
        if name not in known:
            raise ValueError(
                f"--devices {devices}: the device {name!r} is unknown with --device {device}, which has "
                f"{', '.join(known) or 'none'}."
            )
    if device == "cpu":
        return [{} for _ in names]
    if len(set(names)) != len(names):
        raise ValueError(
            f"--devices {devices} names a GPU twice: its seeds are faster side by side in one process."
        )
    return [{"CUDA_VISIBLE_DEVICES": gpus[int(name)]} for name in names]
