"""MuJoCo without a log and without OpenGL: `from envs.headless import mujoco`, as simulating needs neither.

Importing MuJoCo loads what MUJOCO_GL names. Where a script has imported it already, there is nothing to do.
"""

from __future__ import annotations

import importlib
import os
import sys
from typing import Any

__all__ = ["mujoco"]

_first = "mujoco" not in sys.modules
_chosen = os.environ.get("MUJOCO_GL")
os.environ["MUJOCO_GL"] = "disable"
try:
    import mujoco
finally:
    del os.environ["MUJOCO_GL"]
    if _chosen is not None:
        os.environ["MUJOCO_GL"] = _chosen


def _load_opengl(name: str) -> Any:
    """A script of the user's that renders after all gets what MUJOCO_GL names, at the first use of it."""
    if name == "GLContext":
        context = vars(importlib.reload(sys.modules["mujoco.gl_context"]))
        if name in context:
            return context[name]
    raise AttributeError(f"MuJoCo has no {name!r} (MUJOCO_GL is {os.environ.get('MUJOCO_GL')!r})")


if _first:
    for _module in (mujoco, mujoco.gl_context):
        vars(_module)["__getattr__"] = _load_opengl

# Engines report what MuJoCo would write to a file in the working directory.
mujoco.set_mju_user_warning(lambda message: None)
