"""handle-press-side-v3: press down a handle that points to the side."""

from __future__ import annotations

from dataclasses import replace

from envs.compiled.task import Task
from envs.compiled.tasks import _handle
from envs.compiled.tasks.handle_press import TASK as HANDLE_PRESS

TASK = replace(
    HANDLE_PRESS,
    model=_handle.SIDE,
    reset_low=(-0.35, 0.65, -0.001),
    reset_high=(-0.25, 0.75, 0.001),
    goal_low=Task.goal_low,
    goal_high=Task.goal_high,
)
