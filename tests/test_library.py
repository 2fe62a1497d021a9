"""docs/library.md, read from top to bottom by a user who has no time: every command and every example."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import imageio.v3 as imageio
import pytest
import yaml

from mtrl.cli import main
from mtrl.evaluation.render import renderer
from tests.test_readme import QUICK, ROOT

BLOCKS = re.findall(r"```(bash|python|yaml)\n(.*?)```", (ROOT / "docs" / "library.md").read_text(), re.DOTALL)


def shortened(text: str) -> str:
    """With 40 steps where there are 30,000, and 60 where there are more."""
    return re.sub(r"(step|steps[ =])(30|60|180)_?000", lambda m: m[1] + {"30": "40"}.get(m[2], "60"), text)


def test_everything_in_it_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "configs").mkdir()
    config = yaml.safe_load((ROOT / "configs" / "quickstart.yaml").read_text()) | yaml.safe_load(QUICK)
    (tmp_path / "configs" / "quickstart.yaml").write_text(yaml.safe_dump(config))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])  # modules of the same name are other tests'
    namespace: dict[str, Any] = {}
    for language, text in BLOCKS:
        code = shortened(text)
        file = re.match(r"# (\S+\.(?:py|yaml))\n", code)
        if file is not None:
            Path(file[1]).write_text(code)
            continue
        if language == "python":
            exec(code, namespace)
            continue
        for line in code.replace("\\\n", " ").splitlines():
            program, *arguments = shlex.split(line)
            if program == "mtrl":
                assert main(arguments) == 0, capsys.readouterr().err
    assert namespace["action"].shape == (1, 4)
    assert namespace["actions"].shape == (2, 4)
    assert namespace["policy"].tasks == ("reach-v3", "push-v3", "door-open-v3")
    assert namespace["evaluation"].success().shape == (1, 2)
    assert (tmp_path / "runs" / "targets" / "evaluation").is_dir()
    assert (tmp_path / "runs" / "four" / "checkpoints" / "step_0000000040").is_dir()
    assert "reach-v3" in capsys.readouterr().out


@pytest.mark.slow
def test_the_rendered_episode(tmp_path: Path) -> None:
    """In Meta-World itself, 500 steps of a policy that has learned nothing."""
    try:
        with renderer():
            pass
    except ValueError as error:
        pytest.skip(str(error))
    config = ["--config", str(ROOT / "configs" / "quickstart.yaml"), "--num_workers", "0"]
    options = ["--benchmark", "reach,push", "--total_steps", "2", "--evaluation.episodes", "1"]
    assert main(["train", *config, *options, "--run_dir", str(tmp_path / "run")]) == 0
    arguments = [tmp_path / "run", "push-v3", tmp_path / "episode.mp4"]
    script = ROOT / "examples" / "render_episode.py"
    environment = {"MUJOCO_GL": "egl", **os.environ}
    result = subprocess.run(
        [sys.executable, script, *arguments], env=environment, capture_output=True, text=True
    )
    assert result.returncode == 0, result.stderr
    frames = imageio.imread(tmp_path / "episode.mp4")
    assert len(frames) == 125
    assert frames.std() > 10
