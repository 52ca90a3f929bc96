"""The emulated process alone: what is put there and called, and what ends it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import guest as guest_module
import numpy as np
import pytest
from guest import Guest, GuestError
from guest_machine import GuestMachine
from microkernels import Machine, address, words
from tile_native import solve
from tile_problem import Tile, TileProblem

from minidnn_kernels.codegen import emit_object
from minidnn_kernels.elementwise import ElementwiseSpec
from minidnn_kernels.epilogue import Epilogue
from minidnn_kernels.isa import get_isa
from minidnn_kernels.loop_words import load, milliseconds, pause, store, yield_cpu
from minidnn_kernels.numba_loops import loop_ir

NEON = get_isa("neon")
# Of these, the first has neither dot products nor i8mm, the second has dot products.
WITHOUT_DOT, WITHOUT_I8MM = "cortex-a72", "neoverse-n1"

_NINE = ", ".join(f"i64 %a{i}" for i in range(9))
# 1 a0 + 2 a1 + ... + 8 a7, stored where a8 says.
_WEIGHTED = "\n".join(
    [f"define void @weighted({_NINE}) {{"]
    + [f"%p{i} = mul i64 %a{i}, {i + 1}" for i in range(8)]
    + ["%s0 = add i64 %p0, 0"]
    + [f"%s{i} = add i64 %s{i - 1}, %p{i}" for i in range(1, 8)]
    + ["%to = inttoptr i64 %a8 to ptr", "store i64 %s7, ptr %to", "ret void", "}"]
)

_LIBRARY = """
declare void @llvm.memmove.p0.p0.i64(ptr, ptr, i64, i1)
declare void @llvm.memcpy.p0.p0.i64(ptr, ptr, i64, i1)
declare void @llvm.memset.p0.i64(ptr, i8, i64, i1)
define void @library(i64 %a, i64 %bytes) {
  %p = inttoptr i64 %a to ptr
  %next = getelementptr i8, ptr %p, i64 1
  %behind = getelementptr i8, ptr %p, i64 %bytes
  %further = getelementptr i8, ptr %behind, i64 %bytes
  call void @llvm.memcpy.p0.p0.i64(ptr %behind, ptr %p, i64 %bytes, i1 false)
  call void @llvm.memset.p0.i64(ptr %further, i8 7, i64 %bytes, i1 false)
  call void @llvm.memmove.p0.p0.i64(ptr %next, ptr %p, i64 %bytes, i1 false)
  ret void
}"""


def _waiting_loop(args: int, part: int, parts: int, memory: int) -> None:
    """[result, count]: counts up, and waits between."""
    for _ in range(load(args + 8)):
        pause()
        yield_cpu()
        store(args, load(args) + 1)
    if milliseconds() < 1:
        store(args, -1)


@pytest.fixture
def another(guest: Guest, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Guest]:
    """A guest on the CPU that the test names, whose end does not matter."""
    made = Guest(tmp_path, request.param)
    yield made
    made.close()


on_max = pytest.mark.parametrize("another", ["max"], indirect=True)


def test_a_function_gets_nine_arguments_and_its_stores_come_back(guest: Guest) -> None:
    target, function = guest.reserve(8), guest.load(emit_object(_WEIGHTED, NEON), "weighted")
    arguments = [3, -7, 2**40, 11, 5, -(2**33), 13, 17]
    guest.call(function, *arguments, target)
    expected = sum((i + 1) * a for i, a in enumerate(arguments))
    assert int.from_bytes(guest.read(target, 8), "little", signed=True) == expected


@pytest.mark.parametrize("size", [1, 4096, 200_001, 3 << 20])
def test_memory_comes_back_as_it_was_written(guest: Guest, size: int) -> None:
    content = np.random.default_rng(size).integers(0, 256, size, dtype=np.uint8).tobytes()
    place = guest.reserve(size)
    guest.write(place, content)
    assert guest.read(place, size) == content


def test_the_functions_of_the_c_library_that_kernels_call(guest: Guest) -> None:
    place, function = guest.reserve(60), guest.load(emit_object(_LIBRARY, NEON), "library")
    numbers = bytes(range(20))
    guest.write(place, numbers)
    guest.call(function, place, 20)
    assert guest.read(place, 60) == b"\0" + numbers + numbers[1:] + b"\7" * 20


def test_a_loop_of_numba_waits_and_counts(guest: Guest) -> None:
    code = emit_object(loop_ir(_waiting_loop, "waiting_loop", arch="aarch64"), NEON)
    place, function = guest.reserve(16), guest.load(code, "waiting_loop")
    guest.write(place, words(0, 5).tobytes())
    guest.call(function, place, 0, 1, 0)
    assert np.frombuffer(guest.read(place, 16), np.int64).tolist() == [5, 5]


def test_arrays_that_other_arrays_lead_to_are_found(machine: Machine) -> None:
    source, target = np.arange(5, dtype=np.float32), np.zeros(7, np.float32)
    # Another address in memory that is written over.
    target[5:].view(np.int64)[0] = address(source)
    machine.call(ElementwiseSpec(Epilogue((), ("tensor",))), words(address(target), address(source)), 5, 0)
    np.testing.assert_array_equal(target[:5], source)
    assert target[5:].view(np.int64)[0] == address(source), "the address of this process"


@on_max
def test_an_array_ends_where_memory_does(another: Guest) -> None:
    machine, source, target = GuestMachine(NEON, another), np.ones(8, np.float32), np.empty(9, np.float32)
    spec = ElementwiseSpec(Epilogue((), ("tensor",)))
    machine.call(spec, words(address(target), address(source)), 8, 0)
    with pytest.raises(GuestError, match="guest on max ended with -11"):
        machine.call(spec, words(address(target), address(source)), 9, 0)


@pytest.mark.parametrize(
    ("another", "less", "more"),
    [(WITHOUT_DOT, "neon", "neondot"), (WITHOUT_I8MM, "neondot", "i8mm")],
    indirect=["another"],
)
def test_a_cpu_that_lacks_the_instructions_ends_there(another: Guest, less: str, more: str) -> None:
    for data in ("u8", "s8"):
        solve(GuestMachine(get_isa(less), another), TileProblem(get_isa(less), Tile(2, 2, data)))
    with pytest.raises(GuestError, match=f"guest on {another.cpu} ended with -4"):
        solve(GuestMachine(get_isa(more), another), TileProblem(get_isa(more), Tile(2, 2)))


@on_max
def test_memory_has_an_end(another: Guest) -> None:
    with pytest.raises(MemoryError, match="a guest has 268435456 bytes"):
        another.reserve(1 << 28)


def test_what_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    assert guest_module.missing() == ["qemu-aarch64"]
