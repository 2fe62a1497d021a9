"""Sweeps of real runs, killed and resumed: the result is that of an undisturbed one."""

import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from mtrl.cli import main
from mtrl.system.lock import locked
from tests.mtrl.cli.test_cli import assert_refused
from tests.mtrl.conftest import Result
from tests.mtrl.sweep.conftest import BASE, LONG, OnFirstCheckpoint, training_processes

Write = Callable[..., Path]
Cli = Callable[..., Result]


EDITS = [
    ("config.yaml", "seeds", "seeds:\n- 0\n- 1", "seeds:\n- 0\n- 7"),
    ("config.yaml", "agent.gamma", "gamma: 0.99", "gamma: 0.5"),
    ("stamp.json", "protocol.horizon", '"horizon": 500', '"horizon": 250'),
]

#: What is done to a collected run, and what is said of it.
DAMAGES: dict[str, tuple[Callable[[Path], Any], str]] = {
    "no configuration": (lambda run: (run / "config.yaml").unlink(), "its files cannot be read"),
    "no lines": (lambda run: (run / "metrics.jsonl").write_text(""), "not trained to the end"),
    "no metrics": (lambda run: (run / "metrics.jsonl").unlink(), "not trained to the end"),
    "lost lines": (lambda run: cut(run / "metrics.jsonl"), "not trained to the end"),
    "a link to nowhere": (
        lambda run: (shutil.rmtree(run), run.symlink_to("nowhere")),
        "its files cannot be read",
    ),
    "nothing": (lambda run: [path.unlink() for path in run.glob("*.*")], "its files cannot be read"),
}


def cut(path: Path) -> None:
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:-2]))


def snapshot(root: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in root.rglob("*") if path.is_file()}


def kill_one(root: Path) -> None:
    """Kills the process of a run that has a checkpoint beyond step 0."""
    name = next(root.glob("runs/*/checkpoints/step_*[1-9]*")).parts[-3]
    (process,) = (p for p in training_processes(root) if any(name in word for word in p.cmdline()))
    process.send_signal(signal.SIGKILL)


def times_trained(root: Path) -> dict[str, int]:
    """How often each run was trained to its end."""
    return {p.stem: p.read_text().count("Trained from step") for p in (root / "logs").iterdir()}


def was_resumed(root: Path, name: str) -> bool:
    """Whether a run went on from a checkpoint, once."""
    commands = [
        line for line in (root / "logs" / f"{name}.log").read_text().splitlines() if line.startswith("$ ")
    ]
    return [command.split()[3] for command in commands] == ["--config", "--resume"]


def assert_undisturbed(root: Path, name: str, reference: Path) -> None:
    """A run has the very metrics and the very last checkpoint of `mtrl train` with its configuration."""
    run = root / "runs" / name
    assert main(["train", "--config", str(run / "config.yaml"), "--run_dir", str(reference)]) == 0
    last = Path("checkpoints") / max(path.name for path in (run / "checkpoints").glob("step_*"))
    files = [Path("metrics.jsonl"), *(path.relative_to(run) for path in (run / last).iterdir())]
    assert last / "agent.safetensors" in files
    for file in files:
        assert (run / file).read_bytes() == (reference / file).read_bytes(), file


def test_killed_once_called_twice_and_changed(write_sweep: Write, cli: Cli, tmp_path: Path) -> None:
    root = tmp_path / "sweep"
    sweep = write_sweep(axes={}, seeds_per_run=2)
    killer = OnFirstCheckpoint(root, lambda: kill_one(root))
    result = cli("sweep", sweep)
    assert result.code == 0, result.err
    assert "run-seed0-1: finished, step 400" in result.err
    assert "mean ± SEM" in " ".join(result.out.split())
    assert killer.done
    assert was_resumed(root, "run-seed0-1")
    assert times_trained(root) == {"run-seed0-1": 1}
    assert_undisturbed(root, "run-seed0-1", tmp_path / "reference")

    before = snapshot(root)
    result = cli("sweep", sweep)
    assert result.code == 0
    assert "finished: nothing was trained" in result.err
    with locked(root / "runs"):  # as another call does while it trains
        assert_refused(cli("sweep", sweep), "Another process is training in", str(root))
        assert "1 of them finished" in cli("sweep", sweep, "--dry_run").out
    changed = write_sweep(axes={}, seeds_per_run=2, base=BASE | {"batch_size": 9})
    assert_refused(cli("sweep", changed), "run-seed0-1 is finished with another configuration", "sweep_dir")
    assert snapshot(root) == before

    for file, name, old, new in EDITS:
        path = root / "runs" / "run-seed0-1" / file
        whole = path.read_text()
        path.write_text(whole.replace(old, new))
        for options in ([], ["--dry_run"]):
            assert_refused(cli("sweep", sweep, *options), "run-seed0-1 disagree", f"{name} is")
        path.write_text(whole)


def test_finished_runs_travel_as_small_files(write_sweep: Write, cli: Cli, tmp_path: Path) -> None:
    """Another machine has their results only: nothing is trained again, and the report is the same."""
    results = tmp_path / "results"
    options = {"axes": {}, "seeds_per_run": 2, "evaluate": {"engine": "reference", "episodes": 2}}
    first = cli("sweep", write_sweep(**options, collect="results"))
    assert first.code == 0, first.err
    assert "by mtrl evaluate" in " ".join(first.out.split())
    run = results / "runs" / "run-seed0-1"
    (evaluation,) = (run / "evaluation").iterdir()
    assert {path.relative_to(run).as_posix() for path in run.rglob("*") if path.is_file()} == {
        "config.yaml", "stamp.json", "metrics.jsonl", "timing.jsonl", f"evaluation/{evaluation.name}",
    }  # fmt: skip
    before = snapshot(results)
    elsewhere = write_sweep(**options, collect="results", sweep_dir=str(tmp_path / "elsewhere"))
    assert "1 runs, 1 of them finished" in cli("sweep", elsewhere, "--dry_run").out
    second = cli("sweep", elsewhere)
    assert second.code == 0, second.err
    assert "nothing was trained" in second.err
    report = [tmp_path / name / "report" / "methods.csv" for name in ("sweep", "elsewhere")]
    assert report[0].read_text() == report[1].read_text()
    assert snapshot(results) == before
    for file, name, old, new in EDITS[:2]:
        whole = (run / file).read_text()
        (run / file).write_text(whole.replace(old, new))
        fourth = write_sweep(**options, collect="results", sweep_dir=str(tmp_path / "fourth"))
        assert_refused(cli("sweep", fourth, "--dry_run"), "run-seed0-1 disagree", f"{name} is")
        assert not (tmp_path / "fourth").exists()
        (run / file).write_text(whole)
    again = write_sweep(**options, collect="results", sweep_dir=str(tmp_path / "again"))
    for name, (damage, words) in DAMAGES.items():
        kept = shutil.copytree(results, tmp_path / name)
        damage(run)
        for arguments in ([], ["--dry_run"]):
            assert_refused(cli("sweep", again, *arguments), f"The collected run {run}", words, "or delete it")
        run.unlink() if run.is_symlink() else shutil.rmtree(run)  # as it says
        shutil.rmtree(tmp_path / "again" / "runs", ignore_errors=True)
        assert "run-seed0-1 │ new" in cli("sweep", again, "--dry_run").out
        shutil.rmtree(tmp_path / "again", ignore_errors=True)
        shutil.rmtree(results)
        shutil.move(kept, results)
    evaluation.unlink()
    third = write_sweep(**options, collect="results", sweep_dir=str(tmp_path / "third"))
    assert_refused(cli("sweep", third), "its last checkpoint was not evaluated", "checkpoints are gone")


def test_a_run_that_cannot_be_trained(write_sweep: Write, cli: Cli, tmp_path: Path) -> None:
    sweep = write_sweep(axes={"balancer": ["DWA"]}, seeds_per_run=2)
    result = cli("sweep", sweep)
    assert result.code == 1
    assert "the run DWA-seed0-1 failed" in result.err
    assert "positive losses" in result.err


@pytest.mark.slow
@pytest.mark.parametrize("executor", ["local", "ray"])
def test_several_runs_with_one_killed(write_sweep: Write, cli: Cli, tmp_path: Path, executor: str) -> None:
    pytest.importorskip("ray")
    root = tmp_path / "sweep"
    sweep = write_sweep(executor=executor, cores=2, seeds_per_run=1)
    killer = OnFirstCheckpoint(root, lambda: kill_one(root))
    result = cli("sweep", sweep)
    assert result.code == 0, result.err
    assert killer.done
    names = ["LS-seed0", "LS-seed1", "none-seed0", "none-seed1"]
    assert times_trained(root) == dict.fromkeys(names, 1)
    assert sum(was_resumed(root, name) for name in names) == 1
    for name in names:
        assert_undisturbed(root, name, tmp_path / name)
    before = snapshot(root)
    assert cli("sweep", sweep).code == 0
    assert snapshot(root) == before


@pytest.mark.slow
@pytest.mark.parametrize(
    ("executor", "number"),
    [("local", signal.SIGINT), ("local", signal.SIGTERM), ("ray", signal.SIGINT), ("ray", signal.SIGTERM)],
)
def test_interrupted(
    write_sweep: Write, cli: Cli, tmp_path: Path, executor: str, number: signal.Signals
) -> None:
    """What was asked to stop leaves no process behind, and the next call goes on."""
    root = tmp_path / "sweep"
    if executor == "ray":
        pytest.importorskip("ray")
    sweep = write_sweep(base=LONG, axes={}, seeds_per_run=2, executor=executor, cores=1)
    process = subprocess.Popen(
        [sys.executable, "-m", "mtrl", "sweep", str(sweep)], stderr=subprocess.PIPE, text=True
    )
    OnFirstCheckpoint(root, lambda: process.send_signal(number)).join(timeout=600)
    _, err = process.communicate(timeout=300)
    assert process.returncode == 128 + number
    assert f"Stopped by {number.name}: the same command goes on" in err
    assert training_processes(root) == []
    # The run was asked to stop, and not killed: it wrote a checkpoint.
    assert "with a checkpoint: go on by" in (root / "logs" / "run-seed0-1.log").read_text()
    assert cli("sweep", sweep).code == 0
    assert was_resumed(root, "run-seed0-1")
    assert_undisturbed(root, "run-seed0-1", tmp_path / "reference")


@pytest.mark.slow
@pytest.mark.parametrize("executor", ["local", "ray"])
def test_runs_end_with_the_sweep(write_sweep: Write, cli: Cli, tmp_path: Path, executor: str) -> None:
    """Even if that is killed without a chance to stop them; the next call goes on."""
    root = tmp_path / "sweep"
    if executor == "ray":
        pytest.importorskip("ray")
    sweep = write_sweep(base=LONG, axes={}, seeds_per_run=2, executor=executor, cores=1)
    process = subprocess.Popen([sys.executable, "-m", "mtrl", "sweep", str(sweep)])
    OnFirstCheckpoint(root, process.kill).join(timeout=600)
    process.wait()
    deadline = time.monotonic() + 300
    while training_processes(root) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert training_processes(root) == []
    assert cli("sweep", sweep).code == 0
    assert was_resumed(root, "run-seed0-1")
    assert_undisturbed(root, "run-seed0-1", tmp_path / "reference")


@contextmanager
def two_nodes() -> Iterator[tuple[Any, Any]]:
    """A Ray cluster of two nodes with a core each, and the one that may be removed."""
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    try:
        node = cluster.add_node(num_cpus=1)
        cluster.wait_for_nodes()
        yield cluster, node
    finally:
        cluster.shutdown()


@pytest.mark.slow
@pytest.mark.parametrize("stored", [False, True])
def test_a_node_is_lost(write_sweep: Write, cli: Cli, tmp_path: Path, stored: bool) -> None:
    """Eight runs on two nodes: all finish, none twice, those of the lost node go on from their checkpoint."""
    pytest.importorskip("ray")
    root = tmp_path / "sweep"
    options = {"storage": f"file://{tmp_path}/storage"} if stored else {}
    seeds = [0] if stored else [0, 1, 2, 3]
    with two_nodes() as (cluster, node):
        sweep = write_sweep(executor="ray", address=cluster.address, seeds=seeds, seeds_per_run=1, **options)
        watched = tmp_path / "storage" if stored else root
        remover = OnFirstCheckpoint(watched, lambda: cluster.remove_node(node, allow_graceful=False), runs=2)
        result = cli("sweep", sweep)
    assert result.code == 0, result.err
    assert remover.done
    names = [f"{method}-seed{seed}" for method in ("LS", "none") for seed in seeds]
    assert times_trained(root) == dict.fromkeys(names, 1)
    resumed = [name for name in names if was_resumed(root, name)]
    assert len(resumed) == 1
    for name in names if stored else {*resumed, names[-1]}:
        assert_undisturbed(root, name, tmp_path / name)
    assert training_processes(root) == []


@pytest.mark.slow
def test_the_plan(write_sweep: Write, cli: Cli, tmp_path: Path) -> None:
    sweep = write_sweep(seeds=[0, 1, 2, 3], cores=2)
    result = cli("sweep", sweep, "--estimate")
    assert result.code == 0
    for words in ("none-seed0-3", "LS-seed0-3", "new", "2 runs, 2 at once"):
        assert words in result.out
    assert not (tmp_path / "sweep").exists()
