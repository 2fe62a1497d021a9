"""Arithmetic as IEEE 754 has it, where PyTorch has told a thread to flush denormal numbers to zero."""

from __future__ import annotations

import contextlib
import ctypes
import sys
from collections.abc import Iterator

_LIBRARY = ctypes.PyDLL(None)
STANDARD = (
    ctypes.addressof(ctypes.c_char.in_dll(_LIBRARY, "_FE_DFL_ENV")) if sys.platform == "darwin" else 2**64 - 1
)
"""The address that C's `fesetenv` takes for the environment at a program's start (FE_DFL_ENV)."""


@contextlib.contextmanager
def standard_floats() -> Iterator[None]:
    """For the time being, this thread computes as at its program's start."""
    before = ctypes.create_string_buffer(64)
    _LIBRARY.fegetenv(before)
    _LIBRARY.fesetenv(ctypes.c_void_p(STANDARD))
    try:
        yield
    finally:
        _LIBRARY.fesetenv(before)
