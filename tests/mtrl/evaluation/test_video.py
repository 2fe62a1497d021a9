"""Clips: Meta-World plays the policy's episode again, and its success is to be seen."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import imageio.v3 as imageio
import numpy as np
import pytest
from metaworld.policies import SawyerDrawerCloseV3Policy

from envs.benchmarks import get_benchmark
from envs.goals import benchmark_goals
from envs.reference import ReferenceEnv
from mtrl.evaluation import render
from mtrl.evaluation.render import BORDER, CAPTION, GREEN, HEIGHT, WIDTH, Clip, decorate, renderer
from tests.mtrl.cli.test_cli import assert_refused
from tests.mtrl.conftest import Result

Cli = Callable[..., Result]
GOAL = np.array([0.0, 0.6, 0.02, 0.1, 0.8, 0.2])  # of object and target in reach-v3


def has_border(frame: np.ndarray) -> bool:
    edge = frame[:HEIGHT, : BORDER - 2].reshape(-1, 3).astype(int)
    return bool((np.abs(edge - GREEN).max(-1) < 40).mean() > 0.95)


def test_success_has_a_border_and_a_caption() -> None:
    picture = np.full((HEIGHT, WIDTH, 3), 100, dtype=np.uint8)
    before, after = decorate(picture, "reach-v3", 8, None), decorate(picture, "reach-v3", 8, 5)
    assert before.shape == after.shape == (HEIGHT + CAPTION, WIDTH, 3)
    assert not has_border(before)
    assert has_border(after)
    np.testing.assert_array_equal(after[BORDER : HEIGHT - BORDER, BORDER : WIDTH - BORDER], 100)
    assert before[HEIGHT:].max() == 255  # white letters, green ones after success
    assert after[HEIGHT:, :, 0].max() < 128


def test_a_clip_of_each_task(finished: Path, cli: Cli, tmp_path: Path) -> None:
    """Of 6 steps: a frame at the beginning, and one after 4."""
    clips = tmp_path / "new" / "clips"
    options = ("--engine", "reference", "--episodes", 1, "--camera", "topview")
    result = cli("evaluate", finished, *options, "--video", clips)
    assert result.code == 0, result.err
    tasks = ("drawer-close-v3", "window-open-v3", "window-close-v3")
    names = sorted(f"finished-step40-seed0-{task}.mp4" for task in tasks)
    assert sorted(path.name for path in clips.iterdir()) == names
    for name in names:
        assert name in result.err
        frames = imageio.imread(clips / name)
        assert frames.shape == (2, HEIGHT + CAPTION, WIDTH, 3)
        assert frames[:, :HEIGHT].std() > 10  # something is to be seen
        assert not has_border(frames[0])


def test_no_renderer(finished: Path, cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MUJOCO_GL", "crayons")
    result = cli("evaluate", finished, "--engine", "reference", "--video", tmp_path / "clips")
    assert_refused(result, "Clips need an OpenGL library", "crayons", "MUJOCO_GL")
    assert not (finished / "evaluation").exists()
    assert not (tmp_path / "clips").exists()


def test_a_broken_library_is_named_without_a_traceback() -> None:
    """MuJoCo's own objects would print one, when they are collected half-made."""
    code = "from mtrl.evaluation.render import why_not; print(why_not())"
    broken = {"MUJOCO_GL": "egl", "__EGL_VENDOR_LIBRARY_FILENAMES": "/nowhere"}
    done = subprocess.run(
        [sys.executable, "-c", code], env=os.environ | broken, capture_output=True, text=True, check=True
    )
    assert done.stderr == ""
    assert "Error" in done.stdout


SCRIPT = """
import os

{before}
import metaworld
import mujoco
import numpy as np
from pathlib import Path

from mtrl.evaluation.render import Clip, renderer

print("once")
with renderer() as process:
    goal = np.array([0, 0.6, 0.02, 0.1, 0.8, 0.2])
    clip = Clip("reach-v3", "v2", goal, np.zeros((4, 4)), "corner2", "label", Path("clip.mp4"))
    print(process.write(clip))
"""


@pytest.mark.parametrize(
    ("before", "environment"),
    [
        ("", {}),
        ("os.environ['PYOPENGL_PLATFORM'] = 'osmesa'", {}),
        ("", {"MUJOCO_GL": " egl "}),
        *(
            pytest.param(before, environment, marks=pytest.mark.slow)
            for before, environment in [
                ("os.environ['MUJOCO_GL'] = 'egl'", {}),
                ("", {"MUJOCO_GL": ""}),
                ("os.environ['MUJOCO_GL'] = 'disable'; import mujoco; del os.environ['MUJOCO_GL']", {}),
                ("import mtrl, envs", {}),
            ]
        ),
    ],
)
def test_a_script_that_has_imported_meta_world(
    before: str, environment: dict[str, str], tmp_path: Path
) -> None:
    """It is run once, needs no `if __name__ == "__main__"`, and its OpenGL is not the renderer's."""
    script = tmp_path / "script.py"
    script.write_text(SCRIPT.format(before=before))
    unset = {key: value for key, value in os.environ.items() if key not in ("MUJOCO_GL", "DISPLAY")}
    done = subprocess.run(
        [sys.executable, script], env=unset | environment, cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split()[-2:] == ["once", "None"]
    assert done.stdout.count("once") == 1
    assert imageio.imread(tmp_path / "clip.mp4").shape == (2, HEIGHT + CAPTION, WIDTH, 3)


def test_what_goes_wrong_in_a_clip_goes_wrong_here(tmp_path: Path) -> None:
    path = tmp_path / "no" / "clip.mp4"
    clip = Clip("reach-v3", "v2", GOAL, np.zeros((1, 4)), "corner2", "label", path)
    with renderer() as process:
        with pytest.raises(OSError, match="does not exist"):
            process.write(clip)
        assert process.write(replace(clip, path=tmp_path / "clip.mp4")) is None


def test_a_renderer_that_dies_is_reported(tmp_path: Path) -> None:
    clip = Clip("reach-v3", "v2", GOAL, np.zeros((1, 4)), "corner2", "label", tmp_path / "clip.mp4")
    with renderer() as process:
        process.process.kill()
        with pytest.raises(RuntimeError, match="signal 9"):
            process.write(clip)


@pytest.mark.slow
def test_the_clip_runs_on_after_success_and_shows_it_upright(tmp_path: Path) -> None:
    task = "drawer-close-v3"
    goal = benchmark_goals(get_benchmark("MT1:drawer-close"), 0)[0][0]
    world, policy = ReferenceEnv(task, "v2"), SawyerDrawerCloseV3Policy()
    observation, _ = world.reset(options={"goals": [np.resize(goal, 6)]})
    actions, successes = [], []
    for _ in range(400):
        actions.append(np.clip(policy.get_action(observation), -1.0, 1.0).astype(np.float64))
        observation, *_, info = world.step(actions[-1])
        successes.append(info["success"])
    solved_at = successes.index(True) + 1
    path = tmp_path / "clip.mp4"
    with renderer() as process:
        clip = Clip(task, "v2", goal, np.array(actions), "corner2", "label", path)
        assert process.write(clip) == solved_at
    frames = imageio.imread(path)
    steps = 4 * np.arange(len(frames))
    assert solved_at + 116 <= steps[-1] <= solved_at + 120
    assert [has_border(frame) for frame in frames] == (steps >= solved_at).tolist()
    # The wall behind the table is above the bright floor.
    assert frames[0, 20:60].mean() < frames[0, HEIGHT - 60 : HEIGHT - 20].mean()


def test_ctrl_c_does_not_reach_a_renderer_that_begins(monkeypatch: pytest.MonkeyPatch) -> None:
    """It imports what it needs meanwhile, and would print where that was."""
    start = subprocess.Popen

    def start_and_interrupt(*arguments: Any, **options: Any) -> Any:
        process = start(*arguments, **options)
        os.kill(process.pid, signal.SIGINT)
        return process

    monkeypatch.setattr(render.subprocess, "Popen", start_and_interrupt)
    renderer = render.Renderer("nosuch")
    renderer.close()
    assert renderer.why_not is not None
    assert "invalid value" in renderer.why_not
