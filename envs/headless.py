"""MuJoCo without a log and without OpenGL: importing it loads what MUJOCO_GL names, and simulating needs none.

Imported before anything that imports MuJoCo. Where a script has imported MuJoCo already, there is nothing to do.
"""

from __future__ import annotations

import importlib
import os
import sys
from typing import Any


def _import_without_opengl() -> None:
    chosen = os.environ.get("MUJOCO_GL")
    os.environ["MUJOCO_GL"] = "disable"
    try:
        mujoco = importlib.import_module("mujoco")
    finally:
        del os.environ["MUJOCO_GL"]
        if chosen is not None:
            os.environ["MUJOCO_GL"] = chosen
    for module in (mujoco, mujoco.gl_context):
        vars(module)["__getattr__"] = _load_opengl


def _load_opengl(name: str) -> Any:
    """A script of the user's that renders after all gets what MUJOCO_GL names, at the first use of it."""
    if name == "GLContext":
        context = vars(importlib.reload(sys.modules["mujoco.gl_context"]))
        if name in context:
            return context[name]
    raise AttributeError(f"MuJoCo has no {name!r} (MUJOCO_GL is {os.environ.get('MUJOCO_GL')!r})")


def keep_no_log() -> None:
    """Keeps MuJoCo from writing its warnings to a file in the working directory: engines report them themselves."""
    sys.modules["mujoco"].set_mju_user_warning(lambda message: None)


if "mujoco" not in sys.modules:
    _import_without_opengl()
