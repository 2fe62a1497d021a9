"""What Ray's nodes are asked for, and what is refused before Ray is started."""

import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from mtrl.sweep.config import SweepConfig
from mtrl.sweep.plan import make_run, methods
from mtrl.sweep.state import is_finished
from tests.mtrl.cli.test_cli import assert_refused
from tests.mtrl.conftest import Result
from tests.mtrl.sweep.conftest import LONG

Write = Callable[..., Path]
Cli = Callable[..., Result]


@pytest.mark.parametrize(
    ("resources", "cores", "gpus", "expected"),
    [
        ({"CPU": 8.0}, 3, 0.0, 2),
        ({"CPU": 2.0}, 3, 0.0, 0),
        ({}, 1, 0.0, 0),
        ({"CPU": 64.0, "GPU": 4.0}, 8, 1.0, 4),
        ({"CPU": 64.0, "GPU": 4.0}, 8, 0.5, 8),
        ({"CPU": 64.0, "GPU": 4.0}, 32, 0.5, 2),
        ({"CPU": 64.0, "GPU": 2.0}, 1, 0.1, 20),
        ({"CPU": 64.0, "GPU": 2.0}, 1, 0.3, 6),  # no run is spread over two GPUs
        ({"CPU": 64.0}, 8, 1.0, 0),
    ],
)
def test_runs_of_a_node(resources: dict[str, float], cores: int, gpus: float, expected: int) -> None:
    pytest.importorskip("ray")
    from mtrl.sweep.cluster import runs_at_once

    assert runs_at_once(resources, cores, gpus) == expected


def test_unreachable_clusters(write_sweep: Write, cli: Cli, tmp_path: Path) -> None:
    pytest.importorskip("ray")
    sweep = write_sweep()
    result = cli("sweep", sweep, "--executor", "ray", "--address", "127.0.0.1:1")
    assert_refused(result, "127.0.0.1:1 cannot be reached", "ray start")
    assert_refused(cli("sweep", sweep, "--executor", "ray", "--address", "here"), "HOST:PORT", "'here'")
    assert [path.name for path in tmp_path.iterdir()] == ["sweep.yaml"]


def test_unknown_storage(write_sweep: Write, cli: Cli, tmp_path: Path) -> None:
    pytest.importorskip("ray")
    result = cli("sweep", write_sweep(executor="ray", storage="nonsense://bucket/sweep"))
    assert_refused(result, "nonsense://bucket/sweep cannot be opened", "nonsense")
    assert [path.name for path in tmp_path.iterdir()] == ["sweep.yaml"]


@pytest.mark.parametrize("package", ["ray", "fsspec"])
def test_without_the_extra(
    write_sweep: Write, cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, package: str
) -> None:
    for name in ("mtrl.sweep.cluster", "mtrl.sweep.storage"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.setitem(sys.modules, package, None)  # importing it fails
    assert_refused(cli("sweep", write_sweep(executor="ray")), "mtrl-toolkit[ray]")
    assert [path.name for path in tmp_path.iterdir()] == ["sweep.yaml"]


@pytest.mark.slow
def test_two_runs_share_a_gpu(tmp_path: Path) -> None:
    """Ray places them by what a node says it has; here it says a GPU, and they train on the CPU."""
    pytest.importorskip("ray")
    from ray.cluster_utils import Cluster

    from mtrl.sweep.cluster import RayExecutor

    cluster = Cluster(
        initialize_head=True, head_node_args={"num_cpus": 4, "num_gpus": 1, "include_dashboard": False}
    )
    config = SweepConfig(
        base=LONG,
        axes={"balancer": ["LS", None]},
        executor="ray",
        address=cluster.address,
        gpus_per_run=0.5,
        sweep_dir=str(tmp_path),
    )
    try:
        executor = RayExecutor(config, "auto")
        assert executor.slots == 2
        assert 2**20 < executor.memory() < 2**50
        runs = [make_run(method, [0]) for method in methods(config)]
        for run in runs:
            executor.submit(run)
        ended: dict[str, str | None] = {}
        together = 0
        while len(ended) < len(runs):
            ended |= executor.poll()
            together = max(together, len(executor.running()))
            time.sleep(0.1)
        executor.close()
    finally:
        cluster.shutdown()
    assert ended == {run.name: None for run in runs}
    assert together == 2
    assert all(is_finished(run, tmp_path) for run in runs)
