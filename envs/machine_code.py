"""LLVM's language to machine code."""

from __future__ import annotations

import llvmlite.binding as llvm


def compile_code(code: str) -> llvm.ExecutionEngine:
    """Compiles a module; its functions may be called as long as the engine is there.

    Raises:
        RuntimeError: it is not a correct module.
    """
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    llvm.initialize_native_asmparser()
    features = llvm.get_host_cpu_features().flatten()
    target = llvm.Target.from_default_triple().create_target_machine(
        cpu=llvm.get_host_cpu_name(), features=features, opt=1
    )
    module = llvm.parse_assembly(code)
    builder = llvm.create_pass_builder(target, llvm.create_pipeline_tuning_options(speed_level=1))
    builder.getModulePassManager().run(module, builder)
    engine = llvm.create_mcjit_compiler(module, target)
    engine.finalize_object()
    return engine


def pointer(address: int) -> str:
    """An address in LLVM's language."""
    return f"inttoptr (i64 {address} to ptr)"
