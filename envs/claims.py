"""How a worker takes one slot of the board after the other: machine code, as Python takes long between two worlds."""

from __future__ import annotations

import ctypes
import time

from envs.machine_code import compile_code

NONE = -1
LAST = -2
LINE = 16  # words: two lines of a cache, which some processors fetch together

_FIELDS = (
    "mark",  # of the slots that this worker takes: the mark; of those that it has done: minus the mark
    "queues",  # that it takes them from, numbers
    "own",  # so many of those first: from the others only when they are empty
    "count",
    "heads",  # queue q has places ends[q - 1] to ends[q] of the order, of which those before heads[LINE q] are taken
    "ends",
    "order",  # the slots of the queues
    "slots",  # 0: free
    "costs",  # of the slots, when they were last done, ns
    "began",  # when the slot was taken, ns
    "done",  # how many slots are done
    "total",
    "waiting",  # whether somebody sleeps who waits for the last one
    "steps",  # addresses of functions that do slots
    "arguments",  # of these functions
)


class Fields(ctypes.Structure):
    """What the machine code knows: numbers and addresses of arrays of numbers, all of 64 bits."""

    _fields_ = [(name, ctypes.c_int64) for name in _FIELDS]


def _load(*names: str) -> str:
    """Loads fields of what %fields points to: numbers, and as %<name>.array what numbers may be addresses of."""
    return "\n  ".join(
        f"%{name}.place = getelementptr i64, ptr %fields, i64 {_FIELDS.index(name)}\n"
        f"  %{name} = load i64, ptr %{name}.place\n"
        f"  %{name}.array = inttoptr i64 %{name} to ptr"
        for name in names
    )


_CODE = f"""
declare i32 @clock_gettime(i32, ptr)

define i64 @now() {{
  %time = alloca [2 x i64], align 8
  call i32 @clock_gettime(i32 {time.CLOCK_MONOTONIC}, ptr %time)
  %seconds = load i64, ptr %time
  %rest.place = getelementptr i64, ptr %time, i64 1
  %rest = load i64, ptr %rest.place
  %whole = mul i64 %seconds, 1000000000
  %now = add i64 %whole, %rest
  ret i64 %now
}}

; Of the queues from the first to the last, the one whose next slot took the longest; -1 if all are empty.
define i64 @choose(ptr %fields, i64 %first, i64 %last) {{
entry:
  {_load("queues", "heads", "ends", "order", "costs")}
  br label %next
next:
  %k = phi i64 [%first, %entry], [%k.after, %step]
  %best = phi i64 [{NONE}, %entry], [%best.after, %step]
  %best.cost = phi i64 [-1, %entry], [%best.cost.after, %step]
  %more = icmp slt i64 %k, %last
  br i1 %more, label %look, label %end
look:
  %queue.place = getelementptr i64, ptr %queues.array, i64 %k
  %queue = load i64, ptr %queue.place
  %head.index = mul i64 %queue, {LINE}
  %head.place = getelementptr i64, ptr %heads.array, i64 %head.index
  %head = load atomic i64, ptr %head.place acquire, align 8
  %end.place = getelementptr i64, ptr %ends.array, i64 %queue
  %queue.end = load i64, ptr %end.place
  %left = icmp slt i64 %head, %queue.end
  br i1 %left, label %weigh, label %step
weigh:
  %slot.place = getelementptr i64, ptr %order.array, i64 %head
  %slot = load atomic i64, ptr %slot.place monotonic, align 8
  %cost.place = getelementptr i64, ptr %costs.array, i64 %slot
  %cost = load atomic i64, ptr %cost.place monotonic, align 8
  %longer = icmp sgt i64 %cost, %best.cost
  %best.new = select i1 %longer, i64 %queue, i64 %best
  %best.cost.new = select i1 %longer, i64 %cost, i64 %best.cost
  br label %step
step:
  %best.after = phi i64 [%best, %look], [%best.new, %weigh]
  %best.cost.after = phi i64 [%best.cost, %look], [%best.cost.new, %weigh]
  %k.after = add i64 %k, 1
  br label %next
end:
  ret i64 %best
}}

; A slot that was free and is marked now, or {NONE}.
define i64 @take(ptr %fields) {{
entry:
  {_load("own", "count", "heads", "ends", "order", "slots", "mark")}
  %began.place = getelementptr i64, ptr %fields, i64 {_FIELDS.index("began")}
  br label %look
look:
  %mine = call i64 @choose(ptr %fields, i64 0, i64 %own)
  %is.mine = icmp sge i64 %mine, 0
  br i1 %is.mine, label %chosen, label %help
help:
  %other = call i64 @choose(ptr %fields, i64 %own, i64 %count)
  %is.other = icmp sge i64 %other, 0
  br i1 %is.other, label %chosen, label %none
chosen:
  %queue = phi i64 [%mine, %look], [%other, %help]
  %head.index = mul i64 %queue, {LINE}
  %head.place = getelementptr i64, ptr %heads.array, i64 %head.index
  %head = atomicrmw add ptr %head.place, i64 1 acq_rel
  %end.place = getelementptr i64, ptr %ends.array, i64 %queue
  %end = load i64, ptr %end.place
  %there = icmp slt i64 %head, %end
  br i1 %there, label %try, label %look
try:
  %slot.place = getelementptr i64, ptr %order.array, i64 %head
  %slot = load atomic i64, ptr %slot.place monotonic, align 8
  %word = getelementptr i64, ptr %slots.array, i64 %slot
  %pair = cmpxchg ptr %word, i64 0, i64 %mark acq_rel acquire
  %free = extractvalue {{ i64, i1 }} %pair, 1
  br i1 %free, label %won, label %look
won:
  %now = call i64 @now()
  store i64 %now, ptr %began.place
  ret i64 %slot
none:
  ret i64 {NONE}
}}

; Marks a slot as done and counts it; if it was the last, whether somebody sleeps.
define i64 @finish(ptr %fields, i64 %slot) {{
entry:
  {_load("slots", "mark", "costs", "began", "done", "total", "waiting")}
  %now = call i64 @now()
  %cost = sub i64 %now, %began
  %cost.place = getelementptr i64, ptr %costs.array, i64 %slot
  store atomic i64 %cost, ptr %cost.place monotonic, align 8
  %word = getelementptr i64, ptr %slots.array, i64 %slot
  %mark.done = sub i64 0, %mark
  store atomic i64 %mark.done, ptr %word release, align 8
  %before = atomicrmw add ptr %done.array, i64 1 seq_cst
  %number = add i64 %before, 1
  %last = icmp eq i64 %number, %total
  br i1 %last, label %look, label %no
look:
  %asleep = load atomic i64, ptr %waiting.array seq_cst, align 8
  ret i64 %asleep
no:
  ret i64 0
}}

; Takes slots and does them, until there is one left to the caller.
define i64 @claim(ptr %fields) {{
entry:
  {_load("steps", "arguments")}
  br label %next
next:
  %slot = call i64 @take(ptr %fields)
  %some = icmp sge i64 %slot, 0
  br i1 %some, label %look, label %none
look:
  %step.place = getelementptr ptr, ptr %steps.array, i64 %slot
  %step = load ptr, ptr %step.place
  %compiled = icmp ne ptr %step, null
  br i1 %compiled, label %do, label %leave
do:
  %argument.place = getelementptr i64, ptr %arguments.array, i64 %slot
  %argument = load i64, ptr %argument.place
  %unfinished = call i1 %step(i64 %argument)
  br i1 %unfinished, label %leave, label %end
end:
  %asleep = call i64 @finish(ptr %fields, i64 %slot)
  %wake = icmp ne i64 %asleep, 0
  br i1 %wake, label %last, label %next
leave:
  ret i64 %slot
last:
  ret i64 {LAST}
none:
  ret i64 {NONE}
}}
"""
_ENGINE = compile_code(_CODE)
_fields = ctypes.POINTER(Fields)
claim = ctypes.CFUNCTYPE(ctypes.c_int64, _fields)(_ENGINE.get_function_address("claim"))
finish = ctypes.PYFUNCTYPE(ctypes.c_int64, _fields, ctypes.c_int64)(_ENGINE.get_function_address("finish"))
