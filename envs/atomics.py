"""Atomic operations on words of 64 bits that processes share, and what is made of them without a system call."""

from __future__ import annotations

import ctypes
import platform
from typing import Any

from envs.machine_code import compile_code

_PAUSE = {"x86_64": "pause", "AMD64": "pause", "aarch64": "yield", "arm64": "yield"}.get(
    platform.machine(), "nop"
)
_CODE = f"""
define i64 @load(ptr %word) {{
  %value = load atomic i64, ptr %word seq_cst, align 8
  ret i64 %value
}}

define void @store(ptr %word, i64 %value) {{
  store atomic i64 %value, ptr %word seq_cst, align 8
  ret void
}}

define i64 @exchange(ptr %word, i64 %value) {{
  %old = atomicrmw xchg ptr %word, i64 %value seq_cst
  ret i64 %old
}}

define void @fence() {{
  fence seq_cst
  ret void
}}

; What the caller reads afterwards is read after the addition.
define i64 @add(ptr %word, i64 %value) {{
  %old = atomicrmw add ptr %word, i64 %value seq_cst
  fence seq_cst
  ret i64 %old
}}

; Waits until the word exceeds a value, so many pauses of the processor at most; whether it does.
define i1 @exceeds(ptr %word, i64 %value, i64 %pauses) {{
entry:
  br label %look
look:
  %i = phi i64 [0, %entry], [%next, %wait]
  %now = load atomic i64, ptr %word acquire, align 8
  %done = icmp sgt i64 %now, %value
  br i1 %done, label %end, label %still
still:
  %more = icmp slt i64 %i, %pauses
  br i1 %more, label %wait, label %end
wait:
  call void asm sideeffect "{_PAUSE}", ""()
  %next = add i64 %i, 1
  br label %look
end:
  ret i1 %done
}}
"""
_ENGINE = compile_code(_CODE)


def _function(name: str, result: Any, *arguments: Any, blocks: bool = False) -> Any:
    # What takes no time keeps Python's lock, which is quicker.
    prototype = (ctypes.CFUNCTYPE if blocks else ctypes.PYFUNCTYPE)(result, *arguments)
    return prototype(_ENGINE.get_function_address(name))


_WORD, _PLACE = ctypes.c_int64, ctypes.c_void_p

load = _function("load", _WORD, _PLACE)
store = _function("store", None, _PLACE, _WORD)
exchange = _function("exchange", _WORD, _PLACE, _WORD)
fence = _function("fence", None)
add = _function("add", _WORD, _PLACE, _WORD)
exceeds = _function("exceeds", ctypes.c_bool, _PLACE, _WORD, _WORD, blocks=True)
