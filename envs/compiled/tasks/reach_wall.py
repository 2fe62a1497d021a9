"""reach-wall-v3: reach-v3 with a wall in between."""

from __future__ import annotations

from dataclasses import replace

from envs.compiled.tasks.reach import TASK as REACH

TASK = replace(
    REACH,
    model="sawyer_reach_wall_v3.xml",
    reset_low=(-0.05, 0.6, 0.015, -0.05, 0.85, 0.05),
    reset_high=(0.05, 0.65, 0.015, 0.05, 0.9, 0.3),
    goal_low=(-0.05, 0.85, 0.05),
    goal_high=(0.05, 0.9, 0.3),
)
