"""Clips of Meta-World, rendered off screen.

MuJoCo chooses its OpenGL library by the environment variable MUJOCO_GL when it is imported, so all of this happens in a
process of its own. The variable is respected where it is set.
"""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Iterator
from concurrent.futures import Executor, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, redirect_stderr
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Camera = Literal["corner", "corner2", "corner3", "topview", "behindGripper", "gripperPOV"]

WIDTH, HEIGHT, CAPTION, BORDER = 480, 360, 24, 6  # pixels; codecs want multiples of 16 for the whole picture
STEPS_PER_FRAME, FRAMES_PER_SECOND = 4, 20  # Meta-World's 80 steps a second in real time
STEPS_AFTER_SUCCESS = 120
GREEN, WHITE, BLACK = (40, 200, 60), (255, 255, 255), (0, 0, 0)


@dataclass(frozen=True)
class Clip:
    """An episode to be played again and rendered: Meta-World is deterministic, so its actions are all of it.

    goal: where object and target are placed, [3] or [6].
    actions: [H, A].
    label: what the caption begins with.
    path: of the MP4 file.
    """

    task: str
    reward_version: str
    goal: NDArray[np.float64]
    actions: NDArray[np.float64]
    camera: Camera
    label: str
    path: Path


@contextmanager
def renderer() -> Iterator[Executor]:
    """A process for `write_clip`, with the first OpenGL library that renders without a display.

    Raises:
        ValueError: none does.
    """
    reasons = []
    for library in _libraries():
        with ProcessPoolExecutor(1, get_context("spawn"), _use, (library,)) as pool:
            try:
                reason = pool.submit(why_not).result()
            except BrokenProcessPool:
                reason = "the process ended"
            if reason is None:
                yield pool
                return
            reasons.append(f"{library or 'the default'}: {reason}")
    raise ValueError(
        f"Clips need an OpenGL library that renders off screen, and none was found ({'; '.join(reasons)}): install EGL "
        "(libegl1; without a GPU's driver libgl1-mesa-dri too) or OSMesa (libosmesa6), or set MUJOCO_GL to one that "
        "works."
    )


def _libraries() -> list[str]:
    if "MUJOCO_GL" in os.environ or sys.platform != "linux":
        return [os.environ.get("MUJOCO_GL", "")]
    return ["egl", "osmesa", *["glfw"] * ("DISPLAY" in os.environ)]


def _use(library: str) -> None:
    os.environ["MUJOCO_GL"] = library


def why_not() -> str | None:
    """Why nothing can be rendered in this process, or None if it can."""
    with redirect_stderr(
        io.StringIO()
    ):  # MuJoCo's half-made objects print tracebacks when they are collected
        try:
            import mujoco

            with mujoco.Renderer(mujoco.MjModel.from_xml_string("<mujoco/>"), 16, 16) as renderer:
                renderer.render()
        except Exception as error:  # each library fails in its own way
            return f"{type(error).__name__} {error}".splitlines()[0]
    return None


def write_clip(clip: Clip) -> int | None:
    """Plays an episode in Meta-World and writes it as MP4: real time, a green border from the first success on.

    It ends 1.5 seconds after the first success, or with the episode.

    Returns:
        the step of the first success.
    """
    import imageio.v2 as imageio
    import mujoco

    from envs.reference import ReferenceEnv
    from envs.worlds import GOAL_SIZE

    world = ReferenceEnv(clip.task, clip.reward_version)
    world.reset(options={"goals": [np.resize(clip.goal, GOAL_SIZE)]})
    model, data = world.environment.model, world.environment.data
    upside_down = data.camera(clip.camera).xmat[7] < 0  # the vertical part of the camera's upward axis
    solved_at: int | None = None
    frames: list[Any] = []
    with mujoco.Renderer(model, HEIGHT, WIDTH) as renderer:
        for step in range(len(clip.actions) + 1):
            if step:
                info = world.step(clip.actions[step - 1])[-1]
                if "fault" in info:  # as in training, the episode ends where the simulation diverged
                    break
                if info["success"] and solved_at is None:
                    solved_at = step
            if step % STEPS_PER_FRAME == 0:
                renderer.update_scene(data, clip.camera)
                picture = renderer.render()[::-1, ::-1] if upside_down else renderer.render()
                frames.append(_decorate(picture, clip.label, step, solved_at))
            if solved_at is not None and step >= solved_at + STEPS_AFTER_SUCCESS:
                break
    imageio.mimwrite(clip.path, frames, fps=FRAMES_PER_SECOND, codec="libx264", quality=7)
    return solved_at


def _decorate(picture: NDArray[np.uint8], label: str, step: int, solved_at: int | None) -> NDArray[Any]:
    """A frame [H + caption, W, 3]: the picture with its caption, and a border if the task is solved."""
    from PIL import Image, ImageDraw, ImageFont

    frame = Image.new("RGB", (WIDTH, HEIGHT + CAPTION), BLACK)
    frame.paste(Image.fromarray(np.ascontiguousarray(picture)))
    draw = ImageDraw.Draw(frame)
    text = f"{label}   step {step}"
    if solved_at is not None:
        draw.rectangle((0, 0, WIDTH - 1, HEIGHT - 1), outline=GREEN, width=BORDER)
        text += f"   success at step {solved_at}"
    position = (BORDER, HEIGHT + CAPTION // 2)
    color = WHITE if solved_at is None else GREEN
    draw.text(position, text, fill=color, font=ImageFont.load_default(14), anchor="lm")
    return np.asarray(frame)
