"""What faucet-open-v3 and faucet-close-v3 share: turning a handle to one side or the other."""

from __future__ import annotations

import numpy as np

from envs.compiled.arrays import Array, Arrays, norm, pose
from envs.compiled.rewards import reach_and_move_v1, reaching, tolerance

MODEL = "sawyer_faucet.xml"
HAND_START = (0.0, 0.4, 0.2)
LOW, HIGH = (-0.5, 0.40, -0.15), (0.5, 1.0, 0.5)
HANDLE_LENGTH = 0.175
HANDLE_HEIGHT = 0.125
TARGET_RADIUS = 0.07
REACH_RADIUS = 0.01


def observe(readings: Arrays) -> Array:
    return pose(readings["handle"] + np.array([0.0, 0.0, -0.01]), readings["faucet_quaternion"])


def reward_v1(readings: Arrays, action: Array, state: Arrays) -> tuple[Array, Array]:
    handle, target = readings["objects"][:, :3], state["target"]
    distance, max_distance = norm(handle - target), norm(state["faucet"] - target)
    return reach_and_move_v1(
        norm(handle - readings["tcp"]), max_distance, distance
    ), distance <= TARGET_RADIUS


def reward_at(handle: Array, readings: Arrays, state: Arrays) -> tuple[Array, Array]:
    """The second version's reward for a handle being at a place, [n, 3].

    It was at the foot of the faucet at the reset, as far as Meta-World's margins are concerned.
    """
    target, faucet = state["target"], state["faucet"]
    distance = norm(handle - target)
    in_place = tolerance(distance, (0.0, TARGET_RADIUS), np.abs(norm(faucet - target) - TARGET_RADIUS))
    reach = reaching(readings, state, handle, faucet, REACH_RADIUS, "gaussian")
    success = distance <= TARGET_RADIUS
    return np.where(success, 10.0, 4 * reach + 6 * in_place), success
