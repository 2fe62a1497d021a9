"""Training on a GPU: what is captured and compiled learns as what is not, and goes on after a stop."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from mtrl.storage import checkpoints
from tests.mtrl.conftest import FakeEngine, Result, read_metrics, train_arguments
from tests.mtrl.training.test_failures import NanEngine, assert_stopped

DEVICE = "cuda"
pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
Train = Callable[..., Path]


def learned(run: Path) -> list[dict[str, np.ndarray]]:
    """The lines of training metrics that updates went into."""
    return [
        {name: np.array(line[name], dtype=float) for name in line if name.startswith(("critic/", "actor/"))}
        for line in read_metrics(run)
        if "critic/loss" in line and line["critic/loss"][0][0] is not None
    ]


@pytest.mark.parametrize("balancer", ["AlignedMTL", "PCGrad"])
@pytest.mark.parametrize("sync", ["true", "false"])
def test_a_compiled_run_learns_as_one_that_is_not(train: Train, balancer: str, sync: str) -> None:
    options = {"device": DEVICE, "balancer": balancer, "sync": sync, "seeds": "0,1"}
    plain, compiled = (learned(train(name, compile=name, **options)) for name in ("false", "true"))
    assert len(plain) == len(compiled) > 1
    for expected, found in zip(plain, compiled, strict=True):
        assert (found["critic/task_grad_norm"] > 0.0).all()
        for name in ("critic/loss", "actor/loss", "critic/grad_norm", "critic/task_grad_norm"):
            np.testing.assert_allclose(found[name], expected[name], rtol=0.02, atol=1e-3, err_msg=name)


def test_a_stopped_run_goes_on(train: Train, cli: Callable[..., Result], tmp_path: Path) -> None:
    """As far as a GPU's rounding lets one see: the worlds, the replay and the random numbers are those of one run."""
    options = {"device": DEVICE, "balancer": "AlignedMTL", "seeds": "0,1"}
    whole = learned(train("whole", **options))
    run = train("run", total_steps=20, **options)
    assert cli("train", "--resume", run, "--total_steps", 40).code == 0
    assert checkpoints.steps(run / "checkpoints")[-1] == 40
    for expected, found in zip(whole, learned(run), strict=True):
        np.testing.assert_allclose(found["critic/loss"], expected["critic/loss"], rtol=0.02, atol=1e-3)


def test_pytorch_leaves_the_cores_to_the_simulation(train: Train) -> None:
    threads = torch.get_num_threads()
    try:
        train("run", device=DEVICE, total_steps=20)
        assert torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(threads)


def test_nan_stops_training(
    fake: Callable, cli: Callable[..., Result], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake(NanEngine)
    run = tmp_path / "run"
    assert_stopped(cli(*train_arguments(run, device=DEVICE)), run, "observation", "seed 0")
    fake(FakeEngine)
    assert cli("train", "--resume", run).code == 0
