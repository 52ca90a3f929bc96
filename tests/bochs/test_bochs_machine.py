"""The emulated machine itself: it runs what it is given, and says what went wrong."""

from __future__ import annotations

import bochs_machine
import numpy as np
import pytest
from bochs_machine import BochsError, BochsMachine, GuestTrapError
from guest_memory import FILL, INPUT, MEMORY, OUTPUT, GuestMemory
from guest_program import Program

from minidnn_kernels.codegen import emit_object
from minidnn_kernels.isa import get_isa

VNNI = get_isa("avx512vnni")
WITHOUT_VNNI = "corei7_skylake_x"

_NINE = ", ".join(f"i64 %a{i}" for i in range(9))

# The sum of 1 a0 + 2 a1 + ... + 8 a7, stored where a8 says.
_WEIGHTED = "\n".join(
    [f"define void @weighted({_NINE}) {{"]
    + [f"%p{i} = mul i64 %a{i}, {i + 1}" for i in range(8)]
    + ["%s0 = add i64 %p0, 0"]
    + [f"%s{i} = add i64 %s{i - 1}, %p{i}" for i in range(1, 8)]
    + ["%to = inttoptr i64 %a8 to ptr", "store i64 %s7, ptr %to", "ret void", "}"]
)

_DOT = """
declare <16 x i32> @llvm.x86.avx512.vpdpbusd.512(<16 x i32>, <64 x i8>, <64 x i8>)
define void @dot(i64 %a, i64 %b, i64 %c) {
  %pa = inttoptr i64 %a to ptr
  %pb = inttoptr i64 %b to ptr
  %pc = inttoptr i64 %c to ptr
  %x = load <64 x i8>, ptr %pa, align 1
  %y = load <64 x i8>, ptr %pb, align 1
  %r = call <16 x i32> @llvm.x86.avx512.vpdpbusd.512(<16 x i32> zeroinitializer, <64 x i8> %x, <64 x i8> %y)
  store <16 x i32> %r, ptr %pc, align 1
  ret void
}"""

_STORE = """
define void @store(i64 %to, i64 %value) {
  %p = inttoptr i64 %to to ptr
  store volatile i64 %value, ptr %p, align 1
  ret void
}"""

_COPY = """
declare void @llvm.memcpy.p0.p0.i64(ptr, ptr, i64, i1)
define void @copy(i64 %to, i64 %from, i64 %bytes) {
  %t = inttoptr i64 %to to ptr
  %f = inttoptr i64 %from to ptr
  call void @llvm.memcpy.p0.p0.i64(ptr %t, ptr %f, i64 %bytes, i1 false)
  ret void
}"""

_FOREVER = """
define void @forever(i64 %to) {
  %p = inttoptr i64 %to to ptr
  br label %again
again:
  store volatile i64 0, ptr %p, align 1
  br label %again
}"""


def _link(bochs: BochsMachine, **kernels: str) -> Program:
    """A program of kernels in LLVM IR, each named as its argument."""
    return bochs.link({name: (emit_object(ir, VNNI), name) for name, ir in kernels.items()})


def test_a_kernel_gets_nine_arguments_and_its_stores_come_back(bochs: BochsMachine) -> None:
    memory = GuestMemory()
    target = memory.reserve(8)
    arguments = [3, -7, 2**40, 11, 5, -(2**33), 13, 17]
    memory.call("weighted", *arguments, target)
    outcome = bochs.run(_link(bochs, weighted=_WEIGHTED), memory)
    expected = sum((i + 1) * a for i, a in enumerate(arguments))
    assert int.from_bytes(outcome.read(target, 8), "little", signed=True) == expected
    assert outcome.instructions > 0


def test_jobs_run_in_order_and_what_they_leave_alone_stays_filled(bochs: BochsMachine) -> None:
    memory = GuestMemory()
    first, untouched, second = memory.reserve(8), memory.reserve(100), memory.reserve(8)
    for value in (1, 2, 3):
        memory.call("store", first, value)
    memory.call("store", second, -1)
    outcome = bochs.run(_link(bochs, store=_STORE), memory)
    assert outcome.read(first, 8) == (3).to_bytes(8, "little")
    assert outcome.read(second, 8) == b"\xff" * 8
    assert outcome.read(untouched, 100) == bytes([FILL]) * 100


@pytest.mark.parametrize("size", [1, 64, 200_001, 3 << 20])
def test_input_of_any_size_arrives_intact(bochs: BochsMachine, size: int) -> None:
    data = np.random.default_rng(size).integers(0, 256, size, dtype=np.uint8)
    memory = GuestMemory()
    source, target = memory.put(data), memory.reserve(size)
    memory.call("copy", target, source, size)
    assert bochs.run(_link(bochs, copy=_COPY), memory).read(target, size) == data.tobytes()


def test_one_kernel_may_stand_under_two_names(bochs: BochsMachine) -> None:
    code = emit_object(_STORE, VNNI)
    memory = GuestMemory()
    targets = [memory.reserve(8) for _ in range(2)]
    for number, target in enumerate(targets):
        memory.call(f"store{number}", target, number)
    outcome = bochs.run(bochs.link({f"store{number}": (code, "store") for number in range(2)}), memory)
    assert [outcome.read(target, 8)[0] for target in targets] == [0, 1]


def _dot(u: np.ndarray, s: np.ndarray) -> tuple[GuestMemory, int]:
    memory = GuestMemory()
    target = memory.reserve(64)
    memory.call("dot", memory.put(u), memory.put(s), target)
    return memory, target


def test_vpdpbusd_multiplies_unsigned_by_signed_and_does_not_saturate(bochs: BochsMachine) -> None:
    u = np.full((16, 4), 255, np.uint8)
    s = np.repeat(np.array([[127], [-128]], np.int8), 8, axis=0).repeat(4, axis=1)
    memory, target = _dot(u, s)
    actual = np.frombuffer(bochs.run(_link(bochs, dot=_DOT), memory).read(target, 64), np.int32)
    np.testing.assert_array_equal(actual, [255 * 127 * 4] * 8 + [255 * -128 * 4] * 8)


def test_a_cpu_without_vnni_traps(bochs: BochsMachine) -> None:
    memory, _ = _dot(np.zeros((16, 4), np.uint8), np.zeros((16, 4), np.int8))
    expected = rf"job 0, dot, trapped on {WITHOUT_VNNI}: invalid opcode \(vector 6\) at dot\+0x"
    with pytest.raises(GuestTrapError, match=expected) as caught:
        bochs.run(_link(bochs, dot=_DOT), memory, cpu=WITHOUT_VNNI)
    assert caught.value.vector == 6
    assert caught.value.symbol == "dot"


def test_an_unmapped_address_traps_and_is_named(bochs: BochsMachine) -> None:
    memory = GuestMemory()
    memory.call("store", memory.reserve(8), 0)
    memory.call("store", 1 << 40, 0)
    with pytest.raises(GuestTrapError, match=r"job 1, store, .*page fault .*address 0x10000000000"):
        bochs.run(_link(bochs, store=_STORE), memory)


def test_writing_over_the_input_is_seen(bochs: BochsMachine) -> None:
    memory = GuestMemory()
    memory.call("store", memory.put(np.ones(8, np.uint8)), 0)
    with pytest.raises(BochsError, match="wrote over it"):
        bochs.run(_link(bochs, store=_STORE), memory)


def test_a_kernel_that_does_not_return_is_stopped(bochs: BochsMachine) -> None:
    memory = GuestMemory()
    memory.call("forever", memory.reserve(8))
    with pytest.raises(BochsError, match="still running after 2 s"):
        bochs.run(_link(bochs, forever=_FOREVER), memory, timeout=2)


def test_an_unknown_cpu_is_an_error_with_the_emulators_words(bochs: BochsMachine) -> None:
    memory = GuestMemory()
    memory.call("store", memory.reserve(8), 0)
    with pytest.raises(BochsError, match=r"did not come to its end on abacus: .*wrong value for parameter 'model'"):
        bochs.run(_link(bochs, store=_STORE), memory, cpu="abacus")


def test_what_cannot_be_linked_is_refused_with_its_name(bochs: BochsMachine) -> None:
    calls = "declare void @elsewhere()\ndefine void @calls() {\ncall void @elsewhere()\nret void\n}"
    with pytest.raises(RuntimeError, match="undefined reference to `elsewhere'"):
        _link(bochs, calls=calls)
    with pytest.raises(RuntimeError, match="without its symbol: nothing"):
        bochs.link({"something": (emit_object(_STORE, VNNI), "nothing")})
    with pytest.raises(ValueError, match="'two words' is not the name of a function"):
        bochs.link({"two words": (b"", "store")})


def test_memory_has_an_end() -> None:
    with pytest.raises(MemoryError, match=f"room for {OUTPUT - INPUT}"):
        GuestMemory().put(np.zeros(OUTPUT - INPUT, np.uint8))
    with pytest.raises(MemoryError, match=f"room for {MEMORY - OUTPUT}"):
        GuestMemory().reserve(MEMORY - OUTPUT + 1)
    with pytest.raises(ValueError, match="k: 10 arguments; at most 9"):
        GuestMemory().call("k", *range(10))


def test_what_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    absent = bochs_machine.missing()
    assert {"gcc", "ld", "objcopy", "nm", "bochs"} <= set(absent)
