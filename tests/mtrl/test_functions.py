"""The commands as functions: what their options may be, beside what the command line takes."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

import mtrl
from tests.mtrl.conftest import SMALL_RUN

SMALL = {**SMALL_RUN, "total_steps": 2, "random_steps": 1}


@pytest.fixture
def run(fake: object, tmp_path: Path) -> Path:
    """A finished run."""
    return mtrl.train(SMALL, run_dir=tmp_path / "run")


def test_options_replace_a_class_of_the_mapping(fake: object, tmp_path: Path) -> None:
    """With its options, and nobody looks at it."""
    config = {**SMALL, "balancer": {"class_path": "absent.Own"}, "balancer.c": 3}
    run = mtrl.train(config, balancer="LS", run_dir=tmp_path / "run")
    assert "LS" in (run / "config.yaml").read_text()
    assert "absent" not in (run / "config.yaml").read_text()


@pytest.mark.parametrize("value", [mtrl, {1, 2}, object(), 1j, {"class_path": mtrl}])
def test_values_that_no_file_can_hold(fake: object, tmp_path: Path, value: Any) -> None:
    with pytest.raises(
        ValueError, match=r"^balancer must be text, a number, a list or a mapping of these, got a "
    ):
        mtrl.train(SMALL, balancer=value, run_dir=tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "option",
    [
        {"episodes": value}
        for value in (2.5, "two", math.nan, math.inf, -1, 0, True, None, [1], {"a": 1}, 2**40)
    ]
    + [{"seed": value} for value in (2.5, "one", math.nan, -1, True, None, [1], 2**64, "0")]
    + [{"worlds_per_task": value} for value in (2.5, "two", math.nan, 0, True, [1])]
    + [{"checkpoint": value} for value in (7, 4.5, None, True, [4])]
    + [{"sampled": "perhaps"}, {"sampled": 2}, {"camera": "top"}, {"device": None}, {"engine": "x"}]
    + [{"video_seed": 2.5}, {"mode": "fast"}],
    ids=str,
)
def test_values_that_an_evaluation_cannot_have(run: Path, option: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(option))) as caught:
        mtrl.evaluate(run, **{"episodes": 1, "engine": "reference", **option})
    assert "\n" not in str(caught.value)
    assert not (run / "evaluation").exists()


@pytest.mark.parametrize(
    "option",
    [{"last_k": value} for value in (2.5, "two", math.nan, math.inf, 0, True, None, [1], 2**40)]
    + [{"statistic": "median"}, {"source": "log"}, {"source": None}, {"allow_mixed": "perhaps"}]
    + [{"published": 2}, {"mode": "fast"}],
    ids=str,
)
def test_values_that_a_report_cannot_have(run: Path, option: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(option))):
        mtrl.report(run, **option)


@pytest.mark.parametrize("value", [4.5, "many", math.nan, math.inf, True, [9], 0, -1, 2**70], ids=str)
def test_steps_that_a_run_cannot_go_on_to(run: Path, value: Any) -> None:
    before = (run / "config.yaml").read_text()
    with pytest.raises(ValueError, match="total_steps"):
        mtrl.resume(run, total_steps=value)
    assert (run / "config.yaml").read_text() == before


def test_an_empty_path_is_not_the_working_directory(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As that of a variable that is not set."""
    monkeypatch.chdir(run)
    before = sorted(run.rglob("*"))
    for function in (mtrl.report, mtrl.evaluate, mtrl.resume):
        with pytest.raises(ValueError, match=r"^The name of a run is empty: a variable may be unset\.$"):
            function("")
    with pytest.raises(ValueError, match="name of a run is empty"):
        mtrl.report([run, ""])
    with pytest.raises(ValueError, match="none is given"):
        mtrl.report([])
    for call, option in (
        (lambda: mtrl.train(""), "config"),
        (lambda: mtrl.train(SMALL, run_dir=""), "run_dir"),
        (lambda: mtrl.train({**SMALL, "run_dir": ""}), "run_dir"),
        (lambda: mtrl.evaluate(run, output=""), "output"),
        (lambda: mtrl.report(run, output=""), "output"),
    ):
        with pytest.raises(
            ValueError, match=f"^{option} needs a value, got nothing: leave it out for its default"
        ):
            call()
    assert sorted(run.rglob("*")) == before


def test_options_are_written_as_on_the_command_line(run: Path) -> None:
    evaluation = mtrl.evaluate(run, episodes="1e0", checkpoint=0, seed="5", engine="reference", output=None)
    assert evaluation.step == 0
    assert [path.name for path in (run / "evaluation").iterdir()] == [
        "step_0000000000-reference-1_episodes-seed_5-1_worlds.json"
    ]
    assert mtrl.report(run, last_k="1e0", statistic="last_k", allow_mixed=False, baseline=None)


def test_a_run_of_a_gpu_goes_on_on_a_cpu(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    config = run / "config.yaml"
    config.write_text(config.read_text().replace("device: cpu", "device: cuda"))
    with pytest.raises(ValueError, match="use --device cpu"):
        mtrl.resume(run, total_steps=3)
    with pytest.raises(ValueError, match="device must be one of auto, cpu, cuda, got gpu"):
        mtrl.resume(run, total_steps=3, device="gpu")  # type: ignore[arg-type]
    mtrl.resume(run, total_steps=3, device="cpu")
    assert (run / "checkpoints" / "step_0000000003").is_dir()


@pytest.mark.parametrize("in_a_file", [True, False])
def test_options_override_one_by_one(fake: object, tmp_path: Path, in_a_file: bool) -> None:
    """What they do not name of a group or class stays, of a mapping as of a file."""
    config: Any = {
        **SMALL,
        "seeds": [0],
        "agent": {"gamma": 0.4, "tau": 0.3},
        "balancer": "CAGrad",
        "balancer.c": 0.2,
    }
    if in_a_file:
        (tmp_path / "config.yaml").write_text(json.dumps(config))
        config = tmp_path / "config.yaml"
    options = {"agent": {"tau": 0.1}, "agent.weight_decay": 0.5, "network": {"init_args": {"depth": 2}}}
    run = mtrl.train(config, run_dir=tmp_path / "run", **options)
    kept = yaml.safe_load((run / "config.yaml").read_text())
    assert {name: kept["agent"][name] for name in ("gamma", "tau", "weight_decay")} == {
        "gamma": 0.4,
        "tau": 0.1,
        "weight_decay": 0.5,
    }
    assert kept["network"]["init_args"] == {"width": 8, "depth": 2, "head_width": 8, "head_depth": 1}
    assert kept["balancer"]["init_args"]["c"] == 0.2
