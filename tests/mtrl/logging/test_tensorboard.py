"""What a real run's event files hold, read as TensorBoard's own plugins read it."""

import re
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.custom_scalar import layout_pb2
from tensorboard.plugins.hparams import plugin_data_pb2

from mtrl.logging.tensorboard import hyperparameters
from tests.mtrl.conftest import Result, read_metrics, train_arguments

Cli = Callable[..., Result]
Train = Callable[..., Path]


TASKS = ("drawer-close", "window-open", "window-close")


def events(run: Path, name: str) -> EventAccumulator:
    accumulator = EventAccumulator(str(run / "tensorboard" / name), size_guidance={"scalars": 0, "images": 0})
    accumulator.Reload()
    return accumulator


def read_layout(run: Path) -> layout_pb2.Layout:
    (event,) = events(run, "mean").Tensors("custom_scalars__config__")
    layout = layout_pb2.Layout()
    layout.ParseFromString(event.tensor_proto.string_val[0])
    return layout


def test_every_chart_of_the_layout_has_the_curves_of_its_tasks(train: Train) -> None:
    run = train("run", seeds="0,1", total_steps=60)
    tags = {name: events(run, f"mean/{name}").Tags()["scalars"] for name in TASKS}
    tags["mean"] = events(run, "mean").Tags()["scalars"]
    charts = {
        (group.title, chart.title): chart.multiline.tag
        for group in read_layout(run).category
        for chart in group.chart
    }
    assert {group for group, _ in charts} >= {
        "success",
        "returns",
        "losses",
        "temperatures",
        "weights",
        "gradient systems",
    }
    for (group, title), patterns in charts.items():
        for name, found in tags.items():
            is_whole = group == "gradient systems" or "mean" in title
            matches = [tag for pattern in patterns for tag in found if re.match(pattern, tag)]
            assert len(matches) == (0 if is_whole != (name == "mean") else len(patterns)), (
                title,
                name,
                matches,
            )
        assert len(patterns) == (2 if is_whole else 1)
    for measure in ("condition number", "magnitude similarity", "conflict share", "solver failures"):
        assert charts["gradient systems", measure] == [
            f"^{network}/{measure.replace(' ', '_')}$" for network in ("critic", "actor")
        ]


def test_a_single_seed_has_one_curve(finished: Path) -> None:
    assert [path.name for path in (finished / "tensorboard").iterdir()] == ["seed_0"]
    tags = events(finished, "seed_0").Tags()
    assert {"evaluation/success/mean", "critic/loss/mean", "time/seconds"} <= set(tags["scalars"])
    assert "custom_scalars__config__" in tags["tensors"]


def test_heat_maps_of_both_networks_once_in_an_evaluation_interval(finished: Path) -> None:
    assert [line["step"] for line in read_metrics(finished) if "critic/cosine" in line] == [20, 30, 40]
    images = events(finished, "seed_0")
    assert sorted(images.Tags()["images"]) == ["actor/cosine_matrix", "critic/cosine_matrix"]
    for tag in images.Tags()["images"]:
        assert [image.step for image in images.Images(tag)] == [20, 40]
        assert images.Images(tag)[0].encoded_image_string.startswith(b"\x89PNG")


def test_configuration_and_stamp_as_text(finished: Path) -> None:
    accumulator = events(finished, "seed_0")
    for name, word in (("config", "    benchmark: MT3"), ("stamp", '"git_commit"')):
        (event,) = accumulator.Tensors(f"{name}/text_summary")
        assert word in event.tensor_proto.string_val[0].decode()


def hparams(run: Path, seed: int) -> dict[str, object]:
    """The hyper-parameters and the metric of a seed, as the plugin reads them."""
    metadata = events(run, f"seed_{seed}").summary_metadata
    experiment, start = (
        plugin_data_pb2.HParamsPluginData.FromString(metadata[f"_hparams_/{name}"].plugin_data.content)
        for name in ("experiment", "session_start_info")
    )
    (metric,) = experiment.experiment.metric_infos
    values = {
        name: getattr(value, value.WhichOneof("kind"))
        for name, value in start.session_start_info.hparams.items()
    }
    return values | {"metric": metric.name.tag}


def test_hparams_of_each_seed_with_the_final_result(train: Train) -> None:
    run = train("run", seeds="3,5")
    for s, seed in enumerate((3, 5)):
        found = hparams(run, seed)
        assert found["seed"] == seed
        assert found["balancer"] == "mtrl.balancers.aligned_mtl.AlignedMTL"
        assert found["network.width"] == 8
        assert "run_dir" not in found
        curve = events(run, f"seed_{seed}").Scalars(found["metric"])
        assert curve[-1].value == pytest.approx(np.mean(read_metrics(run)[-1]["evaluation/success"][s]))


def test_going_on_repeats_nothing(train: Train, fake: object, cli: Cli, tmp_path: Path) -> None:
    run = train("run", total_steps=60, seeds="0,1")
    stopped = tmp_path / "stopped"
    assert cli(*train_arguments(stopped, total_steps=60, seeds="0,1")).code == 0
    last = stopped / "checkpoints" / "step_0000000060"
    last.rename(tmp_path / "gone")  # as if it had been stopped after the one before
    assert cli("train", "--resume", stopped).code == 0
    for name in ("mean", "seed_0"):
        whole, resumed = events(run, name), events(stopped, name)
        assert whole.Tags() == resumed.Tags()
        for tag in whole.Tags()["images"]:
            assert [(i.step, i.encoded_image_string) for i in whole.Images(tag)] == [
                (i.step, i.encoded_image_string) for i in resumed.Images(tag)
            ]
        for tag in whole.Tags()["tensors"]:
            assert len(whole.Tensors(tag)) == len(resumed.Tensors(tag)) == 1
    read_layout(stopped)


@pytest.mark.parametrize(
    "name", ["events.out.tfevents.old.host", "events.out.tfevents.17", "events.out.tfevents."]
)
def test_files_of_another_name_stay_as_they_are(train: Train, cli: Cli, name: str) -> None:
    run = train("run")
    (run / "tensorboard" / "seed_0" / name).write_text("mine")
    result = cli("train", "--resume", run, "--total_steps", 50)
    assert result.code == 0, result.err
    assert (run / "tensorboard" / "seed_0" / name).read_text() == "mine"


def test_hyperparameters_are_one_level() -> None:
    config = {
        "a": 1,
        "seeds": [0],
        "network": {"class_path": "m.N", "init_args": {"width": 2}},
        "c": {"d": None},
    }
    assert hyperparameters(config) == {"a": 1, "network": "m.N", "network.width": 2, "c.d": "null"}


def test_weights_and_biases_as_the_documentation_says(
    fake: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The script trains, after a start of Weights & Biases (which is not installed here) that syncs TensorBoard."""
    text = (Path(__file__).parents[3] / "docs" / "runs.md").read_text(encoding="utf-8")
    script = text.split("## Weights & Biases")[1].split("```python\n")[1].split("```")[0]
    begun: list[dict[str, object]] = []
    monkeypatch.setitem(sys.modules, "wandb", SimpleNamespace(init=lambda **options: begun.append(options)))
    monkeypatch.setattr(sys, "argv", ["train_with_wandb.py", *train_arguments(tmp_path / "run")[1:]])
    with pytest.raises(SystemExit) as stop:
        exec(script, {})
    assert stop.value.code == 0
    assert begun == [{"project": "mtrl", "sync_tensorboard": True}]
    assert events(tmp_path / "run", "seed_0").Scalars("evaluation/success/mean")
