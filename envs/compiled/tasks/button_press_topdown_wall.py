"""button-press-topdown-wall-v3: press a button from above, over a wall."""

from __future__ import annotations

from dataclasses import replace

from envs.compiled.arrays import Array, Arrays
from envs.compiled.tasks import button_press_topdown
from envs.compiled.tasks.button_press_topdown import press


def reward_v2(readings: Arrays, action: Array, state: Arrays) -> tuple[Array, Array]:
    return press(readings, state, readings["gripper"])


TASK = replace(button_press_topdown.TASK, model="sawyer_button_press_topdown_wall.xml", reward_v2=reward_v2)
