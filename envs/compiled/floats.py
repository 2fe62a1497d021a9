"""Arithmetic as IEEE 754 has it, where PyTorch has told a thread to flush denormal numbers to zero."""

import ctypes
import sys

_LIBRARY = ctypes.PyDLL(None)
STANDARD = (
    ctypes.addressof(ctypes.c_char.in_dll(_LIBRARY, "_FE_DFL_ENV")) if sys.platform == "darwin" else 2**64 - 1
)
"""The address that C's `fesetenv` takes for the environment at a program's start (FE_DFL_ENV)."""


def use_standard_floats() -> None:
    """From now on, this thread computes as at a program's start, whatever it inherited."""
    _LIBRARY.fesetenv(ctypes.c_void_p(STANDARD))
