"""The machine code of the threads that step worlds: they take one after the other, and wait for each other.

All share an array of words. Each thread has worlds of its own, of few tasks, whose models stay in its core's cache. A
step begins when the number that is left of them becomes that of all. Each thread counts it down, and steps the world
that its number says, until none is left; then it helps the other threads with theirs. Whoever waits for a word looks at
it for a moment, as waking up takes long, and then sleeps; who had to wait longer for the last step sleeps at once.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from llvmlite import ir

from envs.compiled.compiled_task import RECORD
from envs.compiled.floats import STANDARD
from envs.compiled.machine_code import (
    BYTE,
    INT,
    INT32,
    POINTER,
    VOID,
    Code,
    each,
    field,
    function_at,
    load,
    repeat,
)
from envs.compiled.simulation import NUM_ADDRESSES

_LOOK = 1_000_000  # nanoseconds that somebody looks before going to sleep

# The words, in lines of their own: two lines of a cache, which some processors fetch together.
LINE = 16
DONE, SLEEPERS, MUTEX, CHANGED, COUNT, THREADS, ORDER, RECORDS, STEPS, LEFT = (LINE * i for i in range(10))
_STOP = 2**62  # worlds left, when there is to be no step any more


def num_words(num_threads: int) -> int:
    """From LEFT on, each thread has a line."""
    return LEFT + LINE * num_threads


def write() -> Code:
    """`run(shared, simulations)` makes a step, `serve(shared, simulations, thread)` is the life of a thread that helps,
    and `stop(shared)` ends these.

    Their arguments are the address of the words, that of the addresses of the thread's simulations [tasks,
    NUM_ADDRESSES], and its number. Who calls `run` is thread 0.
    """
    code = Code()
    wake, wait = _wake(code), _wait(code)
    work = _work(code, wake)

    builder = code.define("run", VOID, [POINTER, POINTER])
    shared, simulations = builder.function.args
    _set(builder, shared, DONE, INT(0))
    with each(builder, load(builder, shared, THREADS)) as thread:
        _set(builder, shared, _left(builder, thread), _share(builder, shared, thread)[1])
    builder.call(wake, [shared])
    builder.call(work, [shared, simulations, INT(0)])
    builder.call(wait, [shared, INT(DONE), load(builder, shared, COUNT), INT(_LOOK)])
    builder.ret_void()

    builder = code.define("serve", VOID, [POINTER, POINTER, INT])
    shared, simulations, thread = builder.function.args
    left, look = _left(builder, thread), builder.alloca(INT)
    builder.store(INT(_LOOK), look)
    with repeat(builder) as leave_if:
        waited = builder.call(wait, [shared, left, INT(1), load(builder, look, 0)])
        leave_if(builder.icmp_signed(">", _word(builder, shared, left), INT(_STOP // 2)))
        soon = builder.icmp_signed("<", waited, INT(_LOOK))
        builder.store(builder.select(soon, INT(_LOOK), INT(0)), look)
        builder.call(work, [shared, simulations, thread])
    builder.ret_void()

    builder = code.define("stop", VOID, [POINTER])
    (shared,) = builder.function.args
    with each(builder, load(builder, shared, THREADS)) as thread:
        _set(builder, shared, _left(builder, thread), INT(_STOP))
    builder.call(wake, [shared])
    builder.ret_void()
    return code


def _work(code: Code, wake: ir.Function) -> ir.Function:
    """Steps a thread's worlds, then those of the others, until none is left; who ends the last one wakes the caller.

    Meanwhile the thread keeps to IEEE 754: it may have inherited, or its caller may have chosen, to flush denormals.
    """
    assert RECORD.fields is not None
    task_index, cost_index = (RECORD.fields[name][1] // 8 for name in ("task", "cost"))
    builder = code.define("work", VOID, [POINTER, POINTER, INT])
    shared, simulations, thread = builder.function.args
    now = _clock(code, builder)
    floats = builder.alloca(ir.ArrayType(INT, 8))
    builder.call(code.declare("fegetenv", INT32, [POINTER]), [floats])
    set_floats = code.declare("fesetenv", INT32, [INT])
    builder.call(set_floats, [INT(STANDARD)])
    threads, count = load(builder, shared, THREADS), load(builder, shared, COUNT)
    order, records, steps = (load(builder, shared, index, POINTER) for index in (ORDER, RECORDS, STEPS))
    with each(builder, threads) as turn:
        whose = builder.urem(builder.add(thread, turn), threads)
        left, (first, size) = _left(builder, whose), _share(builder, shared, whose)
        with repeat(builder) as leave_if:
            leave_if(builder.icmp_signed("<", _word(builder, shared, left), INT(1)))
            number = builder.sub(_add(builder, shared, left, -1), INT(1))
            leave_if(builder.icmp_unsigned(">=", number, size))  # negative, or it is the end of all steps
            began = now()
            offset = builder.mul(load(builder, order, builder.add(first, number)), INT(RECORD.itemsize))
            record = builder.gep(records, [offset], source_etype=BYTE)
            task = load(builder, record, task_index)
            simulation = field(builder, simulations, builder.mul(task, INT(NUM_ADDRESSES)))
            builder.call(function_at(builder, steps, task, [POINTER, POINTER]), [simulation, record])
            builder.store(builder.sub(now(), began), field(builder, record, cost_index))
            done = builder.add(_add(builder, shared, DONE, 1), INT(1))
            with builder.if_then(builder.icmp_signed("==", done, count)):
                builder.call(wake, [shared])
    builder.call(set_floats, [builder.ptrtoint(floats, INT)])
    builder.ret_void()
    return builder.function


def _wait(code: Code) -> ir.Function:
    """`wait(shared, index, value, look)` returns when a word has reached a value, and says after how many nanoseconds.

    For the first `look` of them it looks, and meanwhile others may have the core.
    """
    builder = code.define("wait", INT, [POINTER, INT, INT, INT])
    shared, index, value, look = builder.function.args
    now = _clock(code, builder)
    mutex, changed = field(builder, shared, MUTEX), field(builder, shared, CHANGED)

    def reached() -> ir.Value:
        return builder.icmp_signed(">=", _word(builder, shared, index), value)

    began = now()
    with repeat(builder) as leave_if:
        leave_if(reached())
        leave_if(builder.icmp_signed(">=", builder.sub(now(), began), look))
        builder.call(code.declare("sched_yield", INT32, []), [])
    with builder.if_then(builder.not_(reached())):
        _pthread(code, builder, "mutex_lock", mutex)
        _add(builder, shared, SLEEPERS, 1)
        with repeat(builder) as leave_if:
            leave_if(reached())
            _pthread(code, builder, "cond_wait", changed, mutex)
        _add(builder, shared, SLEEPERS, -1)
        _pthread(code, builder, "mutex_unlock", mutex)
    builder.ret(builder.sub(now(), began))
    return builder.function


def _wake(code: Code) -> ir.Function:
    """Called when a word was changed: who sleeps said so before looking at the word."""
    builder = code.define("wake", VOID, [POINTER])
    (shared,) = builder.function.args
    mutex, changed = field(builder, shared, MUTEX), field(builder, shared, CHANGED)
    with builder.if_then(builder.icmp_signed(">", _word(builder, shared, SLEEPERS), INT(0))):
        _pthread(code, builder, "mutex_lock", mutex)
        _pthread(code, builder, "cond_broadcast", changed)
        _pthread(code, builder, "mutex_unlock", mutex)
    builder.ret_void()
    return builder.function


# ---------------------------------------------------------------- what these are made of


def _left(builder: ir.IRBuilder, thread: ir.Value) -> ir.Value:
    """The word that says how many of a thread's worlds are left."""
    return builder.add(INT(LEFT), builder.mul(thread, INT(LINE)))


def _share(builder: ir.IRBuilder, shared: ir.Value, thread: ir.Value) -> tuple[ir.Value, ir.Value]:
    """Where a thread's worlds begin in the order, and how many they are."""
    count, threads = load(builder, shared, COUNT), load(builder, shared, THREADS)
    first, end = (
        builder.udiv(builder.mul(number, count), threads) for number in (thread, builder.add(thread, INT(1)))
    )
    return first, builder.sub(end, first)


def _word(builder: ir.IRBuilder, shared: ir.Value, index: int | ir.Value) -> ir.Value:
    return builder.load_atomic(field(builder, shared, index), "seq_cst", 8, typ=INT)


def _set(builder: ir.IRBuilder, shared: ir.Value, index: int | ir.Value, value: ir.Value) -> None:
    builder.atomic_rmw("xchg", field(builder, shared, index), value, "seq_cst")


def _add(builder: ir.IRBuilder, shared: ir.Value, index: int | ir.Value, value: int) -> ir.Value:
    """Adds to a word; what it was before."""
    return builder.atomic_rmw("add", field(builder, shared, index), INT(value), "seq_cst")


def _pthread(code: Code, builder: ir.IRBuilder, name: str, *arguments: ir.Value) -> None:
    builder.call(code.declare(f"pthread_{name}", INT32, [POINTER] * len(arguments)), arguments)


def _clock(code: Code, builder: ir.IRBuilder) -> Callable[[], ir.Value]:
    """Emits code that gives the nanoseconds of a clock."""
    place = builder.alloca(ir.ArrayType(INT, 2))

    def now() -> ir.Value:
        function = code.declare("clock_gettime", INT32, [INT32, POINTER])
        builder.call(function, [INT32(time.CLOCK_MONOTONIC), place])
        seconds = builder.mul(load(builder, place, 0), INT(10**9))
        return builder.add(seconds, load(builder, place, 1))

    return now
