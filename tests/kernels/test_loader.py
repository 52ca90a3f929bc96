"""The loader: code does what it does when LLVM loads it, cannot be written to, and is left to LLVM where it must be."""

from __future__ import annotations

import ctypes
import sys
from pathlib import Path

import numpy as np
import pytest
from kernel_kinds import every_kind
from microkernels import Array, address, words

from minidnn_kernels import loader as module
from minidnn_kernels.codegen import emit_object, load_object
from minidnn_kernels.elementwise import ElementwiseSpec
from minidnn_kernels.elf import read_object
from minidnn_kernels.epilogue import OPS, Epilogue, Instruction
from minidnn_kernels.isa import ISAS, Isa, best_isa, host_supports
from minidnn_kernels.loader import Loader, map_object
from minidnn_kernels.pooling import PoolSpec

linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="elsewhere LLVM loads")
every_isa_here = pytest.mark.parametrize("isa", [isa for isa in ISAS if host_supports(isa)], ids=lambda isa: isa.name)

# Calls what the C library has, and jumps through a table.
_CALLS = """
declare float @llvm.floor.f32(float)
declare void @llvm.memset.p0.i64(ptr, i8, i64, i1)
declare void @llvm.memcpy.p0.p0.i64(ptr, ptr, i64, i1)
define void @kernel(i64 %to, i64 %from, i64 %size, i64 %case) {
  %t = inttoptr i64 %to to ptr
  %f = inttoptr i64 %from to ptr
  switch i64 %case, label %done [
    i64 0, label %zero
    i64 1, label %one
    i64 2, label %copy
    i64 3, label %floor
    i64 4, label %last
  ]
zero:
  call void @llvm.memset.p0.i64(ptr %t, i8 0, i64 %size, i1 false)
  ret void
one:
  call void @llvm.memset.p0.i64(ptr %t, i8 1, i64 %size, i1 false)
  ret void
copy:
  call void @llvm.memcpy.p0.p0.i64(ptr %t, ptr %f, i64 %size, i1 false)
  ret void
floor:
  %x = load float, ptr %f
  %y = call float @llvm.floor.f32(float %x)
  store float %y, ptr %t
  ret void
last:
  store i64 %size, ptr %t
  ret void
done:
  ret void
}
"""


def _call(where: int, *arguments: int) -> None:
    ctypes.CFUNCTYPE(None, *[ctypes.c_int64] * len(arguments))(where)(*arguments)


def _both(code: bytes, symbol: str) -> tuple[int, int]:
    """The addresses of the symbol as we load it, and as LLVM does, which keeps it as long as the process."""
    engine, theirs = load_object(code, symbol)
    _ENGINES.append(engine)
    return map_object(code, symbol), theirs


_ENGINES: list[object] = []


@linux
@every_isa_here
def test_every_kind_of_kernel_is_loaded_without_llvm(isa: Isa) -> None:
    loader = Loader()
    for spec in every_kind(isa):
        assert loader.load(emit_object(spec.emit(isa), isa), spec.name)
    assert loader.by_llvm == {}


@linux
@every_isa_here
def test_the_results_have_the_bits_of_code_that_llvm_loads(isa: Isa) -> None:
    x, numbers = np.random.default_rng(0).standard_normal(61).astype(np.float32), np.full(64, 0.5, np.float32)
    for name, (arity, _, _) in OPS.items():
        spec = ElementwiseSpec(Epilogue((Instruction(name, (0, 0, 0)[:arity]),), ("tensor",)))
        results: list[Array] = []
        for where in _both(emit_object(spec.emit(isa), isa), spec.name):
            results.append(np.full(64, -77, np.float32))
            context = words(address(results[-1]), address(x))
            _call(where, address(context), 61, address(numbers))
        assert (results[0][:61] != -77).all(), name
        np.testing.assert_array_equal(*(result.view(np.int32) for result in results), err_msg=name)


@linux
@every_isa_here
def test_functions_of_the_c_library_are_reached(isa: Isa) -> None:
    code = emit_object(_CALLS, isa)
    found, size = read_object(code, isa.arch), 5000
    assert {"memset", "memcpy"} <= {*found.externals} <= {"memset", "memcpy", "floorf"}
    kernel = map_object(code, "kernel")
    source, target = np.arange(size, dtype=np.uint8), np.full(size, 9, np.uint8)
    for case, expected in ((0, np.zeros(size)), (1, np.ones(size)), (2, source), (5, source)):
        _call(kernel, address(target), address(source), size, case)
        np.testing.assert_array_equal(target, expected)
    number = np.array([-1.25, 7], np.float32)
    _call(kernel, address(number) + 4, address(number), 0, 3)
    assert number.tolist() == [-1.25, -2]
    _call(kernel, address(target), address(source), 12345, 4)
    assert target[:8].view(np.int64)[0] == 12345


@linux
def test_code_is_never_both_written_and_executed() -> None:
    isa = best_isa()
    where = map_object(emit_object(PoolSpec("max").emit(isa), isa), PoolSpec("max").name)
    permissions = []
    for line in Path("/proc/self/maps").read_text().splitlines():
        begin, end = line.split()[0].split("-")
        if int(begin, 16) <= where < int(end, 16):
            permissions.append(line.split()[1])
    assert permissions == ["r-xp"]


def _llvm_loads(loader: Loader, ir_text: str, isa: Isa) -> str:
    """Why the loader left it to LLVM, which loaded it."""
    assert loader.load(emit_object(ir_text, isa), "kernel")
    return loader.by_llvm["kernel"]


@linux
def test_llvm_loads_what_is_not_of_a_kernel() -> None:
    data = "@n = global i32 1\ndefine ptr @kernel() { ret ptr @n }"
    assert "flags" in _llvm_loads(Loader(), data, best_isa())
    other = "declare i32 @getpid()\ndefine i32 @kernel() { %n = call i32 @getpid() ret i32 %n }"
    assert "getpid" in _llvm_loads(Loader(), other, best_isa())


@linux
@pytest.mark.parametrize("trouble", ["mmap", "mprotect"])
def test_llvm_loads_where_the_system_refuses(trouble: str, monkeypatch: pytest.MonkeyPatch) -> None:
    refuse = {"mmap": ("_map", lambda *_: ctypes.c_void_p(-1).value), "mprotect": ("_protect", lambda *_: -1)}[trouble]
    monkeypatch.setattr(module._system(), *refuse)
    reason = _llvm_loads(Loader(), "define void @kernel() { ret void }", best_isa())
    assert "memory" in reason


def test_llvm_loads_on_other_systems(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_system", module._System)
    monkeypatch.setattr(sys, "platform", "darwin")
    assert "darwin" in _llvm_loads(Loader(), "define void @kernel() { ret void }", best_isa())
