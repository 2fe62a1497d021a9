"""window-close-v3: push a sliding window shut."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from envs.compiled.arrays import Array, Arrays
from envs.compiled.rewards import hamacher, reaching, tolerance
from envs.compiled.scene import Scene
from envs.compiled.task import site
from envs.compiled.tasks.window_open import HANDLE_RADIUS, TARGET_RADIUS, WIDTH
from envs.compiled.tasks.window_open import TASK as WINDOW_OPEN


def reset(scene: Scene, goal: Array) -> dict[str, Any]:
    scene.move_body("window", goal)
    # Stale: the handle as it was before the window was opened below.
    start = scene.site("handleCloseStart") + np.array([WIDTH, 0.0, 0.0])
    scene.set_joint_silently("window_slide", WIDTH)
    return {"target": goal, "object_start": start}


def reward_v2(readings: Arrays, action: Array, state: Arrays) -> tuple[Array, Array]:
    handle, target, start = readings["handle"], state["target"], state["object_start"]
    distance = np.abs(handle[:, 0] - target[:, 0])
    in_place = tolerance(
        distance, (0.0, TARGET_RADIUS), np.abs(np.abs(start[:, 0] - target[:, 0]) - TARGET_RADIUS)
    )
    reach = reaching(readings, state, handle, start, HANDLE_RADIUS, "gaussian")
    return 10 * hamacher(reach, in_place), distance <= TARGET_RADIUS


TASK = replace(
    WINDOW_OPEN,
    reset_low=(0.0, 0.75, 0.2),
    reset_high=(0.0, 0.9, 0.2),
    readings={"handle": site("handleCloseStart")},
    reset=reset,
    reward_v2=reward_v2,
)
