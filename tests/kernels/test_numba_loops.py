"""Loops are native code and nothing else: what needs Python's runtime is refused when it is compiled."""

from __future__ import annotations

import ctypes
import re

import llvmlite.binding as llvm
import numpy as np
import pytest

from minidnn_kernels.codegen import emit_asm, emit_object
from minidnn_kernels.element_words import load_float, store_double
from minidnn_kernels.elements import element_code
from minidnn_kernels.isa import best_isa, get_isa
from minidnn_kernels.loader import Loader
from minidnn_kernels.loop_words import copy_bytes, copy_item, inlined, load, load_i32, pause, scratch, store
from minidnn_kernels.numba_loops import loop_ir


def _sum_loop(args: int, part: int, parts: int, memory: int) -> None:
    """[target, count, numbers ...]: this part's share of the sum, by way of the stack."""
    count = load(args + 8)
    total = scratch(1)
    store(total, 0)
    for i in range(count * part // parts, count * (part + 1) // parts):
        store(total, load(total) + load(args + 16 + i * 8))
    store(load(args), load(load(args)) + load(total))


def _bytes_loop(args: int, part: int, parts: int, memory: int) -> None:
    """[target, source, size]: the int32 at the source, then its bytes in two ways."""
    target, source, size = load(args), load(args + 8), load(args + 16)
    store(target, load_i32(source))
    copy_bytes(target + 8, source, size)
    copy_item(target + 16, source, size)


@inlined
def _element(args: int, row: int, number: int) -> float:
    """Of rows with a pitch."""
    return load_float(load(args) + row * load(args + 8) + number * load(args + 16), load(args + 24))


def _first_loop(args: int, part: int, parts: int, memory: int) -> None:
    """[numbers, pitch, item, code, target]: the first element of each of two rows."""
    for row in range(2):
        store_double(load(args + 32) + row * 8, _element(args, row, 0))


def _allocating(args: int, part: int, parts: int, memory: int) -> None:
    store(args, np.zeros(part).size)


def _printing(args: int, part: int, parts: int, memory: int) -> None:
    print(part)


def _raising(args: int, part: int, parts: int, memory: int) -> None:
    if part > parts:
        raise ValueError("no such part")


def _pausing(args: int, part: int, parts: int, memory: int) -> None:
    while load(args) != 0:
        pause()


def _compile(function: object, symbol: str) -> ctypes._CFunctionType:
    assert callable(function)
    address = _LOADER.load(emit_object(loop_ir(function, symbol), best_isa()), symbol)
    return ctypes.CFUNCTYPE(None, *[ctypes.c_int64] * 4)(address)


_LOADER = Loader()


def test_a_loop_computes_on_raw_memory() -> None:
    loop = _compile(_sum_loop, "sum_loop")
    target = np.zeros(1, np.int64)
    row = np.array([target.ctypes.data, 10, *range(10)], np.int64)
    for part in range(3):
        loop(row.ctypes.data, part, 3, 0)
    assert target[0] == 45


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_an_offset_of_zero_is_no_null_pointer(dtype: str) -> None:
    loop = _compile(_first_loop, "first_loop")
    numbers, target = np.arange(1, 9).reshape(2, 4).astype(dtype), np.zeros(2)
    code = element_code(numbers.dtype)
    row = np.array([numbers.ctypes.data, *numbers.strides, code, target.ctypes.data], np.int64)
    loop(row.ctypes.data, 0, 1, 0)
    assert target.tolist() == [1, 5]


@pytest.mark.parametrize("size", [1, 2, 4, 8])
def test_bytes_are_copied_by_number_and_by_item(size: int) -> None:
    loop = _compile(_bytes_loop, "bytes_loop")
    source = np.arange(200, 208, dtype=np.uint8)
    target = np.zeros(24, np.uint8)
    row = np.array([target.ctypes.data, source.ctypes.data, size], np.int64)
    loop(row.ctypes.data, 0, 1, 0)
    assert target[:8].view(np.int64)[0] == source[:4].view(np.int32)[0], "widened with its sign"
    for copied in (target[8:16], target[16:24]):
        np.testing.assert_array_equal(copied[:size], source[:size])
        assert not copied[size:].any()


@pytest.mark.parametrize("function", [_allocating, _printing])
def test_a_loop_that_needs_a_runtime_is_refused(function: object) -> None:
    assert callable(function)
    with pytest.raises(RuntimeError, match=r"loop 'bad_loop' needs .* of a runtime"):
        loop_ir(function, "bad_loop")


def test_a_loop_that_raises_is_refused() -> None:
    with pytest.raises(RuntimeError, match="'bad_loop' may raise"):
        loop_ir(_raising, "bad_loop")


def test_only_the_symbol_is_exported() -> None:
    module = llvm.parse_assembly(loop_ir(_sum_loop, "sum_loop"))
    exported = [f.name for f in module.functions if not f.is_declaration and f.linkage == llvm.Linkage.external]
    assert exported == ["sum_loop"]


@pytest.mark.parametrize(("isa", "instruction"), [("sse", "pause"), ("neon", "yield")])
def test_a_loop_may_be_for_another_architecture(isa: str, instruction: str) -> None:
    row = get_isa(isa)
    asm = emit_asm(loop_ir(_pausing, "pausing_loop", arch=row.arch), row)
    assert re.search(rf"^\s+{instruction}$", asm, re.MULTILINE)
    assert not re.search(r"^\s+(call|b|bl)\s", asm, re.MULTILINE), "it stands in the loop"
