"""Names without imports: they are those that the imported classes have."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from mtrl.config import catalogue, lookup
from tests.mtrl.conftest import train_arguments


@pytest.mark.parametrize("kind", ["networks", "balancers"])
def test_it_says_what_the_classes_say(kind: str) -> None:
    classes = getattr(lookup, kind)()
    listed = getattr(catalogue, kind)()
    assert list(listed) == list(classes)
    for name, text in listed.items():
        assert text
        assert text == " ".join((classes[name].__doc__ or "").strip().split("\n\n")[0].split())


def modules_of(*arguments: str) -> set[str]:
    """What a process has imported after a command."""
    code = (
        "import json, sys; from mtrl.cli import main\n"
        "try: main(json.loads(sys.argv[1]))\n"
        "except SystemExit: pass\n"
        "print('\\n' + json.dumps(sorted(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, json.dumps(arguments)], capture_output=True, text=True, check=True
    )
    return set(json.loads(done.stdout.splitlines()[-1]))


@pytest.mark.parametrize(
    "arguments", [["--help"], ["list", "networks"], ["list", "balancers"], ["--version"]]
)
def test_what_only_prints_imports_neither_torch_nor_matplotlib(arguments: list[str]) -> None:
    assert not modules_of(*arguments) & {"torch", "matplotlib", "mujoco", "jsonargparse", "tensorboard"}


def test_training_imports_neither_matplotlib_nor_the_compiler(tmp_path: Path) -> None:
    options = {
        "engine": "batched",
        "protocol": "paper",
        "total_steps": 4,
        "random_steps": 2,
        "evaluation__interval": 100,
    }
    options |= {"evaluation__episodes": 1, "log_interval": 2}
    arguments = train_arguments(tmp_path / "run", benchmark="MT1:reach", **options)
    modules = modules_of(*arguments)
    assert (tmp_path / "run" / "metrics.jsonl").is_file()
    assert "torch" in modules
    assert not modules & {"matplotlib", "torch._dynamo"}
