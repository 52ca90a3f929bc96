"""The integer tiles' inner loops, read as assembly: the promised instructions, and nothing on the stack."""

from __future__ import annotations

import re
from functools import cache

import pytest
from test_isa import _STACK, _innermost_loops
from tile_problem import INTEGER_ISAS, kinds, tiles

from minidnn_kernels.codegen import emit_asm
from minidnn_kernels.isa import Isa, get_isa
from minidnn_kernels.tile import TileSpec

every_kind = pytest.mark.parametrize(
    ("isa", "data", "dot"),
    # Matrix registers are read in `test_matrix_tile.py`.
    [(isa, *kind) for isa in INTEGER_ISAS for kind in kinds(isa) if isa.dot != "amx" or kind[0] == "s16"],
    ids=lambda value: value.name if isinstance(value, Isa) else value or "own",
)

# What multiplies; a stretch of code without any of these is no loop over K.
_MULTIPLIES = r"\b(v?pmadd|vpdp|sdot|u?smmla|ml[as]\s)"
_REGISTER = {4: "%xmm", 8: "%ymm", 16: "%zmm"}

# Tiles that keep vectors on the stack in the loop over the steps: known. New ones must not come.
_SPILLING: dict[tuple[str, str], str] = {("sse", "u8"): "3x2 4x2", ("avx2", "u8"): "4x2"}

# Beyond these rows, x86 has not enough integer registers for the row pointers: they are read from the stack. The loop
# over the entries of a rest needs more of the registers for itself.
_POINTER_ROWS, _POINTER_ROWS_OF_REST = 10, 7


@cache
def _loops(isa: Isa, data: str, dot: str, rows: int, vectors: int) -> list[list[str]]:
    """The innermost loops that multiply, in order."""
    loops = _innermost_loops(emit_asm(TileSpec(rows, vectors, data=data, dot=dot).emit(isa), isa))
    return [loop for loop in loops if any(re.search(_MULTIPLIES, line) for line in loop)]


def _products(isa: Isa, data: str, dot: str, rows: int, vectors: int) -> list[dict[str, int]]:
    """The instructions of the products, and how many of each there are, loop by loop."""
    sums = rows * vectors
    if isa.dot == "mmla":
        # Two for each pair of rows; a row without another counts as a pair.
        own, other = ("smmla", "usmmla") if data == "s8" else ("usmmla", "smmla")
        return [{rf"\b{own}\s+v\d+\.4s, v\d+\.16b, v\d+\.16b": (rows + rows % 2) * vectors, rf"\b{other}\b": 0}]
    if isa.arch == "aarch64":
        return [{r"\bsdot\s+v\d+\.4s, v\d+\.16b" if isa.dot == "sdot" else r"\bml[as]\s+v\d+\.4s": sums}]
    register = r"\s.*" + _REGISTER[isa.lanes]
    bytes_, pairs, shuffle = rf"\bvpmaddubsw{register}", rf"\bv?pmaddwd{register}", rf"\bvpshufb{register}"
    if isa.dot == "vnniint8" and data == "s8":
        return [{"vpdpbssd" + register: sums, "vpdpbusd": 0, "vpdpwssd": 0, "vpxor": 0}]
    if isa.dot in ("vnni", "vnniint8", "amx"):
        other, own = ("vpdpbusd", "vpdpwssd") if data == "s16" else ("vpdpwssd", "vpdpbusd")
        return [{own + register: sums, r"\{vex\}": sums if isa.lanes == 8 else 0, other: 0, "pmadd": 0}]
    if dot == "signed":
        return [{bytes_: sums, pairs: sums, rf"\bvpsignb{register}": sums, "vpshufb": 0}]
    if data == "s16":
        return [{pairs: sums, "vpmaddubsw": 0}]
    if dot == "maddwd" or isa.dot == "maddwd":
        return [{pairs: 2 * sums, "vpmaddubsw": 0}]
    base = {bytes_: 2 * sums, pairs: sums, "vpshufb": 0}
    return [base] + [{shuffle: rows, pairs: rows, "vpmaddubsw": 0}] * vectors


@every_kind
def test_the_inner_loops_are_made_of_the_isas_products(isa: Isa, data: str, dot: str) -> None:
    for rows, vectors in tiles(isa, data, dot):
        expected = _products(isa, data, dot, rows, vectors)
        for loop, products in zip(_loops(isa, data, dot, rows, vectors), expected, strict=True):
            for instruction, times in products.items():
                found = [line for line in loop if re.search(instruction, line)]
                assert len(found) == times, f"{rows}x{vectors}: {len(found)} of {instruction}, not {times}"


@every_kind
def test_the_inner_loops_stay_in_registers(isa: Isa, data: str, dot: str) -> None:
    known = "" if dot else _SPILLING.get((isa.name, data), "")
    for rows, vectors in tiles(isa, data, dot):
        for number, loop in enumerate(_loops(isa, data, dot, rows, vectors)):
            if number == 0 and f"{rows}x{vectors}" in known.split():
                continue
            kept = [line.strip() for line in loop if re.search(_STACK[isa.arch], line)]
            if isa.arch == "x86_64" and rows > (_POINTER_ROWS_OF_REST if number else _POINTER_ROWS):
                kept = [line for line in kept if "mm" in line]
            assert not kept, f"{isa.name} {data} {dot} {rows}x{vectors}, loop {number}: {kept}"


def test_the_tiles_that_are_known_to_spill_can_be_chosen_and_do() -> None:
    for (name, data), known in _SPILLING.items():
        isa = get_isa(name)
        for rows, vectors in tiles(isa, data):
            spills = any(re.search(_STACK[isa.arch], line) for line in _loops(isa, data, "", rows, vectors)[0])
            assert spills == (f"{rows}x{vectors}" in known.split())


def test_the_best_tiles_of_avx2_can_be_chosen() -> None:
    assert (4, 2) in tiles(get_isa("avx2"), "u8")
    assert (3, 2) in tiles(get_isa("avx2"), "s8")
