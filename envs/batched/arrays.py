"""The arrays that task functions work on: NumPy's or PyTorch's, through what both have in common.

The functions are written once, for arrays with the worlds on the leading axis, in the subset of the array API
standard that NumPy and `array_api_compat` over PyTorch share. They never change their arguments.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
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
    xp = namespace(vectors)
    return xp.sqrt(xp.vecdot(vectors, vectors))


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
    x, y, z = axes[:, 0:1], axes[:, 4:5], axes[:, 8:9]
    best = xp.argmax(xp.concat([x, y, z, x + y + z], axis=1), axis=1)
    linear = xp.take(_like(axes, _WAYS), best, axis=0)
    constant = xp.take(_like(axes, _WAYS_AT_ZERO), best, axis=0)
    # Not a matrix product: how that rounds depends on the number of worlds.
    chosen = xp.vecdot(axes[:, None, :], linear) + constant
    return chosen / norm(chosen)[:, None]


def _ways() -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The four ways as a linear map of the axes: matrices [4, 4, 9] and the constant parts [4, 4].

    With R the rotation matrix, way x is (1 - trace + 2 R_xx, R_xy + R_yx, R_xz + R_zx, R_zy - R_yz), ways y and z are
    likewise, and way w is (R_zy - R_yz, R_xz - R_zx, R_yx - R_xy, 1 + trace).
    """
    linear = np.zeros((3, 3, 4, 4))  # row of R, column of R, way, component
    constant = np.zeros((4, 4))
    for k in range(3):
        i, j = (k + 1) % 3, (k + 2) % 3
        for m in range(3):
            linear[m, m, k, k] = 1.0 if m == k else -1.0
        linear[i, j, i, j] = linear[j, i, i, j] = linear[i, j, j, i] = linear[j, i, j, i] = 1.0
        linear[j, i, k, 3] = linear[j, i, 3, k] = 1.0
        linear[i, j, k, 3] = linear[i, j, 3, k] = -1.0
        linear[k, k, 3, 3] = 1.0
    np.fill_diagonal(constant, 1.0)
    # The axes are the columns of R.
    return np.ascontiguousarray(linear.transpose(2, 3, 1, 0).reshape(4, 4, 9)), constant


_WAYS, _WAYS_AT_ZERO = _ways()


def pose(position: Array, orientation: Array | None = None) -> Array:
    """An object as observed, [n, 7]: its position [n, 3] and quaternion [n, 4], or zeros where there is none."""
    if orientation is None:
        orientation = zeros(position, 4)
    return namespace(position).concat([position, orientation], axis=1)
