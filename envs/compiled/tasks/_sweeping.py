"""What sweep-v3 and sweep-into-v3 share: a block is swept off the table, or into a hole."""

from __future__ import annotations

import numpy as np

from envs.compiled.arrays import Array, Arrays, norm, positive
from envs.compiled.rewards import caging_by_pads, hamacher, progress_v1, tolerance

TARGET_RADIUS = 0.05
OBJECT_RADIUS = 0.02


def sweep_v1(readings: Arrays, state: Arrays, fallen: Array) -> tuple[Array, Array]:
    """Reward and success of the first version: a block that has fallen [n] counts as swept, wherever it fell."""
    block, target, start = readings["block"], state["target"], state["object_start"]
    reach_distance = norm(block - readings["tcp"])
    distance = np.where(fallen, 0.0, norm(block[:, :2] - target[:, :2]))
    progress = positive(progress_v1(norm(start[:, :2] - target[:, :2]), distance))
    swept = np.where(reach_distance < 0.05, progress, 0.0)
    return swept - np.where(fallen, 0.0, reach_distance), distance <= TARGET_RADIUS


def sweep_v2(
    readings: Arrays, state: Arrays, target: Array, *, grip_margin: float, xz_threshold: float
) -> tuple[Array, Array]:
    """Reward and success of the second version.

    Args:
        target: where the block is to go, [n, 3].
        grip_margin, xz_threshold: as for `caging_by_pads`.
    """
    block, start = readings["block"], state["object_start"]
    distance = norm(block - target)
    in_place = tolerance(distance, (0.0, TARGET_RADIUS), norm(start - target))
    caged = caging_by_pads(
        readings,
        state,
        block,
        object_radius=OBJECT_RADIUS,
        grip_margin=grip_margin,
        xz_threshold=xz_threshold,
    )
    reward = 2 * caged + 6 * hamacher(caged, in_place)
    return np.where(distance < TARGET_RADIUS, 10.0, reward), distance <= TARGET_RADIUS
