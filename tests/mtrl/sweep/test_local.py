"""The local executor on processes of its own kind, without training."""

import os
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import pytest

from envs.cores import available_cores, list_cores
from mtrl.sweep import local
from mtrl.sweep.config import SweepConfig
from mtrl.sweep.local import LocalExecutor
from mtrl.sweep.plan import PlannedRun, make_run, methods
from tests.mtrl.sweep.conftest import BASE

KILL_ITSELF = "import os, signal; os.kill(os.getpid(), signal.SIGKILL)"


class Scripts:
    """In the place of `start`: each start of a run takes its next script."""

    def __init__(self, **scripts: list[str]) -> None:
        self.scripts = scripts
        self.most = 0
        self.processes: list[subprocess.Popen[bytes]] = []

    def __call__(
        self, run: PlannedRun, root: Path, environment: Mapping[str, str]
    ) -> subprocess.Popen[bytes]:
        self.most = max(self.most, 1 + sum(p.poll() is None for p in self.processes))
        process = subprocess.Popen([sys.executable, "-c", self.scripts[run.method].pop(0)])
        self.processes.append(process)
        return process


def train(
    root: Path, scripts: Scripts, monkeypatch: pytest.MonkeyPatch, slots: int, retries: int
) -> dict[str, str | None]:
    monkeypatch.setattr(local, "start", scripts)
    found = methods(SweepConfig(base=BASE, axes={"balancer": list(scripts.scripts)}))
    runs = [make_run(method, [0]) for method in found]
    executor = LocalExecutor(root, [{}] * slots, retries)
    for run in runs:
        executor.submit(run)
    ended: dict[str, str | None] = {}
    while len(ended) < len(runs):
        ended |= executor.poll()
        (root / "started").touch()  # as many as there are slots for
        time.sleep(0.02)
    assert executor.running() == set()
    return ended


def test_what_is_killed_is_started_again_what_fails_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scripts = Scripts(
        LS=[KILL_ITSELF, KILL_ITSELF, ""], PCGrad=["raise SystemExit(2)", ""], MGDA=[KILL_ITSELF] * 3
    )
    ended = train(tmp_path, scripts, monkeypatch, slots=2, retries=2)
    assert ended["LS-seed0"] is None
    assert ended["PCGrad-seed0"] == "no message"
    assert "killed 3 times" in str(ended["MGDA-seed0"])
    assert scripts.scripts == {"LS": [], "PCGrad": [""], "MGDA": []}


@pytest.mark.parametrize("slots", [1, 2])
def test_no_more_at_once_than_there_are_slots(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, slots: int
) -> None:
    wait = f"import os, time\nwhile not os.path.exists({str(tmp_path / 'started')!r}): time.sleep(0.01)"
    scripts = Scripts(**{name: [wait] for name in ("LS", "PCGrad", "MGDA")})
    assert set(train(tmp_path, scripts, monkeypatch, slots, retries=0).values()) == {None}
    assert scripts.most == slots


def test_a_gpu_each(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local.torch.cuda, "device_count", lambda: 2)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert local.slots(SweepConfig(), "auto") == [{"CUDA_VISIBLE_DEVICES": gpu} for gpu in "01"]
    assert len(local.slots(SweepConfig(gpus_per_run=0.5), "cuda")) == 4
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,5")
    assert local.slots(SweepConfig(), "cuda") == [{"CUDA_VISIBLE_DEVICES": gpu} for gpu in "35"]
    assert local.slots(SweepConfig(cores=4, cores_per_run=2), "cpu") == [{}, {}]
    monkeypatch.setattr(local.torch.cuda, "device_count", lambda: 0)
    with pytest.raises(ValueError, match="no GPU was found"):
        local.slots(SweepConfig(), "cuda")


def test_runs_of_several_cores_have_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local, "list_cores", lambda: [0, 1, 4, 5, 6])
    gpus = [{"CUDA_VISIBLE_DEVICES": gpu} for gpu in "01"]
    placed = local.with_cores(gpus, 2)
    assert placed == [gpus[0] | {"MTRL_CORES": "0,1"}, gpus[1] | {"MTRL_CORES": "4,5"}]
    for cores_per_run in (1, 3):  # one is not enough for what runs beside training; three are not there twice
        assert local.with_cores(gpus, cores_per_run) == gpus


@pytest.mark.skipif(available_cores() < 2, reason="needs two cores")
def test_a_run_is_kept_to_its_cores() -> None:
    core = list_cores()[1]
    code = "import os, runpy, sys; sys.argv = ['child', str(os.getppid()), '--help']"
    code += "\ntry: runpy.run_module('mtrl.cli.child', run_name='__main__')"
    code += "\nfinally: print(os.sched_getaffinity(0), 'MTRL_CORES' in os.environ)"
    environment = os.environ | {"MTRL_CORES": str(core)}
    output = subprocess.check_output([sys.executable, "-c", code], env=environment, text=True)
    assert output.splitlines()[-1] == f"{{{core}}} False"
