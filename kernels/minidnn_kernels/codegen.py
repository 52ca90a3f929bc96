"""From LLVM IR to object code for any CPU LLVM knows, and from object code to an address where `loader` cannot.

Importing this module loads LLVM, 70 MB in a tenth of a second: whoever may do without it imports it late.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import llvmlite.binding as llvm

from minidnn_kernels.fork_lock import FORK_LOCK
from minidnn_kernels.isa import Isa

__all__ = ["emit_asm", "emit_object", "load_object", "optimize"]


@cache
def _initialized() -> bool:
    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()
    return True


def _target_machine(isa: Isa) -> Any:
    _initialized()
    target = llvm.Target.from_triple(isa.triple)
    return target.create_target_machine(
        cpu=isa.cpu, features=isa.features, opt=3, reloc="pic", codemodel="default", jit=False
    )


def _parsed(ir_text: str, isa: Isa) -> tuple[Any, Any]:
    """A module for that ISA, and the machine that makes code of it."""
    machine = _target_machine(isa)
    module = llvm.parse_assembly(ir_text)
    module.triple = isa.triple
    module.data_layout = str(machine.target_data)
    module.verify()
    return module, machine


def optimize(module: Any, machine: Any) -> None:
    """Have LLVM's passes go over a module, without those that make loops longer; the caller holds `FORK_LOCK`."""
    tuning = llvm.create_pipeline_tuning_options(speed_level=3)
    # The generators place every register by hand: LLVM's own unrolling only spills them.
    tuning.loop_unrolling = False
    tuning.slp_vectorization = False
    tuning.loop_vectorization = False
    builder = llvm.create_pass_builder(machine, tuning)
    builder.getModulePassManager().run(module, builder)


def emit_object(ir_text: str, isa: Isa, is_optimized: bool = False) -> bytes:
    """Position-independent object code (ELF) for that ISA.

    Args:
        is_optimized: that LLVM's passes have been over it, as over the loops.

    Raises:
        RuntimeError: LLVM refuses the IR.
    """
    with FORK_LOCK:
        return _emit_object(ir_text, isa, is_optimized)


def emit_asm(ir_text: str, isa: Isa) -> str:
    """Assembly text for that ISA, on any machine: what the tests read."""
    with FORK_LOCK:
        return _emit_asm(ir_text, isa)


# Functions of their own, so that LLVM's objects are also freed under the lock.
def _emit_object(ir_text: str, isa: Isa, is_optimized: bool) -> bytes:
    module, machine = _parsed(ir_text, isa)
    if not is_optimized:
        optimize(module, machine)
    return bytes(machine.emit_object(module))


def _emit_asm(ir_text: str, isa: Isa) -> str:
    module, machine = _parsed(ir_text, isa)
    optimize(module, machine)
    return str(machine.emit_assembly(module))


def load_object(object_code: bytes, symbol: str) -> tuple[Any, int]:
    """What holds the code as long as it is there, and the address of `symbol`, 0 if there is none.

    Raises:
        RuntimeError: LLVM cannot load it.
    """
    with FORK_LOCK:
        _initialized()
        machine = llvm.Target.from_default_triple().create_target_machine(codemodel="jitdefault", jit=True)
        engine = llvm.create_mcjit_compiler(llvm.parse_assembly(""), machine)
        engine.add_object_file(llvm.ObjectFileRef.from_data(object_code))
        engine.finalize_object()
        return engine, int(engine.get_function_address(symbol))
