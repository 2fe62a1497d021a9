"""What a run is stamped with."""

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from envs.benchmarks import PROTOCOLS
from mtrl.storage.stamp import stamp
from tests.mtrl.config.test_train import from_arguments


def test_the_stamp_says_what_a_run_was_made_with(train: Callable[..., Path]) -> None:
    found = json.loads((train("run") / "stamp.json").read_text())
    assert found["protocol"] == dataclasses.asdict(PROTOCOLS["tiny"])
    assert found["benchmark"]["tasks"] == ["drawer-close-v3", "window-open-v3", "window-close-v3"]
    assert found["engine"] == "reference"
    assert {"python", "torch", "numpy", "mujoco", "metaworld"} <= found["versions"].keys()
    assert found["hardware"]["device"] == "cpu"
    assert "git_commit" in found


def test_a_commit_is_told_where_there_is_no_checkout(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("mtrl.storage.stamp.__file__", str(tmp_path / "mtrl" / "storage" / "stamp.py"))
    monkeypatch.delenv("MTRL_GIT_COMMIT", raising=False)
    assert stamp(from_arguments())["git_commit"] is None
    monkeypatch.setenv("MTRL_GIT_COMMIT", "d815202")
    assert stamp(from_arguments())["git_commit"] == "d815202 (as MTRL_GIT_COMMIT told)"


def test_stamps_differ_where_protocols_do() -> None:
    first, second = (stamp(from_arguments("--protocol", p)) for p in ("metaworld_plus", "paper"))
    assert first["protocol"] != second["protocol"]
    assert first["versions"] == second["versions"]
