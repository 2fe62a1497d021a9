"""What the four tasks with a handle that slides up and down share."""

from __future__ import annotations

import numpy as np

from envs.compiled.arrays import Array, Arrays, norm, pose
from envs.compiled.rewards import caging, hamacher, reach_and_move_v1, tolerance
from envs.compiled.scene import Scene

FRONT, SIDE = "sawyer_handle_press.xml", "sawyer_handle_press_sideways.xml"
HAND_START = (0.0, 0.6, 0.2)
PULL_RADIUS = 0.05


def place(scene: Scene, box: Array, handle: float) -> None:
    """Places the box and its handle (0 is up)."""
    scene.move_body("box", box)
    scene.set_joints({9: handle}, (9,))


def observe(readings: Arrays) -> Array:
    return pose(readings["handle"])


def reward_v1(readings: Arrays, state: Arrays, radius: float) -> tuple[Array, Array]:
    """The first version's reward: reached is what the left finger is near to."""
    handle = readings["handle"]
    distance = np.abs(handle[:, 2] - state["target"][:, 2])
    reach_distance = norm(handle - readings["left_finger"])
    return reach_and_move_v1(reach_distance, state["max_distance"], distance), distance <= radius


def pulling(
    readings: Arrays,
    action: Array,
    state: Arrays,
    *,
    distance: Array,
    initial_distance: Array,
    lifted: Array,
    object_radius: float,
    pad_success_threshold: float,
) -> Array:
    """The second version's reward for pulling the handle up.

    Args:
        distance, initial_distance: how far the handle is, and was at the reset, from the target.
        lifted: whether it is off its lower end.
        object_radius, pad_success_threshold: as for `caging`.
    """
    handle = readings["handle"]
    in_place = tolerance(distance, (0.0, PULL_RADIUS), initial_distance)
    caged = caging(
        readings,
        state,
        action,
        handle,
        object_radius=object_radius,
        pad_success_threshold=pad_success_threshold,
        xz_threshold=0.01,
    )
    held = (norm(handle - readings["tcp"]) < 0.035) & (readings["gripper"] > 0) & lifted
    reward = hamacher(caged, in_place) + np.where(held, 1.0 + 5.0 * in_place, 0.0)
    return np.where(distance < PULL_RADIUS, 10.0, reward)
