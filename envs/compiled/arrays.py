"""The arrays that task functions work on: NumPy's or PyTorch's, through what both have in common.

The functions are written once, for arrays with the worlds on the leading axis, in the subset of the array API
standard that NumPy and `array_api_compat` over PyTorch share. They never change their arguments.
"""

from __future__ import annotations

import operator
from collections.abc import Mapping
from functools import lru_cache, reduce
from typing import Any, TypeAlias

import array_api_compat
import numpy as np
from numpy.typing import NDArray

Array: TypeAlias = Any
"""A NumPy array or a PyTorch tensor, [n, ...]: n worlds of one task."""

Arrays: TypeAlias = Mapping[str, Array]


def namespace(array: Array) -> Any:
    """The module with the functions for this kind of array (NumPy's own, without a detour: it is the fast path)."""
    return np if isinstance(array, np.ndarray) else array_api_compat.array_namespace(array)


def norm(vectors: Array) -> Array:
    """Euclidean length along the last axis."""
    squares = vectors * vectors
    # Summed in this order whatever computes it, so that it is the same to the last bit.
    total = reduce(operator.add, (squares[..., i] for i in range(squares.shape[-1])))
    return namespace(vectors).sqrt(total)


def vector(like: Array, *numbers: float) -> Array:
    """A constant of the kind and type (float64, for NumPy) of another array, to add to or compare with it."""
    return _like(like, _constant(numbers))


@lru_cache(maxsize=1024)
def _constant(numbers: tuple[float, ...]) -> NDArray[np.float64]:
    constant = np.array(numbers, dtype=np.float64)
    constant.flags.writeable = False
    return constant


def _like(like: Array, constant: NDArray[np.float64]) -> Array:
    if isinstance(like, np.ndarray):
        return constant
    return namespace(like).asarray(constant.copy(), dtype=like.dtype, device=array_api_compat.device(like))


def zeros(like: Array, width: int) -> Array:
    """Zeros [n, width] of the kind and type of another array of n worlds."""
    if isinstance(like, np.ndarray):
        return np.zeros((len(like), width))
    xp = namespace(like)
    return xp.zeros((len(like), width), dtype=like.dtype, device=array_api_compat.device(like))


def positive(values: Array) -> Array:
    """max(values, 0)"""
    return namespace(values).maximum(values, 0.0)


def quaternion(axes: Array) -> Array:
    """Orientations as unit quaternions [n, 4], scalar last, from a frame's three axes [n, 9].

    Of the four ways to write the quaternion it takes the numerically best, by the same rule as SciPy's
    `Rotation.as_quat`, so the sign is the same, too.
    """
    xp = namespace(axes)
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
    largest, chosen = xx, xp.stack(ways[0][1], axis=1)
    for size, way in ways[1:]:
        chosen = xp.where((size > largest)[:, None], xp.stack(way, axis=1), chosen)
        largest = xp.maximum(size, largest)
    return chosen / norm(chosen)[:, None]


def pose(position: Array, orientation: Array | None = None) -> Array:
    """An object as observed, [n, 7]: its position [n, 3] and quaternion [n, 4], or zeros where there is none."""
    if orientation is None:
        orientation = zeros(position, 4)
    return namespace(position).concat([position, orientation], axis=1)
