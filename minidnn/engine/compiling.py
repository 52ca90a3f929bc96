"""From a graph to what runs it, by a compiler that is imported at the first need."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from functools import cache, lru_cache, partial
from typing import TYPE_CHECKING, Any

import numpy as np

from minidnn import settings
from minidnn.deferred import import_safely
from minidnn.errors import OpError
from minidnn.ir.graph import Graph
from minidnn.ir.printing import debug_enabled, debug_print
from minidnn.ops.registry import TensorType
from minidnn.plan.program import HostStep
from minidnn.process_safe import uninterrupted
from minidnn.runtime.counters import COUNTERS
from minidnn.runtime.memory import Arenas
from minidnn.runtime.messages import start_logging
from minidnn.runtime.threads import pool
from minidnn.untrusted import printable
from minidnn_kernels.fork_lock import FORK_LOCK

if TYPE_CHECKING:
    from minidnn.lowering import WeightStore
    from minidnn.lowering.steps import Measure
    from minidnn.plan.program import Program
    from minidnn.runtime.executor import Executor
    from minidnn_kernels.isa import Isa

__all__ = ["load_compiler", "log_on_host", "make_executor", "note_on_host", "refuse_nan"]

_log = logging.getLogger(__name__)

Array = np.ndarray[Any, Any]

_COMPILER = ("minidnn.lowering", "minidnn.runtime.executor", "minidnn.runtime.library", "minidnn_kernels.peak")


@cache
def load_compiler() -> None:
    """Import what compiles and runs, at the first need: `import minidnn` needs none of it."""
    start_logging()
    import_safely(_COMPILER)


def make_executor(
    graph: Graph,
    parameters: Mapping[str, Array],
    inputs: Mapping[str, tuple[TensorType, str]],
    layouts: Sequence[str] | None,
    versions: Mapping[str, int] | None,
    arenas: Arenas | None,
    name: str,
    is_operator: bool = False,
    usual: Mapping[str, tuple[TensorType, ...]] | None = None,
    store: WeightStore | None = None,
    types: Mapping[str, tuple[TensorType, ...]] | None = None,
    measure: Measure | None = None,
) -> Executor:
    load_compiler()
    from minidnn.lowering import lower  # deferred: it loads the compiler
    from minidnn.runtime.executor import Executor  # deferred: it loads the compiler
    from minidnn.runtime.library import library  # deferred: it loads the compiler

    begin = time.perf_counter()
    kernels = library()
    program = lower(graph, parameters, inputs, layouts, kernels.isa, versions, usual, store, types, measure)
    debug_print("plan", f"{len(program.steps)} steps for {kernels.isa.name}", lambda: str(program))
    if debug_enabled("asm"):
        uninterrupted(partial(_print_assembly, program, kernels.isa))
    executor = Executor(program, kernels, pool, arenas, is_operator)
    seconds = time.perf_counter() - begin
    COUNTERS.compile_seconds.add(seconds)
    level = logging.DEBUG if is_operator else logging.INFO
    if _log.isEnabledFor(level):
        signature = ", ".join(f"{printable(key)} {type_}" for key, (type_, _) in inputs.items())
        _log.log(
            level,
            "%s(%s): %d steps for %s in %.3f s; kernels: %d compiled, %d from the cache, %d loaded before",
            *(name, signature, len(program.steps), kernels.isa.name, seconds, *executor.prepared),
        )
    for step in program.steps:
        if isinstance(step, HostStep):
            note_on_host(step.operator, step.name, step.reason)
    return executor


def _print_assembly(program: Program, isa: Isa) -> None:
    with FORK_LOCK:
        from minidnn_kernels.codegen import emit_asm  # deferred: it loads LLVM

        for spec in program.kernels():
            debug_print("asm", spec.name, partial(emit_asm, spec.emit(isa), isa))


def note_on_host(operator: str, name: str, reason: str) -> None:
    """Log, once, that an operator runs on NumPy."""
    if _log.isEnabledFor(logging.INFO):
        log_on_host(operator, name, reason)


@lru_cache(maxsize=4096)
def log_on_host(operator: str, name: str, reason: str) -> None:
    _log.info("%s (operator %s) runs on NumPy: %s", printable(name) or "an array", operator, reason)


def refuse_nan(name: str, array: Array) -> None:
    """With ``MINIDNN_CHECK_FINITE=1``, refuse NaN and infinity; without it they are numbers like others.

    Raises:
        OpError: there are some.
        SettingError: the variable is neither 0 nor 1.
    """
    if array.dtype.kind != "f" or not settings.CHECK_FINITE.value():
        return
    bad = array.size - int(np.isfinite(array).sum())
    if bad:
        raise OpError(f"{name} must be finite (MINIDNN_CHECK_FINITE), got {bad} NaN or infinite of {array.size}")
