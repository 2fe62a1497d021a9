"""Clips of Meta-World, rendered off screen.

MuJoCo chooses its OpenGL library by the environment variable MUJOCO_GL when it is imported, so all of this happens in a
process of its own, which has the variable from its start and imports nothing of the user's script. The variable is
respected where it is set.
"""

from __future__ import annotations

import io
import os
import pickle
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stderr, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from envs.processes import SIGNALS, deaf_processes, leave_signals_to_parent

Camera = Literal["corner", "corner2", "corner3", "topview", "behindGripper", "gripperPOV"]

WIDTH, HEIGHT, CAPTION, BORDER = 480, 360, 24, 6  # pixels; the codec wants multiples of 16 of a frame
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


class Renderer:
    """A process that renders with one OpenGL library.

    Attributes:
        why_not: why it cannot, or None if it can.
    """

    def __init__(self, library: str) -> None:
        path = os.pathsep.join(os.path.abspath(entry) for entry in sys.path)
        environment = {**os.environ, "MUJOCO_GL": library, "PYTHONPATH": path}
        environment.pop("PYOPENGL_PLATFORM", None)  # MuJoCo sets it by the library
        with deaf_processes(*SIGNALS):
            self.process = subprocess.Popen(
                [sys.executable, "-P", "-c", "from mtrl.evaluation.render import serve; serve()"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                env=environment,
            )
        try:
            self.why_not: str | None = self._receive()
        except RuntimeError as error:
            self.why_not = str(error)

    def write(self, clip: Clip) -> int | None:
        """Plays an episode in Meta-World and writes it as MP4: real time, a green border from the first success on.

        It ends 1.5 seconds after the first success, or with the episode.

        Returns:
            the step of the first success.

        Raises:
            RuntimeError: the process died, or MuJoCo failed.
            OSError: the file cannot be written.
        """
        assert self.process.stdin is not None
        with suppress(BrokenPipeError):  # `_receive` will say that it died
            pickle.dump(clip, self.process.stdin)
            self.process.stdin.flush()
        solved_at: int | None = self._receive()
        return solved_at

    def _receive(self) -> Any:
        assert self.process.stdout is not None
        try:
            reply = pickle.load(self.process.stdout)
        except (EOFError, pickle.UnpicklingError):
            code = self.process.wait()
            cause = f"signal {-code}" if code < 0 else f"exit code {code}"
            raise RuntimeError(f"the process that renders clips died ({cause})") from None
        if isinstance(reply, Exception):
            raise reply
        return reply

    def close(self) -> None:
        self.process.kill()
        with suppress(BrokenPipeError), self.process:
            pass


@contextmanager
def renderer() -> Iterator[Renderer]:
    """A process that renders, with the first OpenGL library that does so without a display.

    Raises:
        ValueError: none does.
    """
    reasons = []
    for library in _libraries():
        process = Renderer(library)
        try:
            if process.why_not is None:
                yield process
                return
        finally:
            process.close()
        reasons.append(f"{library or 'the default'}: {process.why_not}")
    raise ValueError(
        f"Clips need an OpenGL library that renders off screen, and none was found ({'; '.join(reasons)}): install EGL "
        "(libegl1; without a GPU's driver libgl1-mesa-dri too) or OSMesa (libosmesa6), or set MUJOCO_GL to one that "
        "works."
    )


def _libraries() -> list[str]:
    chosen = os.environ.get("MUJOCO_GL", "").strip()
    if chosen or sys.platform != "linux":
        return [chosen]
    return ["egl", "osmesa", *["glfw"] * ("DISPLAY" in os.environ)]


def serve() -> None:
    """The process's side: says why it cannot render, then writes the clips that it is sent until its parent is gone."""
    leave_signals_to_parent()
    with os.fdopen(os.dup(1), "wb") as replies:
        os.dup2(2, 1)  # whatever else is printed is no reply
        reply: str | int | Exception | None = why_not()
        with suppress(EOFError, BrokenPipeError):
            while True:
                pickle.dump(reply, replies)
                replies.flush()
                clip: Clip = pickle.load(sys.stdin.buffer)
                try:
                    reply = write_clip(clip)
                except Exception as error:
                    known = type(error).__module__ == "builtins"
                    reply = error if known else RuntimeError(f"{type(error).__name__}: {error}")


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
    """See `Renderer.write`."""
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
                frames.append(decorate(picture, clip.label, step, solved_at))
            if solved_at is not None and step >= solved_at + STEPS_AFTER_SUCCESS:
                break
    write_mp4(clip.path, frames, FRAMES_PER_SECOND)
    return solved_at


def decorate(picture: NDArray[np.uint8], label: str, step: int, solved_at: int | None) -> NDArray[Any]:
    """A frame [H', W', 3] of a picture [H, W, 3]: with its caption, and a border if the task is solved."""
    from PIL import Image, ImageDraw, ImageFont

    height, width, _ = picture.shape
    size = [-(-length // 16) * 16 for length in (width, height + CAPTION)]
    frame = Image.new("RGB", (size[0], size[1]), BLACK)
    frame.paste(Image.fromarray(np.ascontiguousarray(picture)))
    draw = ImageDraw.Draw(frame)
    text = f"{label}   step {step}"
    if solved_at is not None:
        draw.rectangle((0, 0, width - 1, height - 1), outline=GREEN, width=BORDER)
        text += f"   success at step {solved_at}"
    position = (BORDER, height + CAPTION // 2)
    color = WHITE if solved_at is None else GREEN
    draw.text(position, text, fill=color, font=ImageFont.load_default(14), anchor="lm")
    return np.asarray(frame)


def write_mp4(path: Path, frames: Sequence[NDArray[Any]], frames_per_second: float) -> None:
    """Writes frames [H, W, 3] of one size; H and W are multiples of 16."""
    import imageio.v2 as imageio

    imageio.mimwrite(path, [*frames], fps=frames_per_second, codec="libx264", quality=7)
