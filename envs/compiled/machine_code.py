"""Functions in LLVM's intermediate representation, compiled for this machine."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import llvmlite.binding as llvm
from llvmlite import ir

BOOL, BYTE, INT32, INT = ir.IntType(1), ir.IntType(8), ir.IntType(32), ir.IntType(64)
DOUBLE, POINTER, VOID = ir.DoubleType(), ir.PointerType(), ir.VoidType()


class Code:
    """A module of functions; those that it does not define are taken from the libraries that the process has loaded."""

    def __init__(self) -> None:
        self.module = ir.Module()

    def declare(self, name: str, result: ir.Type, arguments: Sequence[ir.Type]) -> ir.Function:
        """A function of a library, or of this module, by its name."""
        if name in self.module.globals:
            return self.module.globals[name]
        return ir.Function(self.module, ir.FunctionType(result, arguments), name)

    def define(self, name: str, result: ir.Type, arguments: Sequence[ir.Type]) -> ir.IRBuilder:
        """A builder at the beginning of a new function."""
        return ir.IRBuilder(self.declare(name, result, arguments).append_basic_block("entry"))

    def compile(self) -> Callable[[str], int]:
        """Machine code: gives the addresses of the functions by name, which stay valid as long as it exists itself."""
        llvm.initialize_native_target()
        llvm.initialize_native_asmprinter()
        llvm.initialize_native_asmparser()
        target = llvm.Target.from_default_triple().create_target_machine(
            cpu=llvm.get_host_cpu_name(), features=llvm.get_host_cpu_features().flatten(), opt=1
        )
        module = llvm.parse_assembly(str(self.module))
        builder = llvm.create_pass_builder(target, llvm.create_pipeline_tuning_options(speed_level=1))
        builder.getModulePassManager().run(module, builder)
        engine = llvm.create_mcjit_compiler(module, target)
        engine.finalize_object()
        address: Callable[[str], int] = engine.get_function_address
        return address


def field(builder: ir.IRBuilder, pointer: ir.Value, index: int | ir.Value, kind: ir.Type = INT) -> ir.Value:
    """The address of an element of an array."""
    return builder.gep(pointer, [index if isinstance(index, ir.Value) else INT(index)], source_etype=kind)


def load(builder: ir.IRBuilder, pointer: ir.Value, index: int | ir.Value, kind: ir.Type = INT) -> ir.Value:
    """An element of an array."""
    return builder.load(field(builder, pointer, index, kind), typ=kind)


def function_at(
    builder: ir.IRBuilder, pointer: ir.Value, index: int | ir.Value, arguments: Sequence[ir.Type]
) -> ir.Value:
    """An element of an array of functions that give nothing."""
    kind = ir.FunctionType(VOID, arguments).as_pointer()
    return builder.load(field(builder, pointer, index, POINTER), typ=kind)


@contextmanager
def repeat(builder: ir.IRBuilder) -> Iterator[Callable[[ir.Value], None]]:
    """Repeats what is built in it; gives what leaves it on a condition."""
    begin, end = builder.append_basic_block("begin"), builder.append_basic_block("end")

    def leave_if(condition: ir.Value) -> None:
        stay = builder.append_basic_block("stay")
        builder.cbranch(condition, end, stay)
        builder.position_at_end(stay)

    builder.branch(begin)
    builder.position_at_end(begin)
    yield leave_if
    builder.branch(begin)
    builder.position_at_end(end)


@contextmanager
def each(builder: ir.IRBuilder, count: ir.Value) -> Iterator[ir.Value]:
    """Repeats what is built in it for 0, 1, ..., count - 1, which it gives."""
    before = builder.block
    with repeat(builder) as leave_if:
        index = builder.phi(INT)
        index.add_incoming(INT(0), before)
        leave_if(builder.icmp_signed(">=", index, count))
        yield index
        index.add_incoming(builder.add(index, INT(1)), builder.block)
