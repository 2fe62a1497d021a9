"""The example of docs/architectures.md, as a user would use it."""

import dataclasses
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
import yaml

from agents.config import SACConfig
from agents.sac import SAC, Batch
from mtrl.cli import main
from mtrl.config.loading import configure
from mtrl.config.lookup import networks

DOCS = Path(__file__).parents[2] / "docs" / "architectures.md"
OPTIONS = ["--network", "my_module.MyNetwork", "--network.width", "8", "--balancer", "AlignedMTL"]


@pytest.fixture
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A working directory that holds the file of the example."""
    (example,) = re.findall(r"```python\n# my_module.py\n(.*?)```", DOCS.read_text(), re.DOTALL)
    (tmp_path / "my_module.py").write_text(example)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [p for p in sys.path if p])
    monkeypatch.delitem(sys.modules, "my_module", raising=False)  # another test's
    yield tmp_path
    sys.modules.pop("my_module", None)


def test_it_is_selected_by_its_import_path_and_trains(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(directory)
    config, _ = configure([*OPTIONS, "--benchmark", "MT3", "--device", "cpu"])
    assert type(config.network).__name__ == "MyNetwork"
    sac = SAC(
        config.network,
        SACConfig(),
        observation_size=5,
        action_size=2,
        num_tasks=3,
        seeds=[0, 1],
        critic_balancer=config.balancer,
        actor_balancer=config.balancer,
    )
    assert sac.critic_optimizer.parameters.owned_names == ["network.gate.weight"]
    draw = torch.Generator().manual_seed(0)
    x = torch.randn(2, 3, 8, 5, generator=draw)
    batch = Batch(x, x[..., :2].tanh(), x[..., 0], x + 1, torch.zeros(2, 3, 8))
    metrics = sac.update(batch)
    assert all(value.isfinite().all() for value in metrics.values())


def test_the_command_line_finds_it_in_the_working_directory(
    directory: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A wrong option of the class is only found by a command that has imported it."""
    assert main(["train", *OPTIONS, "--network.widht", "8"]) == 2
    error = capsys.readouterr().err
    assert "did you mean 'width'?" in error
    assert main(["train", "--network", "no_module.MyNetwork"]) == 2
    assert "No module named 'no_module'" in capsys.readouterr().err


@pytest.mark.parametrize("name", sorted(networks()))
def test_every_architecture_survives_its_configuration_file(name: str) -> None:
    option = dataclasses.fields(networks()[name])[0].name
    config, text = configure(["--network", name, f"--network.{option}", "24"])
    again, _ = configure(yaml.safe_load(text))
    assert type(again.network) is networks()[name]
    assert again.network == config.network
    assert getattr(again.network, option) == 24
