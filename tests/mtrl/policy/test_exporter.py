"""`mtrl export` as users call it, and as other programs read it."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

import mtrl
from mtrl.config.lookup import networks
from mtrl.policy import exporter
from tests.mtrl.conftest import Result

Cli, Train = Callable[..., Result], Callable[..., Path]


def test_onnx(finished: Path, cli: Cli) -> None:
    result = cli("export", finished)
    path = finished / "export" / "policy-step40-seed0.onnx"
    assert (result.code, result.out, result.err) == (0, f"{path}\n", "")
    assert [p.name for p in path.parent.iterdir()] == [path.name]
    properties = {p.key: p.value for p in onnx.load(path).metadata_props}
    tasks = json.loads(properties["tasks"])
    assert (properties["step"], properties["seed"]) == ("40", "0")
    observation = np.random.default_rng(0).normal(size=(5, 39))
    policy = mtrl.load_policy(finished)
    session = onnxruntime.InferenceSession(path)
    inputs = {"observation": observation.astype(np.float32), "task": np.array([0, 2, 1, 1, 0])}
    (action,) = session.run(["action"], inputs)
    np.testing.assert_allclose(action, policy(observation, [tasks[t] for t in inputs["task"]]), atol=1e-5)


def test_torch(finished: Path, cli: Cli, tmp_path: Path) -> None:
    path = tmp_path / "new" / "policy"
    arguments = ["--format", "torch", "--checkpoint", "20", "--output", path]
    result = cli("export", finished, *arguments)
    assert (result.out, result.err) == (f"{path}\n", "")
    files = {"policy.json": ""}
    program = torch.export.load(path, extra_files=files).module()
    assert json.loads(files["policy.json"])["step"] == "20"
    observation, task = torch.randn(4, 39), torch.tensor([2, 0, 1, 2])
    torch.testing.assert_close(program(observation, task), mtrl.load_policy(finished, 20)(observation, task))


@pytest.mark.slow
@pytest.mark.parametrize("format", ["torch", "onnx"])
@pytest.mark.parametrize("network", networks())
def test_every_network(network: str, format: exporter.Format, train: Train) -> None:
    none = {f"network__{name}": None for name in ("width", "depth", "head_width")}
    balancer = "null" if network == "single_task" else "LS"
    run = train("run", network=network, balancer=balancer, total_steps=1, **none)
    assert mtrl.export(run, format).is_file()


def test_a_program_that_differs_is_not_written(
    finished: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = exporter._read_torch
    monkeypatch.setattr(exporter, "_read_torch", lambda path: lambda o, t: read(path)(o, t) + 1e-3)
    result = cli("export", finished, "--format", "torch")
    assert result.code == 1
    assert "differ from the policy's by 1.0e-03" in result.err
    assert not list((finished / "export").iterdir())


@pytest.mark.parametrize("links", [True, False])
def test_of_two_exports_to_one_file_the_second_is_refused(
    finished: Path, cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, links: bool
) -> None:
    """The other one was written meanwhile; file systems without links cannot tell."""
    output, check = tmp_path / "policy.pt2", exporter.check

    def check_and_wait(*arguments: Any) -> None:
        check(*arguments)
        if links:
            output.write_text("another")

    def link(*_: Any) -> None:
        raise PermissionError

    monkeypatch.setattr(exporter, "check", check_and_wait)
    if not links:
        monkeypatch.setattr(exporter.os, "link", link)
    result = cli("export", finished, "--format", "torch", "--output", output)
    assert (result.code, [*tmp_path.glob(".export*")]) == (2 if links else 0, [])
    assert ("exists already" in result.err) == links
    assert (output.read_bytes() == b"another") == links


def test_a_name_that_would_steer_the_terminal(finished: Path, cli: Cli, tmp_path: Path) -> None:
    result = cli("export", finished, "--format", "torch", "--output", tmp_path / "\x1b[31m.pt2")
    assert result.code == 0, result.err
    assert result.out == f"{tmp_path}/\\x1b[31m.pt2\n"


def test_what_it_refuses(finished: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    exists = finished / "config.yaml"
    before = exists.read_bytes()
    for arguments, sentence in (
        (["--output", exists], "exists already and is never overwritten"),
        (["--format", "jit"], "format must be one of onnx, torch, got jit"),
        (["--seed", 3], "was trained with the seeds 0, not 3"),
        (["--checkpoint", 3], "There is no checkpoint '3'"),
    ):
        result = cli("export", finished, *arguments)
        assert (result.code, result.out) == (2, "")
        assert sentence in result.err
    assert exists.read_bytes() == before
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    monkeypatch.setattr("mtrl.cli.check_import_packages", lambda: None)
    result = cli("export", finished)
    assert result.code == 2
    assert "pip install 'mtrl-toolkit[onnx]'" in result.err
