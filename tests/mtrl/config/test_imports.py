"""Nothing of a run that somebody sent is imported, and what a user names is looked at before it is called."""

import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from mtrl.config import imports
from mtrl.config.loading import train_parser
from mtrl.config.lookup import users_modules
from tests.mtrl.cli.test_cli import assert_refused, run_process
from tests.mtrl.conftest import Result, train_arguments

Cli = Callable[..., Result]

EVIL = """
from pathlib import Path
Path({marker!r}).touch()
from mtrl.balancers import LS
class Evil(LS):
    def __init__(self, inner: LS | None = None, function: object = None) -> None:
        super().__init__()
        Path({marker!r}).touch()
"""
NETWORK = """
from dataclasses import dataclass
from agents.networks import Shared
@dataclass(frozen=True)
class Own(Shared):
    pass
"""


@pytest.fixture
def got(finished: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A run that somebody sent, in the working directory, with code in it that leaves a mark."""
    monkeypatch.chdir(finished.parent)
    monkeypatch.setattr(imports, "_allowed", set(imports._allowed))
    run = finished.rename("got")
    for path in (run / "evil.py", run / "checkpoints" / "evil.py", run / "__init__.py"):
        path.write_text(EVIL.format(marker=str(finished.parent / "marker")))
    before = set(sys.modules), list(sys.path)
    yield run
    for name in set(sys.modules) - before[0]:
        if name.partition(".")[0] in ("got", "evil", "friendly", "checkpoints"):
            del sys.modules[name]
    sys.path[:] = before[1]


def edit(run: Path, **options: Any) -> None:
    path = run / "config.yaml"
    path.write_text(yaml.safe_dump(yaml.safe_load(path.read_text()) | options))


def command_lines(run: Path) -> list[list[str]]:
    return [
        ["evaluate", str(run), "--episodes", "1", "--engine", "reference"],
        ["train", "--resume", str(run)],
        ["train", "--config", str(run / "config.yaml"), "--run_dir", "new"],
        ["report", str(run)],
    ]


def own(env: str, **kwargs: Any) -> dict[str, Any]:
    return {"name": "own", "horizon": 5, "tasks": [{"name": "a", "env": env, "kwargs": kwargs}]}


CLASSES: dict[str, dict[str, Any]] = {
    "in the run": {"balancer": {"class_path": "got.evil.Evil"}},
    "as a string": {"balancer": "got.evil.Evil"},
    "beside the checkpoints": {"balancer": {"class_path": "got.checkpoints.evil.Evil"}},
    "of the working directory": {"balancer": {"class_path": "evil.Evil"}},
    "network": {"network": {"class_path": "got.evil.Evil"}},
    "network of the working directory": {"network": "evil.Evil"},
    "in an option of a class": {
        "balancer": {"class_path": "AlignedMTL", "init_args": {"preference": {"class_path": "evil.Evil"}}}
    },
    "in an option of the agent": {"agent": {"gamma": {"class_path": "evil.Evil"}}},
    "through a module of the toolkit": {"balancer": {"class_path": "mtrl.balancers.importlib.evil.Evil"}},
    "function": {"balancer": {"class_path": "subprocess.getoutput", "init_args": {"cmd": "touch marker"}}},
    "function of the toolkit": {"balancer": {"class_path": "mtrl.balancers.available"}},
    "installed module that acts": {"balancer": {"class_path": "antigravity.webbrowser"}},
    "name with a path": {"balancer": {"class_path": "got/evil.Evil"}},
    "environment": {"benchmark": own("evil:Evil")},
    "environment in the run": {"benchmark": own("got.evil:Evil")},
    "environment that a module registers": {"benchmark": own("evil:Pendulum-v1")},
    "environment of an installed module that acts": {"benchmark": own("antigravity:webbrowser")},
    "function as an environment": {"benchmark": own("subprocess:getoutput", cmd="touch marker")},
    "class as an environment": {"benchmark": own("subprocess:Popen", args=["touch", "marker"])},
    "dict of arguments": {"balancer": {"class_path": "got.evil.Evil", "dict_kwargs": {"a": 1}}},
}


@pytest.mark.parametrize("inside", [False, True])
@pytest.mark.parametrize("case", CLASSES)
def test_nothing_of_a_run_is_imported(
    got: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch, case: str, inside: bool
) -> None:
    """From beside the run, and from within it; evaluating without its balancer may succeed."""
    edit(got, **CLASSES[case])
    marker = got.absolute().parent / "marker"
    if inside:
        monkeypatch.chdir(got)
    for arguments in command_lines(Path() if inside else got):
        modules = set(sys.modules)
        result = cli(*arguments)
        assert not marker.exists(), arguments
        assert not {"evil", "got", "got.evil", "antigravity"} & (set(sys.modules) - modules), arguments
        if arguments[0] == "train":
            assert_refused(result)


def test_the_sentence_says_what_to_do(got: Path, cli: Cli) -> None:
    edit(got, network={"class_path": "friendly.Own"}, balancer={"class_path": "friendly.Own"})
    assert_refused(cli("evaluate", got), "network 'friendly.Own'", "--allow_import friendly")
    assert_refused(cli("train", "--resume", got), "'friendly.Own'", "--allow_import friendly")


def test_a_runs_directory_is_no_place_for_code_that_is_allowed(
    got: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    edit(got, balancer={"class_path": "got.evil.Evil"})
    result = cli("train", "--resume", got, "--allow_import", "got.evil")
    assert_refused(result, "'got.evil'", "in the run directory")
    edit(got, balancer={"class_path": "evil.Evil"})
    marker = Path("marker").absolute()
    monkeypatch.chdir(got)
    assert_refused(cli("train", "--allow_import=evil", "--resume", "."), "No module named 'evil'")
    monkeypatch.syspath_prepend(Path.cwd())
    assert_refused(cli("train", "--allow_import=evil", "--resume", "."), "in the run directory")
    edit(Path.cwd(), balancer={"class_path": "zipimport.zipimporter"})  # of Python itself, which is nowhere
    assert_refused(cli("train", "--allow_import=zipimport", "--resume", "."), "zipimport.zipimporter")
    assert "run directory" not in cli("train", "--allow_import=zipimport", "--resume", ".").err
    assert not marker.exists()


@pytest.mark.parametrize("above", [0, 1, 2])
def test_a_toolkit_below_what_looks_like_a_run(
    finished: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch, above: int
) -> None:
    """Somebody may put a checkout beside a configuration and a stamp: its classes are the toolkit's still."""
    looks = Path(imports.__file__).parents[above + 2]
    is_run_directory = imports.is_run_directory
    monkeypatch.setattr(imports, "is_run_directory", lambda path: path == looks or is_run_directory(path))
    assert cli("evaluate", finished, "--episodes", 1, "--engine", "reference").code == 0


def test_an_allowed_class_is_trained_resumed_and_evaluated(got: Path, cli: Cli) -> None:
    """By a file that names it; the word may stand before or after it."""
    Path("friendly.py").write_text(NETWORK)
    Path("c.yaml").write_text("network: {class_path: friendly.Own, init_args: {width: 8, depth: 1}}")
    arguments = train_arguments(
        Path("new"),
        network=None,
        network__width=None,
        network__depth=None,
        network__head_width=None,
        config="c.yaml",
    )
    assert_refused(cli(*arguments), "--allow_import friendly")
    assert cli(*arguments, "--allow_import", "friendly").code == 0
    assert cli("train", "--resume", "new", "--allow_import", "friendly").code == 0
    assert (
        cli("evaluate", "--allow_import=friendly", "new", "--episodes", 1, "--engine", "reference").code == 0
    )


def test_a_class_of_the_command_line_needs_no_other_word(got: Path, cli: Cli) -> None:
    Path("friendly.py").write_text(NETWORK)
    for value in ("friendly.Own", '{class_path: friendly.Own, init_args: {task_id: "true"}}'):
        run = f"run_{len(value)}"
        options = {"network": value, "network__width": 8, "network__depth": 1, "network__head_width": None}
        result = cli(*train_arguments(Path(run), **options))
        assert result.code == 0, result.err
        config = yaml.safe_load((Path(run) / "config.yaml").read_text())
        assert config["network"]["class_path"] == "friendly.Own"
        assert users_modules(config) == ["friendly"]


def test_evaluating_needs_no_balancer(
    fake: object, cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(imports, "_allowed", set(imports._allowed))
    Path("gone.py").write_text("from mtrl.balancers import LS\nclass Own(LS):\n    pass")
    assert cli(*train_arguments(Path("run"), balancer="gone.Own")).code == 0
    monkeypatch.delitem(sys.modules, "gone")
    Path("gone.py").unlink()
    assert cli("evaluate", "run", "--episodes", 1, "--engine", "reference").code == 0
    assert_refused(cli("train", "--resume", "run", "--allow_import", "gone"), "No module named 'gone'")


@pytest.mark.parametrize("commands", ["one", pytest.param("all", marks=pytest.mark.slow)])
def test_no_process_imports_from_a_run(tmp_path: Path, cli: Cli, commands: str) -> None:
    """In the run's directory, with a file of the name of every module that any process might look for there."""
    marker, run = tmp_path / "marker", tmp_path / "got"
    options = {"benchmark": "MT1:reach", "protocol": "paper", "total_steps": 4, "evaluation__episodes": 1}
    arguments = train_arguments(run, **options, engine="batched", num_workers=1, checkpoint__interval=2)
    assert cli(*arguments).code == 0
    shutil.rmtree(run / "checkpoints" / "step_0000000004")  # so that there is something to go on with
    packages = {"tensorflow", "moviepy", "ray", "triton", "torch", "numpy", "mtrl", "agents", "sitecustomize"}
    for name in {*sys.stdlib_module_names, *packages}:
        (run / f"{name}.py").write_text(f"from pathlib import Path\nPath({str(marker)!r}).touch()")
    for command, code in [
        (["train", "--resume", "."], 0),
        (["evaluate", ".", "--episodes", "1", "--video", "clips"], None),  # rendering is not everywhere
        (["train", "--config", "config.yaml", "--run_dir", "../new"], 0),
        (["evaluate", ".", "--episodes", "1"], 0),
        (["report", "."], 0),
        (["sweep", "config.yaml"], 2),
        (["list", "networks"], 0),
    ][: 1 if commands == "one" else None]:
        result = run_process(*command, cwd=run)
        assert code is None or result.returncode == code, result.stderr
        assert not marker.exists(), command


HOSTILE_DEVICES: dict[str, Any] = {
    "class of the run": {"devices": "cpu", "sweep": {"base": {"balancer": "got.evil.Evil"}}},
    "network of the working directory": {"devices": "cpu", "sweep": {"base": {"network": "evil.Evil"}}},
    "axes": {"devices": "cpu", "sweep": {"axes": {"balancer": ["evil.Evil", "got.evil.Evil"]}}},
    "a file": {"devices": "cpu", "sweep": {"base": "config.yaml"}},
    "Ray": {"devices": "cpu", "sweep": {"executor": "ray", "address": "10.0.0.1:6379"}},
    "unknown option": {"devices": "cpu", "sweep": {"command": "touch marker"}},
    "wrong values": {"devices": "cpu", "sweep": {"seeds": "all", "cores_per_run": "many"}},
    "wrong types": {"devices": ["cpu"], "sweep": [1, 2]},
    "no mapping": ["cpu"],
    "nothing": None,
}


@pytest.mark.parametrize("case", HOSTILE_DEVICES)
def test_a_run_on_several_devices_that_somebody_sent(got: Path, cli: Cli, case: str) -> None:
    (got / "devices.yaml").write_text(yaml.safe_dump(HOSTILE_DEVICES[case]))
    edit(got, balancer={"class_path": "got.evil.Evil"})
    assert_refused(cli("train", "--resume", got))
    assert not Path("marker").exists()


def test_a_sweep_constructs_no_class_that_its_file_alone_names(got: Path, cli: Cli) -> None:
    """And its processes may import what the sweep may."""
    base = {
        "benchmark": "MT1:reach",
        "total_steps": 2,
        "random_steps": 1,
        "batch_size": 1,
        "buffer_size": 4,
        "network": {"class_path": "friendly.Own", "init_args": {"width": 8, "depth": 1}},
        "balancer": None,
        "evaluation": {"interval": 2, "episodes": 1},
        "device": "cpu",
    }
    Path("sweep.yaml").write_text(yaml.safe_dump({"base": base, "sweep_dir": "swept"}))
    Path("friendly.py").write_text(NETWORK)
    assert_refused(cli("sweep", "sweep.yaml"), "--allow_import friendly")
    assert not Path("swept").exists()
    result = cli("sweep", "sweep.yaml", "--seeds_per_run", 1, "--allow_import", "friendly")
    assert result.code == 0, result.err


# ------------------------------------------------------------------------------------------------ named by the user


@pytest.mark.parametrize(
    "name",
    [
        "os.system",
        "subprocess.Popen",
        "1.2.3",
        "builtins.print",
        "mtrl.balancers.available",
        "mtrl.balancers.Balancer",
        "agents.networks.Shared",
        "no_module.Mine",
        "mtrl.balancers.ls.Missing",
        "a..b",
        ".Mine",
        "Mine.",
        "sys.exit",
        "os.environ",
    ],
)
@pytest.mark.parametrize(
    "command",
    [
        ["toy", "--steps", "1", "--balancer"],
        ["benchmark", "balancers", "--balancer"],
        ["benchmark", "learner", "--device", "cpu", "--updates", "1", "--balancer"],
        ["train", "--balancer"],
        ["train", "--balancer.class_path"],
        ["train", "--balancer.help"],
    ],
)
def test_what_is_no_balancer_is_not_called(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: list[str], name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(subprocess, "Popen", lambda *_, **__: pytest.fail("called"))
    assert_refused(cli(*command, name), name.strip(".").partition(".")[0])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "code", ["1 / 0", "import sys; sys.exit(3)", "this is no Python", "raise KeyError('a')"]
)
def test_a_module_that_cannot_be_imported(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: str
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    Path("broken.py").write_text(code)
    assert_refused(cli("toy", "--balancer", "broken.Mine"), "'broken'", "cannot be imported")
    assert "broken" not in sys.modules


def test_the_help_tells_of_it() -> None:
    assert "--allow_import MODULE" in train_parser().format_help()


@pytest.mark.parametrize("command", ["train", "evaluate", "export", "sweep"])
def test_every_command_that_constructs_classes_takes_what_the_sentence_advises(
    cli: Cli, tmp_path: Path, command: str
) -> None:
    places = "is installed, in PYTHONPATH, or in the working directory"
    assert_refused(
        cli(command, tmp_path / "none", "--allow_import", "no_such_module"), "No module named", places
    )
