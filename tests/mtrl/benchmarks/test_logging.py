"""`mtrl benchmark logging` trains a little and tells what its metrics cost."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from tests.mtrl.conftest import SMALL_RUN, Result

Cli = Callable[..., Result]


@pytest.fixture
def config(tmp_path: Path) -> Path:
    names = ("benchmark", "protocol", "total_steps", "batch_size", "buffer_size", "log_interval", "engine")
    path = tmp_path / "small.yaml"
    content = {name: SMALL_RUN[name] for name in names} | {"network": "shared", "num_workers": 0}
    path.write_text(yaml.safe_dump(content))
    return path


def test_logging_is_timed_beside_training(fake: object, cli: Cli, config: Path, tmp_path: Path) -> None:
    output = tmp_path / "new" / "logging.json"
    result = cli(
        "benchmark", "logging", "--configs", config, "--steps", 3, "--intervals", 2, "--output", output
    )
    assert result.code == 0, result.err
    assert "%" in result.out
    (found,) = json.loads(output.read_text())["results"]
    assert (found["tasks"], found["seeds"], found["log_interval"]) == (3, 1, 10)
    for name in ("all_training_seconds_per_step", "all_line_seconds", "all_picture_seconds"):
        assert len(found[name]) == 2
    assert found["training_seconds"] > 0
    assert found["logging_seconds"] > 0


def test_numbers_have_to_be_positive(cli: Cli) -> None:
    result = cli("benchmark", "logging", "--steps", 0)
    assert result.code == 2
    assert "steps to be a whole number in [1, 2147483647], got 0" in result.err
