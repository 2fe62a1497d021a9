"""`mtrl benchmark checkpoint` fills a replay, and writes and reads it."""

import json
from collections.abc import Callable
from pathlib import Path

import yaml

from tests.mtrl.conftest import SMALL_RUN, Result

Cli = Callable[..., Result]


def test_a_full_replay_is_measured(fake: object, cli: Cli, tmp_path: Path) -> None:
    names = ("benchmark", "protocol", "total_steps", "batch_size", "engine")
    path, output = tmp_path / "small.yaml", tmp_path / "checkpoint.json"
    path.write_text(
        yaml.safe_dump(
            {name: SMALL_RUN[name] for name in names} | {"network": "shared", "buffer_size": 5_000}
        )
    )
    result = cli("benchmark", "checkpoint", "--configs", path, "--repetitions", 2, "--output", output)
    assert result.code == 0, result.err
    assert "left out" in result.out
    full, without = json.loads(output.read_text())["results"]
    # 3 tasks x 5,000 transitions of 39 + 4 + 1 + 39 + 1 numbers of 4 bytes
    assert abs(full["megabytes"] - without["megabytes"] - 3 * 5_000 * 84 * 4 / 2**20) < 0.1
    assert all(len(r["all_write_seconds"]) == 2 and r["write_seconds"] > 0 for r in (full, without))


def test_repetitions_have_to_be_positive(cli: Cli) -> None:
    result = cli("benchmark", "checkpoint", "--repetitions", 0)
    assert result.code == 2
    assert "repetitions to be a whole number in [1, 2147483647], got 0" in result.err
