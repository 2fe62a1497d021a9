"""The machine code of the threads that step worlds: they take one after the other, and wait for each other.

All share an array of words. A step begins when the counter becomes zero: each thread counts it up, and makes the world
that its number says, until none is left. Whoever waits for something looks at a word for a moment, as waking up takes
long, and then sleeps.
"""

from __future__ import annotations

import platform
import time
from collections.abc import Callable

from llvmlite import ir

from envs.compiled.compiled_task import RECORD
from envs.compiled.floats import STANDARD
from envs.compiled.machine_code import BYTE, INT, INT32, POINTER, VOID, Code, field, function_at, load
from envs.compiled.step import SEAT_SIZE

_SPIN = 200_000  # nanoseconds that somebody looks before going to sleep
_LOOKS = 64  # until others may have the core, if they want it
_PAUSE = {"x86_64": "pause", "AMD64": "pause", "aarch64": "yield", "arm64": "yield"}

# The words, in lines of their own: two lines of a cache, which some processors fetch together.
LINE = 16
COUNTER, DONE, BEGUN, SLEEPERS, MUTEX, CHANGED, COUNT, ORDER, RECORDS, STEPS = (LINE * i for i in range(10))
NUM_WORDS = 10 * LINE
STOP = 2**62  # as the number of the step begun


def write() -> Code:
    """`run(shared, seats)` makes a step, `serve(shared, seats)` is the life of a thread that helps, and `stop(shared)`
    ends these.

    Their arguments are the addresses of the words, and of the thread's seats [tasks, SEAT_SIZE].
    """
    code = Code()
    wake, wait = _wake(code), _wait(code)
    work = _work(code, wake)
    _run(code, work, wake, wait)
    _serve(code, work, wait)
    _stop(code, wake)
    return code


def _run(code: Code, work: ir.Function, wake: ir.Function, wait: ir.Function) -> None:
    """One step of all worlds, by the thread that wants it and those that help."""
    builder = code.define("run", VOID, [POINTER, POINTER])
    shared, seats = builder.function.args
    floats = builder.alloca(ir.ArrayType(INT, 8))
    builder.call(code.declare("fegetenv", INT32, [POINTER]), [floats])
    builder.call(code.declare("fesetenv", INT32, [INT]), [INT(STANDARD)])
    _set(builder, shared, DONE, 0)
    _set(builder, shared, COUNTER, 0)
    _add(builder, shared, BEGUN, 1)
    builder.call(wake, [shared])
    builder.call(work, [shared, seats])
    builder.call(wait, [shared, INT(DONE), load(builder, shared, COUNT)])
    builder.call(code.declare("fesetenv", INT32, [INT]), [builder.ptrtoint(floats, INT)])
    builder.ret_void()


def _serve(code: Code, work: ir.Function, wait: ir.Function) -> None:
    """Helps with one step after the other. A thread inherits how its parent computes, which may flush denormals."""
    builder = code.define("serve", VOID, [POINTER, POINTER])
    shared, seats = builder.function.args
    look, step, end = _blocks(builder, "look", "step", "end")
    builder.call(code.declare("fesetenv", INT32, [INT]), [INT(STANDARD)])
    builder.branch(look)

    builder.position_at_end(look)
    begun = _word(builder, shared, BEGUN)
    builder.cbranch(builder.icmp_signed("==", begun, INT(STOP)), end, step)

    builder.position_at_end(step)
    builder.call(work, [shared, seats])
    builder.call(wait, [shared, INT(BEGUN), builder.add(begun, INT(1))])
    builder.branch(look)

    builder.position_at_end(end)
    builder.ret_void()


def _stop(code: Code, wake: ir.Function) -> None:
    builder = code.define("stop", VOID, [POINTER])
    _set(builder, builder.function.args[0], BEGUN, STOP)
    builder.call(wake, builder.function.args)
    builder.ret_void()


def _work(code: Code, wake: ir.Function) -> ir.Function:
    """Steps worlds until none is left; who ends the last one wakes the caller."""
    assert RECORD.fields is not None
    task_index, cost_index = (RECORD.fields[name][1] // 8 for name in ("task", "cost"))
    builder = code.define("work", VOID, [POINTER, POINTER])
    shared, seats = builder.function.args
    now = _clock(code, builder)
    count = load(builder, shared, COUNT)
    order, records, steps = (load(builder, shared, index, POINTER) for index in (ORDER, RECORDS, STEPS))
    take, step, last, end = _blocks(builder, "take", "step", "last", "end")
    builder.branch(take)

    builder.position_at_end(take)
    number = _add(builder, shared, COUNTER, 1)
    builder.cbranch(builder.icmp_signed("<", number, count), step, end)

    builder.position_at_end(step)
    began = now()
    offset = builder.mul(load(builder, order, number), INT(RECORD.itemsize))
    record = builder.gep(records, [offset], source_etype=BYTE)
    task = load(builder, record, task_index)
    seat = field(builder, seats, builder.mul(task, INT(SEAT_SIZE)))
    builder.call(function_at(builder, steps, task, [POINTER, POINTER]), [seat, record])
    builder.store(builder.sub(now(), began), field(builder, record, cost_index))
    done = builder.add(_add(builder, shared, DONE, 1), INT(1))
    builder.cbranch(builder.icmp_signed("==", done, count), last, take)

    builder.position_at_end(last)
    builder.call(wake, [shared])
    builder.branch(end)

    builder.position_at_end(end)
    builder.ret_void()
    return builder.function


def _wait(code: Code) -> ir.Function:
    """`wait(shared, index, value)` returns when a word has reached a value."""
    builder = code.define("wait", VOID, [POINTER, INT, INT])
    shared, index, value = builder.function.args
    now = _clock(code, builder)
    mutex, changed = field(builder, shared, MUTEX), field(builder, shared, CHANGED)
    spin, look, pause, rest, sleep, check, doze, wake, end = _blocks(
        builder, "spin", "look", "pause", "rest", "sleep", "check", "doze", "wake", "end"
    )
    deadline = builder.add(now(), INT(_SPIN))
    builder.branch(spin)

    builder.position_at_end(spin)
    builder.branch(look)

    builder.position_at_end(look)
    looks = builder.phi(INT)
    builder.cbranch(builder.icmp_signed("<", _word(builder, shared, index), value), pause, end)

    builder.position_at_end(pause)
    builder.asm(ir.FunctionType(VOID, []), _PAUSE.get(platform.machine(), "nop"), "", [], True)
    more = builder.add(looks, INT(1))
    looks.add_incoming(INT(0), spin)
    looks.add_incoming(more, pause)
    builder.cbranch(builder.icmp_signed("<", more, INT(_LOOKS)), look, rest)

    builder.position_at_end(rest)
    builder.call(code.declare("sched_yield", INT32, []), [])
    builder.cbranch(builder.icmp_signed("<", now(), deadline), spin, sleep)

    builder.position_at_end(sleep)
    _pthread(code, builder, "mutex_lock", mutex)
    _add(builder, shared, SLEEPERS, 1)
    builder.branch(check)

    builder.position_at_end(check)
    builder.cbranch(builder.icmp_signed("<", _word(builder, shared, index), value), doze, wake)

    builder.position_at_end(doze)
    _pthread(code, builder, "cond_wait", changed, mutex)
    builder.branch(check)

    builder.position_at_end(wake)
    _add(builder, shared, SLEEPERS, -1)
    _pthread(code, builder, "mutex_unlock", mutex)
    builder.branch(end)

    builder.position_at_end(end)
    builder.ret_void()
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


def _blocks(builder: ir.IRBuilder, *names: str) -> list[ir.Block]:
    return [builder.append_basic_block(name) for name in names]


def _word(builder: ir.IRBuilder, shared: ir.Value, index: int | ir.Value) -> ir.Value:
    return builder.load_atomic(field(builder, shared, index), "seq_cst", 8, typ=INT)


def _set(builder: ir.IRBuilder, shared: ir.Value, index: int, value: int) -> None:
    builder.atomic_rmw("xchg", field(builder, shared, index), INT(value), "seq_cst")


def _add(builder: ir.IRBuilder, shared: ir.Value, index: int, value: int) -> ir.Value:
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
