"""Object files: laid out as the linker's formulas say, within their bounds, and refused where they are damaged."""

from __future__ import annotations

import random
import struct
from collections.abc import Callable
from dataclasses import replace
from functools import cache

import pytest
from kernel_kinds import every_kind

from minidnn_kernels.codegen import emit_object
from minidnn_kernels.elementwise import ElementwiseSpec
from minidnn_kernels.elf import ObjectFile, UnsupportedObjectError, read_object
from minidnn_kernels.epilogue import Epilogue, Instruction
from minidnn_kernels.isa import ISAS, Isa, get_isa

BASE = 0x7F12_3456_7000
PAGE = 4096

# A function that calls two others, one in a tail, and reads numbers of each width by an index.
_CALLER = """
@bytes = internal constant [5 x i8] c"\\01\\02\\03\\04\\05"
@shorts = internal constant [3 x i16] [i16 1, i16 2, i16 3]
@ints = internal constant [3 x i32] [i32 1, i32 2, i32 3]
@longs = internal constant [3 x i64] [i64 1, i64 2, i64 3]
declare i64 @near(i64)
declare i64 @far(i64)
define i64 @kernel(i64 %i) {
  %a = getelementptr [5 x i8], ptr @bytes, i64 0, i64 %i
  %b = load volatile i8, ptr %a
  %c = load volatile i16, ptr getelementptr ([3 x i16], ptr @shorts, i64 0, i64 1)
  %d = load volatile i32, ptr getelementptr ([3 x i32], ptr @ints, i64 0, i64 1)
  %e = load volatile i64, ptr getelementptr ([3 x i64], ptr @longs, i64 0, i64 1)
  %f = zext i8 %b to i64
  %g = call i64 @near(i64 %f)
  %h = call i64 @far(i64 %g)
  %s = add i64 %h, %e
  %r = tail call i64 @near(i64 %s)
  ret i64 %r
}
"""


@cache
def _caller(arch: str) -> bytes:
    return emit_object(_CALLER, get_isa({"x86_64": "sse", "aarch64": "neon"}[arch]))


@cache
def _chain(isa: Isa) -> bytes:
    chain = tuple(Instruction(name, (n,)) for n, name in enumerate(("exp", "tanh", "sigmoid")))
    return emit_object(ElementwiseSpec(Epilogue(chain, ("tensor",))).emit(isa), isa)


def _externals(found: ObjectFile) -> dict[str, int]:
    return {name: 0x7EEE_0000_1000 + 16 * n for n, name in enumerate(found.externals)}


def _names(content: bytes, arch: str) -> ObjectFile:
    return read_object(content, arch)


def _target(instruction: int, place: int) -> int:
    """Where a branch of AArch64 goes (C6.2, B and BL): imm26 words from where it is."""
    distance = instruction & 0x03FF_FFFF
    return place + 4 * (distance - (1 << 26) * (distance >> 25))


def _address(page: int, offset: int, place: int) -> int:
    """What ADRP at `place` and the LDR or ADD behind it come to (C6.2), whatever LDR it is."""
    immediate = (page >> 5 & 0x7FFFF) << 2 | page >> 29 & 3
    begin = (place & -PAGE) + PAGE * (immediate - (1 << 21) * (immediate >> 20))
    is_vector_of_16 = offset & 0xFFC0_0000 == 0x3DC0_0000
    scale = 0 if offset & 0x7F80_0000 == 0x1100_0000 else 4 if is_vector_of_16 else offset >> 30
    return begin + ((offset >> 10 & 0xFFF) << scale)


@pytest.mark.parametrize("isa", ISAS, ids=lambda isa: isa.name)
def test_every_kind_of_kernel_is_read(isa: Isa) -> None:
    for spec in every_kind(isa):
        found = read_object(emit_object(spec.emit(isa), isa), isa.arch)
        assert list(found.functions) == [spec.name]
        assert found.externals == ()
        assert len(found.image(BASE, {})) == found.size


def test_calls_of_x86_reach_their_functions_through_stubs() -> None:
    found = _names(_caller("x86_64"), "x86_64")
    externals = _externals(found)
    image = found.image(BASE, externals)
    reached = []
    for place in range(found.functions["kernel"], found.size - 32):
        if image[place] in (0xE8, 0xE9):  # call and jmp, rel32
            stub = place + 5 + struct.unpack_from("<i", image, place + 1)[0]
            if found.size - 32 <= stub < found.size and image[stub : stub + 2] == b"\xff\x25":
                where = stub + 6 + struct.unpack_from("<i", image, stub + 2)[0]
                reached.append(struct.unpack_from("<Q", image, where)[0])
    assert reached == [externals["near"], externals["far"], externals["near"]]


def test_calls_of_aarch64_reach_their_functions_through_stubs() -> None:
    found = _names(_caller("aarch64"), "aarch64")
    externals = _externals(found)
    image = found.image(BASE, externals)
    words = struct.unpack(f"<{found.size // 4}I", image)
    reached = []
    for n, word in enumerate(words):
        if word >> 26 & 0x1F == 0b00101:  # B and BL
            stub = _target(word, 4 * n) // 4
            assert words[stub : stub + 2] == (0x5800_0050, 0xD61F_0200), "ldr x16, 8; br x16"
            reached.append(words[stub + 2] | words[stub + 3] << 32)
    assert reached == [externals["near"], externals["far"], externals["near"]]


@pytest.mark.parametrize("base", [BASE, BASE + PAGE, 0x1000])
@pytest.mark.parametrize("make", [lambda: _caller("aarch64"), lambda: _chain(get_isa("neon"))])
def test_constants_of_aarch64_are_where_the_code_looks_for_them(make: Callable[[], bytes], base: int) -> None:
    found = read_object(make(), "aarch64")
    image = found.image(base, _externals(found))
    words = struct.unpack(f"<{found.size // 4}I", image)
    pages = {n: word for n, word in enumerate(words) if word & 0x9F00_0000 == 0x9000_0000}  # ADRP
    relocations = {r.place // 4: r for r in found._relocations}
    looked = 0
    for n, word in enumerate(words):
        if n not in relocations or n in pages or word >> 26 & 0x1F == 0b00101:
            continue
        page = max(p for p in pages if p < n and pages[p] & 31 == word >> 5 & 31)
        r = relocations[n]
        assert _address(words[page], word, base + 4 * page) == base + r.target + r.addend
        looked += 1
    assert looked


@pytest.mark.parametrize("arch", ["x86_64", "aarch64"])
def test_an_object_of_another_machine_is_refused(arch: str) -> None:
    with pytest.raises(UnsupportedObjectError, match="not for"):
        read_object(_caller(arch), {"x86_64": "aarch64", "aarch64": "x86_64"}[arch])
    with pytest.raises(UnsupportedObjectError, match="not for riscv64"):
        read_object(_caller(arch), "riscv64")


@pytest.mark.parametrize(
    ("ir_text", "reason"),
    [
        ("@n = global i32 1\ndefine ptr @kernel() { ret ptr @n }", "flags"),
        ("@n = thread_local global i32 0\ndefine ptr @kernel() { ret ptr @n }", "not in the file|flags"),
        ("@n = external global i32\ndefine ptr @kernel() { ret ptr @n }", "type|no section"),
        ("@n = global [9 x i32] zeroinitializer\ndefine ptr @kernel() { ret ptr @n }", "not in the file"),
    ],
    ids=["data", "thread-local", "data of others", "zeros"],
)
@pytest.mark.parametrize("isa", ["sse", "neon"])
def test_what_kernels_do_not_have_is_refused(ir_text: str, reason: str, isa: str) -> None:
    with pytest.raises(UnsupportedObjectError, match=reason):
        read_object(emit_object(ir_text, get_isa(isa)), get_isa(isa).arch)


@pytest.mark.parametrize("distance", [1 << 31, -(1 << 31) - 1, 1 << 40])
def test_what_is_too_far_away_is_refused(distance: int) -> None:
    found = read_object(_chain(get_isa("sse")), "x86_64")
    moved = tuple(r._replace(addend=distance + r.place - r.target) for r in found._relocations)
    with pytest.raises(UnsupportedObjectError, match="too far"):
        replace(found, _relocations=moved).image(BASE, _externals(found))


def test_an_image_begins_with_a_page() -> None:
    found = read_object(_chain(get_isa("neon")), "aarch64")
    with pytest.raises(UnsupportedObjectError, match="page"):
        found.image(BASE + 64, {})


def _read_damaged(content: bytes, arch: str) -> None:
    try:
        found = read_object(content, arch)
        assert found.size <= 2 * len(content) + 64 * PAGE
        assert all(0 <= offset <= found.size for offset in found.functions.values())
        assert len(found.image(BASE, _externals(found))) == found.size
    except UnsupportedObjectError:
        pass


@pytest.mark.parametrize("arch", ["x86_64", "aarch64"])
def test_damaged_objects_are_refused_or_stay_within_bounds(arch: str) -> None:
    whole, rng = _caller(arch), random.Random(arch)
    for end in range(len(whole)):
        _read_damaged(whole[:end], arch)
    for place in range(len(whole)):
        for value in (whole[place] ^ 1 << rng.randrange(8), 0, 255):
            _read_damaged(whole[:place] + bytes([value]) + whole[place + 1 :], arch)


@pytest.mark.parametrize("arch", ["x86_64", "aarch64"])
def test_many_damages_at_once(arch: str) -> None:
    whole, rng = _caller(arch), random.Random(arch)
    for _ in range(2000):
        content = bytearray(whole)
        for _ in range(rng.choice([2, 5, 20])):
            at = rng.randrange(0, len(content) - 8)
            width = rng.choice([1, 2, 4, 8])
            content[at : at + width] = rng.choice([rng.randbytes(width), b"\xff" * width, content[:width]])
        _read_damaged(bytes(content), arch)


@pytest.mark.parametrize("arch", ["x86_64", "aarch64"])
def test_any_bytes_are_refused(arch: str) -> None:
    rng, header = random.Random(0), _caller(arch)[:64]
    for size in (0, 1, 63, 64, 65, 1000):
        with pytest.raises(UnsupportedObjectError):
            read_object(rng.randbytes(size), arch)
        _read_damaged(header + rng.randbytes(size), arch)
