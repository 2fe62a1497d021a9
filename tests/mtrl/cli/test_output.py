"""Output where a terminal or file is not UTF-8, and where nobody reads it: no traceback, and files are UTF-8."""

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
NAME = "läuft ± 日本"
ENVIRONMENTS = [
    {"PYTHONIOENCODING": "ascii"},
    {"PYTHONIOENCODING": "latin-1"},
    {"LC_ALL": "C"},
    {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "PYTHONIOENCODING": "utf-8"},
]
TRAIN = [
    "--benchmark", "MT1:reach", "--network", "shared", "--network.width", "8", "--balancer", "none",
    "--total_steps", "20", "--random_steps", "10", "--batch_size", "4", "--buffer_size", "30", "--seeds", "0",
    "--evaluation.episodes", "1", "--device", "cpu", "--num_workers", "0",
]  # fmt: skip


def mtrl(*arguments: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [sys.executable, "-m", "mtrl", *arguments],
        check=False,
        capture_output=True,
        env=os.environ | {"PYTHONPATH": str(ROOT)} | environment,
        cwd=cwd,
    )


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with a run of that name, trained where nothing is UTF-8 unless it is said."""
    directory = tmp_path_factory.mktemp("runs")
    (directory / "c.yaml").write_bytes(f"run_dir: '{NAME}'".encode())
    result = mtrl("train", "--config", "c.yaml", *TRAIN, cwd=directory, **ENVIRONMENTS[0])
    assert result.returncode == 0, result.stderr
    assert b"l\\xe4uft +- \\u65e5\\u672c" in result.stderr
    return directory


def test_files_are_utf_8(runs: Path) -> None:
    assert f"run_dir: {NAME}" in (runs / NAME / "config.yaml").read_bytes().decode()


@pytest.mark.parametrize(
    "environment",
    [
        ENVIRONMENTS[0],
        *(pytest.param(e, marks=pytest.mark.slow) for e in ENVIRONMENTS[1:-1]),
        ENVIRONMENTS[-1],
    ],
)
def test_a_report(runs: Path, tmp_path: Path, environment: Mapping[str, str]) -> None:
    by_pattern = next(path.name for path in runs.iterdir() if path.is_dir())
    result = mtrl("report", by_pattern, "--output", str(tmp_path / "out"), cwd=runs, **environment)
    if "PYTHONUTF8" in environment:  # a name that such a system has no characters for
        assert result.returncode == 2
        assert result.stderr.count(b"\n") == 1
        assert b"must be UTF-8 text" in result.stderr
        return
    assert result.returncode == 0, result.stderr
    assert b"Traceback" not in result.stderr
    result.stdout.decode(environment.get("PYTHONIOENCODING", "utf-8"))
    assert NAME in (tmp_path / "out" / "report.md").read_bytes().decode()


def test_files_are_utf_8_in_any_locale(tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_bytes("init_from: 'nicht da ± 日本'".encode())
    result = mtrl("train", "--config", "c.yaml", *TRAIN, cwd=tmp_path, **ENVIRONMENTS[-1])
    assert result.returncode == 2
    assert result.stderr.decode().startswith("mtrl: nicht da ± 日本 is no run directory")


@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize(
    "arguments",
    [["list", "balancers"], ["--help"], pytest.param(["train", "--help"], marks=pytest.mark.slow)],
)
def test_nobody_reads(arguments: list[str], unbuffered: str) -> None:
    read, write = os.pipe()
    os.close(read)
    result = subprocess.run(
        [sys.executable, "-m", "mtrl", *arguments],
        check=False,
        stdout=write,
        stderr=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": unbuffered},
    )
    os.close(write)
    assert result.stderr == b""
    assert result.returncode in (0, 1)


@pytest.mark.parametrize("closed", [1, 2])
def test_a_stream_is_closed(closed: int) -> None:
    """As that of a daemon."""
    result = subprocess.run(
        ["sh", "-c", f'exec "$0" -m mtrl list balancers {closed}>&-', sys.executable],
        check=False,
        capture_output=True,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    assert (result.returncode, result.stderr) == (0, b"")
    assert (b"AlignedMTL" in result.stdout) == (closed == 2)


def test_a_table_that_nobody_reads(runs: Path) -> None:
    read, write = os.pipe()
    os.close(read)
    result = subprocess.run(
        [sys.executable, "-m", "mtrl", "report", NAME],
        check=False,
        stdout=write,
        stderr=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        cwd=runs,
    )
    os.close(write)
    assert b"Traceback" not in result.stderr
    assert b"pipe" not in result.stderr
    assert result.returncode in (0, 1)


def test_figures_need_no_backend_of_the_users(tmp_path: Path) -> None:
    result = mtrl("toy", "--balancer", "LS", "--steps", "2", cwd=tmp_path, MPLBACKEND="not_here")
    assert result.returncode == 0, result.stderr
    assert (tmp_path / "toy" / "0.5" / "LS.png").is_file()
