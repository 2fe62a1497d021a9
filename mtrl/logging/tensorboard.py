"""What TensorBoard shows beside curves: grouped charts, pictures, hyper-parameters, configuration and stamp."""

from __future__ import annotations

import io
import json
import re
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from PIL import Image
from tensorboard.compat.proto.summary_pb2 import Summary  # type: ignore[import-untyped]
from torch.utils.tensorboard import SummaryWriter
from torch.utils.tensorboard.summary import hparams

from mtrl.config.experiment import experiment

#: The final result of a run is the last value of this curve.
RESULT = "evaluation/success/mean"
NETWORKS = ("critic", "actor")
#: Charts of the custom-scalars page: group, chart, the metric of which each task's directory has a curve.
PER_TASK = {
    "success": {"evaluation": "evaluation/success", "training": "training/success"},
    "returns": {"evaluation": "evaluation/returns", "training": "training/returns"},
    "losses": {network: f"{network}/loss" for network in NETWORKS},
    "values": {"critic": "critic/q_value"},
    "temperatures": {"temperature": "temperature"},
    "policy": {"entropy": "actor/entropy", "log standard deviation": "actor/log_std"},
    "weights": {network: f"{network}/weights" for network in NETWORKS},
    "gradient norms": {network: f"{network}/task_grad_norm" for network in NETWORKS},
}
STABILITY = ("condition_number", "cosine", "magnitude_similarity", "conflict_share", "solver_failures")
#: `events.out.tfevents.SECOND.HOST.PROCESS.NUMBER`
_EVENT_FILE = re.compile(r"(events\.out\.tfevents\.)([0-9]{1,10})(\..+)", re.DOTALL)


def layout() -> dict[str, dict[str, list[Any]]]:
    """The custom-scalars layout: its tags are regular expressions."""
    groups: dict[str, dict[str, list[Any]]] = {}
    for group, charts in PER_TASK.items():
        groups[group] = {chart: ["Multiline", [_exactly(metric)]] for chart, metric in charts.items()}
    groups["success"]["mean over the tasks"] = [
        "Multiline",
        [_exactly("evaluation/success/mean"), _exactly("training/success/mean")],
    ]
    groups["gradient systems"] = {
        measure.replace("_", " "): ["Multiline", [_exactly(f"{network}/{measure}") for network in NETWORKS]]
        for measure in STABILITY
    }
    return groups


def _exactly(tag: str) -> str:
    return f"^{re.escape(tag)}$"


def describe(directory: Path, whole: SummaryWriter, of_seeds: Mapping[int, SummaryWriter]) -> None:
    """Writes what a run is, once.

    Args:
        whole: takes the run's layout, configuration and stamp.
        of_seeds: each takes the hyper-parameters of its seed.
    """
    whole.add_custom_scalars(layout())
    for name in ("config.yaml", "stamp.json"):
        path = directory / name
        if path.is_file():
            whole.add_text(
                path.stem, "\n".join(f"    {line}" for line in path.read_text(encoding="utf-8").splitlines())
            )
    path = directory / "config.yaml"
    settings = hyperparameters(yaml.safe_load(path.read_text(encoding="utf-8"))) if path.is_file() else {}
    for seed, writer in of_seeds.items():
        experiment, start, _ = hparams({**settings, "seed": seed}, {RESULT: 0.0})
        for summary in (experiment, start):
            _add(writer, summary)


def put_before_now(directory: Path) -> None:
    """Renames event files so that one made now comes after them.

    TensorBoard reads the files of a run in the order of the seconds in their names, and what a resumed run has purged
    comes back if that order is wrong: after a resume within a second, or with a clock that was set back.
    """
    limit = int(time.time()) - 1
    for path in sorted(directory.glob("events.out.tfevents.*"), reverse=True):
        parts = _EVENT_FILE.fullmatch(path.name)
        if parts is None:  # somebody else's, whose name TensorBoard does not order by a second either
            continue
        prefix, second, rest = parts.groups()
        if int(second) > limit:
            path.rename(path.with_name(f"{prefix}{limit:010d}{rest}"))
        limit = min(int(second), limit) - 1


def add_scalars(writer: SummaryWriter, values: Mapping[str, float], step: int) -> None:
    """Adds a point to each curve, all in one event: an event for each costs many times as much."""
    _add(writer, Summary(value=[Summary.Value(tag=t, simple_value=v) for t, v in values.items()]), step)


def add_picture(writer: SummaryWriter, name: str, picture: Image.Image, step: int) -> None:
    """Adds a picture as PNG; `SummaryWriter.add_image` takes three times as long for it."""
    png = io.BytesIO()
    picture.save(png, "PNG", compress_level=1)
    image = Summary.Image(
        height=picture.height, width=picture.width, colorspace=3, encoded_image_string=png.getvalue()
    )
    _add(writer, Summary(value=[Summary.Value(tag=name, image=image)]), step)


def _add(writer: SummaryWriter, summary: Any, step: int | None = None) -> None:
    file_writer: Any = writer.file_writer
    file_writer.add_summary(summary, step)


def hyperparameters(config: Mapping[str, Any]) -> dict[str, str | float | bool]:
    """What makes the experiment of a configuration, with text for what TensorBoard has no type for."""
    return {
        name: value if isinstance(value, bool | int | float | str) else json.dumps(value)
        for name, value in experiment(config).items()
    }
