"""The README's commands and examples do what it says."""

import json
import re
import shlex
from pathlib import Path

import numpy as np
import pytest
import yaml

from mtrl.cli import main
from mtrl.config.experiment import experiment
from mtrl.config.loading import configure, read_config
from mtrl.config.train import with_defaults
from mtrl.reporting.groups import group_runs
from mtrl.reporting.runs import read_run
from mtrl.reporting.statistics import mean_and_sem

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
QUICK = """
network: {class_path: multi_head, init_args: {width: 8, head_width: 8, depth: 1}}
total_steps: 40
random_steps: 20
batch_size: 4
log_interval: 20
worlds_per_task: 1
evaluation: {interval: 1000, episodes: 1, worlds_per_task: 1}
num_workers: 0
engine: batched
"""


def commands(prefix: str) -> list[str]:
    blocks = re.findall(r"```bash\n(.*?)```", README, re.DOTALL)
    lines = "\n".join(blocks).replace("\\\n", " ").splitlines()
    return [" ".join(line.split()) for line in lines if line.startswith(prefix)]


def sections() -> dict[str, str]:
    """Python examples by the file name in their first line."""
    return {
        re.match(r"# (\S+)\n", code)[1]: code
        for code in re.findall(r"```python\n(.*?)```", README, re.DOTALL)
        if code.startswith("# ")
    }


def test_there_are_commands_to_check() -> None:
    assert len(commands("mtrl train")) >= 5
    assert sections().keys() == {"my_balancer.py", "my_network.py"}


@pytest.mark.parametrize("command", commands("mtrl list"))
def test_list(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(shlex.split(command)[1:]) == 0
    assert capsys.readouterr().out


@pytest.mark.parametrize(
    "command", [c for c in commands("mtrl train") if "--resume" not in c and "--init_from" not in c]
)
def test_train_commands_run_when_shortened(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each training command with fewer steps and smaller sizes, in a directory with the README's files."""
    (tmp_path / "configs").mkdir()
    quick = yaml.safe_load(QUICK)
    for path in (ROOT / "configs").glob("*.yaml"):
        config = yaml.safe_load(path.read_text())
        own = {name: config[name] for name in ("benchmark", "engine") if config.get("engine") == "gymnasium"}
        config |= quick | {"benchmark": "MT3"} | own
        (tmp_path / "configs" / path.name).write_text(yaml.safe_dump(config))
    for name, code in sections().items():
        (tmp_path / name).write_text(code)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(ROOT)
    monkeypatch.syspath_prepend(tmp_path)
    arguments = shlex.split(command)[1:]
    if "--seeds" in arguments:
        arguments[arguments.index("--seeds") + 1] = "0,1"
    assert main(arguments) == 0
    (run_dir,) = (tmp_path / "runs").iterdir()
    assert (run_dir / "checkpoints" / "step_0000000040").is_dir()
    modules = [*(name.removesuffix(".py") for name in sections()), "examples.pendulum"]
    allowed = [f"--allow_import={module}" for module in modules]
    assert main(["evaluate", str(run_dir), "--episodes", "1", *allowed]) == 0


def test_the_modern_agents_success_is_that_of_its_results() -> None:
    paths = [ROOT / "results" / "mt10_fast" / f"seed{seed}" for seed in range(5)]
    (group,) = group_runs([read_run(path, "evaluation") for path in paths])
    seeds = group.scores("final", 1).mean(-1)
    text = " ".join(README.split())
    assert f"| MT10 | modern, no balancer | 5 | 1.5M | {mean_and_sem(seeds)} |" in text
    mt50 = read_run(ROOT / "results" / "mt50_fast" / "seed0", "evaluation")
    assert f"| MT50 | modern, no balancer | 1 | 1M | {mt50.final.mean():.3f} |" in text
    assert "{:.3f}, {:.3f}, {:.3f}, {:.3f} and {:.3f}".format(*seeds) in text


QUICKSTART = ROOT / "results" / "quickstart"


def test_the_quickstarts_success_is_that_of_its_results() -> None:
    """Of Meta-World itself, with the last checkpoints."""
    run = read_run(QUICKSTART, "evaluation")
    (path,) = (QUICKSTART / "evaluation").iterdir()
    evaluated = json.loads(path.read_text())
    assert (evaluated["engine"], evaluated["step"]) == ("reference", run.config["total_steps"])
    assert np.shape(evaluated["episodes"]["success"]) == (3, 3, 50)
    seeds = run.final.mean(-1)
    text = " ".join(README.split())
    assert f"mean success {mean_and_sem(seeds)} (SEM over three seeds: " in text
    assert "{:.3f}, {:.3f} and {:.3f}".format(*seeds) in text


def test_the_quickstarts_results_are_of_its_configuration(tmp_path: Path) -> None:
    _, text = configure(["--config", str(ROOT / "configs" / "quickstart.yaml"), "--seeds", "0,1,2"])
    given = tmp_path / "config.yaml"
    given.write_text(text)
    assert experiment(read_config(given)) == experiment(
        with_defaults(read_config(QUICKSTART / "config.yaml"))
    )


def test_the_quickstarts_updates_are_as_many_as_it_says() -> None:
    config = read_config(QUICKSTART / "config.yaml")
    learning_steps = (config["total_steps"] - config["random_steps"]) // config["worlds_per_task"]
    updates = learning_steps * config["updates_per_step"]
    assert updates <= 15_000
    assert f"{updates:,} updates" in README
