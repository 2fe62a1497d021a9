"""What assembly-v3 and disassemble-v3 share: a wrench with a round nut, and a peg."""

from __future__ import annotations

from typing import Literal

from envs.compiled.arrays import Array, Arrays, pose
from envs.compiled.observation import observed_hand
from envs.compiled.rewards import caging
from envs.compiled.task import body, body_quaternion, site
from envs.compiled.tasks._picking import alignment, nearest_on_handle

MODEL = "sawyer_assembly_peg.xml"
READINGS = {
    "wrench": site("RoundNut-8"),
    "wrench_quaternion": body_quaternion("RoundNut"),
    "nut": site("RoundNut"),
    "wrench_body": body("RoundNut"),
}
HANDLE_LENGTH = 0.02
FLAT = (0.707, 0.0, 0.0, 0.707)


def observe(readings: Arrays) -> Array:
    return pose(readings["wrench"], readings["wrench_quaternion"])


def caging_of_handle(
    readings: Arrays, action: Array, state: Arrays, density: Literal["medium", "high"]
) -> Array:
    return caging(
        readings,
        state,
        action,
        nearest_on_handle(readings["wrench"], observed_hand(readings), HANDLE_LENGTH),
        object_radius=0.015,
        pad_success_threshold=0.02,
        xz_threshold=0.01,
        density=density,
        reach_radius=0.01,
    )


def flatness(readings: Arrays) -> Array:
    """1 for a wrench that lies as at the reset, less the more it is turned."""
    return alignment(readings["wrench_quaternion"], FLAT, 0.4)
