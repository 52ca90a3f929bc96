"""Loops around the microkernels are plain Python, compiled by Numba; this turns one into a kernel.

Every kernel has one signature, ``void kernel(intp args, intp part, intp parts, intp memory)``: `args` is the
address of a row of int64, the kernel does its `part` of `parts`, and `memory` is scratch memory of the thread
it runs on. A loop function takes these four, reads its arguments with `load`, and calls a microkernel by
address with one of the `call` words. It must not allocate, raise or touch a Python object; `loop_ir` refuses
one that does.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cache
from typing import Any

from minidnn_kernels.host import host_arch

__all__ = ["KERNEL_ARGUMENTS", "loop_ir"]

KERNEL_ARGUMENTS = 4

# What compiled loops may call: nothing of Python's or Numba's runtime.
_ALLOWED_EXTERNALS = re.compile(r"llvm\..*|mem(set|cpy|move)|sched_yield|clock_gettime")


# How a core of each architecture is told of a spinning wait: the instructions ``pause`` and ``yield``.
_PAUSES = {
    "x86_64": ("declare void @llvm.x86.sse2.pause()", "call void @llvm.x86.sse2.pause()"),
    "aarch64": ("declare void @llvm.aarch64.hint(i32)", "call void @llvm.aarch64.hint(i32 1)"),
}


@cache
def _compiled(function: Callable[..., Any], arguments: int) -> tuple[str, str]:
    """What Numba makes of a function, for any architecture: LLVM IR, and the symbol of the function in it."""
    from numba import cfunc, types

    signature = types.void(*[types.intp] * arguments)
    options: dict[str, Any] = {"nopython": True, "error_model": "numpy", "boundscheck": False}
    compiled = cfunc(signature, **options)(function)
    return str(compiled.inspect_llvm()), str(compiled.native_name.removeprefix("cfunc."))


def loop_ir(
    function: Callable[..., Any], symbol: str, arguments: int = KERNEL_ARGUMENTS, arch: str | None = None
) -> str:
    """LLVM IR with one exported function ``void symbol(i64 ...)`` that does what `function` does.

    Args:
        arch: the architecture it is for, this machine's by default.

    Raises:
        RuntimeError: the function needs Python's runtime (it allocates, raises or prints).
    """
    import llvmlite.binding as llvm

    from minidnn_kernels.codegen import optimize  # deferred: it loads LLVM
    from minidnn_kernels.loop_words import PAUSE  # deferred: it loads Numba

    compiled, native = _compiled(function, arguments)
    # Numba's own wrapper reports a failing status through Python. A loop has no failing status, so this
    # wrapper drops it, and with it every reference to the runtime.
    names = [f"%a{i}" for i in range(arguments)]
    typed = ", ".join(f"i64 {name}" for name in names)
    wrapper = f"""
define void @{symbol}({typed}) null_pointer_is_valid {{
  %result = alloca ptr
  %error = alloca ptr
  %status = call i32 @{native}(ptr %result, ptr %error, {typed})
  ret void
}}
"""
    module = llvm.parse_assembly(compiled + wrapper)
    declaration, call = _PAUSES[arch or host_arch()]
    pause = f"{declaration}\ndefine void @{PAUSE}() alwaysinline {{\n  {call}\n  ret void\n}}"
    module.link_in(llvm.parse_assembly(pause))
    for other in module.functions:
        if not other.is_declaration and other.name != symbol:
            other.linkage = "internal"
    passes = llvm.create_new_module_pass_manager()
    passes.add_global_dead_code_eliminate_pass()
    machine = llvm.Target.from_default_triple().create_target_machine()
    passes.run(module, llvm.create_pass_builder(machine, llvm.create_pipeline_tuning_options()))
    for other in module.functions:
        if other.is_declaration and not _ALLOWED_EXTERNALS.fullmatch(other.name):
            raise RuntimeError(f"loop {symbol!r} needs {other.name!r} of a runtime that kernels do not have")
    # Numba keeps what a function may raise as pickled constants.
    if any("pickle" in constant.name for constant in module.global_variables):
        raise RuntimeError(f"loop {symbol!r} may raise, and has nobody to tell")
    optimize(module, machine)
    return str(module)
