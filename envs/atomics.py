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

; Takes a free slot (0) of one of the queues, in their order, and marks it; its number, or -1 if none is left.
; Queue q has the slots from ends[q - 1] to ends[q], of which those before heads[16 q] are taken.
define i64 @claim(ptr %queues, i64 %count, ptr %heads, ptr %ends, ptr %slots, i64 %mark) {{
entry:
  br label %choose
choose:
  %k = phi i64 [0, %entry], [%next, %following]
  %more = icmp slt i64 %k, %count
  br i1 %more, label %open, label %none
open:
  %queue.place = getelementptr i64, ptr %queues, i64 %k
  %queue = load i64, ptr %queue.place
  %head.index = mul i64 %queue, 16
  %head = getelementptr i64, ptr %heads, i64 %head.index
  %end.place = getelementptr i64, ptr %ends, i64 %queue
  %end = load i64, ptr %end.place
  br label %look
look:
  %seen = load atomic i64, ptr %head acquire, align 8
  %left = icmp slt i64 %seen, %end
  br i1 %left, label %take, label %following
take:
  %slot = atomicrmw add ptr %head, i64 1 acq_rel
  %there = icmp slt i64 %slot, %end
  br i1 %there, label %try, label %following
try:
  %word = getelementptr i64, ptr %slots, i64 %slot
  %pair = cmpxchg ptr %word, i64 0, i64 %mark acq_rel acquire
  %free = extractvalue {{ i64, i1 }} %pair, 1
  br i1 %free, label %won, label %look
following:
  %next = add i64 %k, 1
  br label %choose
won:
  ret i64 %slot
none:
  ret i64 -1
}}

; Marks a slot and counts it; if it was the last of `total`, whether somebody sleeps.
define i64 @finish(ptr %slots, i64 %slot, i64 %mark, ptr %done, i64 %total, ptr %sleeper) {{
entry:
  %word = getelementptr i64, ptr %slots, i64 %slot
  store atomic i64 %mark, ptr %word release, align 8
  %before = atomicrmw add ptr %done, i64 1 seq_cst
  %count = add i64 %before, 1
  %last = icmp eq i64 %count, %total
  br i1 %last, label %look, label %no
look:
  %asleep = load atomic i64, ptr %sleeper seq_cst, align 8
  ret i64 %asleep
no:
  ret i64 0
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
claim = _function("claim", _WORD, _PLACE, _WORD, _PLACE, _PLACE, _PLACE, _WORD)
finish = _function("finish", _WORD, _PLACE, _WORD, _WORD, _PLACE, _WORD, _PLACE)
