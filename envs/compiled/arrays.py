"""What the tasks' functions compute with arrays [n, ...] of n worlds.

They are written once, with NumPy's functions, and run on its arrays and on those whose elements are values of LLVM
(`envs.compiled.native`). They never change their arguments.
"""

from __future__ import annotations

import operator
from collections.abc import Mapping
from functools import reduce
from typing import Any, TypeAlias

import numpy as np

Array: TypeAlias = Any
"""An array [n, ...] of NumPy's, or one that is traced: n worlds of one task."""

Arrays: TypeAlias = Mapping[str, Array]


def norm(vectors: Array) -> Array:
    """Euclidean length along the last axis."""
    squares = vectors * vectors
    # Summed in this order whatever computes it, so that it is the same to the last bit.
    return np.sqrt(reduce(operator.add, (squares[..., i] for i in range(squares.shape[-1]))))


def positive(values: Array) -> Array:
    """max(values, 0)"""
    return np.maximum(values, 0.0)


def quaternion(axes: Array) -> Array:
    """Orientations as unit quaternions [n, 4], scalar last, from a frame's three axes [n, 9].

    Of the four ways to write the quaternion it takes the numerically best, by the same rule as SciPy's
    `Rotation.as_quat`, so the sign is the same, too.
    """
    xx, yx, zx, xy, yy, zy, xz, yz, zz = (
        axes[:, i] for i in range(9)
    )  # rotation matrix: its columns are the axes
    trace = xx + yy + zz
    x_y, x_z, y_z = xy + yx, xz + zx, yz + zy
    x, y, z = zy - yz, xz - zx, yx - xy
    ways = (
        (xx, (1.0 - trace + 2.0 * xx, x_y, x_z, x)),
        (yy, (x_y, 1.0 - trace + 2.0 * yy, y_z, y)),
        (zz, (x_z, y_z, 1.0 - trace + 2.0 * zz, z)),
        (trace, (x, y, z, 1.0 + trace)),
    )
    largest, chosen = xx, np.stack(ways[0][1], axis=1)
    for size, way in ways[1:]:
        chosen = np.where((size > largest)[:, None], np.stack(way, axis=1), chosen)
        largest = np.maximum(size, largest)
    return chosen / norm(chosen)[:, None]


def pose(position: Array, orientation: Array | None = None) -> Array:
    """An object as observed, [n, 7]: its position [n, 3] and quaternion [n, 4], or zeros where there is none."""
    if orientation is None:
        orientation = np.zeros((len(position), 4))
    return np.concat([position, orientation], axis=1)
