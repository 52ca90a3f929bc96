"""The int8 tile's inner loops, read as assembly: the promised instructions, and nothing on the stack."""

from __future__ import annotations

import re
from functools import cache

import pytest
from test_isa import _STACK, _innermost_loops, every_isa
from tile_problem import tiles

from minidnn_kernels.codegen import emit_asm
from minidnn_kernels.isa import ISAS, Isa, get_isa
from minidnn_kernels.tile import TileSpec

every_data = pytest.mark.parametrize("data", ["u8", "s8"])

# The instructions of a product, and how many of each an accumulator needs in a step; loop by loop.
_PRODUCTS: dict[str, list[dict[str, int]]] = {
    "sse": [{r"pmaddwd\s.*%xmm": 2}],
    "avx2": [
        {r"vpmaddubsw\s.*%ymm": 1, r"vpmaddwd\s.*%ymm": 1},
        {r"vpmaddubsw": 0, r"vpmaddwd\s.*%ymm": 2},
    ],
    "avxvnni": [{r"\{vex\}\s+vpdpbusd\s.*%ymm": 1}],
    "avx512": [
        {r"vpmaddubsw\s.*%zmm": 1, r"vpmaddwd\s.*%zmm": 1},
        {r"vpmaddubsw": 0, r"vpmaddwd\s.*%zmm": 2},
    ],
    "avx512vnni": [{r"vpdpbusd\s.*%zmm": 1, r"\{vex\}": 0}],
    "neon": [{r"\bml[as]\s+v\d+\.4s": 1}],
    "neondot": [{r"\bsdot\s+v\d+\.4s, v\d+\.16b": 1}],
}


# Tiles that keep vectors on the stack in an inner loop: known, and slower than they could be. First the loop, or the
# fast loop of two; then the other one, which only the steps take that could saturate. New ones must not come.
_SPILLING: dict[tuple[str, str], tuple[str, ...]] = {
    ("sse", "u8"): ("3x2 4x2",),
    ("avx2", "u8"): ("", "2x4 3x3 5x2 6x2"),
    ("avx2", "s8"): ("", "4x2 5x2"),
    ("avx512", "u8"): ("", "6x4 8x3 11x2"),
    ("avx512", "s8"): ("", "5x4 7x3 8x3 11x2"),
}

# Beyond these rows, x86 has not enough integer registers for the row pointers: they are read from the stack.
_POINTER_ROWS = 10


@cache
def _loops(isa: Isa, data: str, rows: int, vectors: int) -> list[list[str]]:
    return _innermost_loops(emit_asm(TileSpec(rows, vectors, data=data).emit(isa), isa))


@every_isa
@every_data
def test_the_inner_loops_are_made_of_the_isas_products(isa: Isa, data: str) -> None:
    for rows, vectors in tiles(isa, data):
        loops = _loops(isa, data, rows, vectors)
        assert len(loops) == len(_PRODUCTS[isa.name])
        for loop, products in zip(loops, _PRODUCTS[isa.name], strict=True):
            for instruction, times in products.items():
                found = [line for line in loop if re.search(instruction, line)]
                assert len(found) == times * rows * vectors, f"{rows}x{vectors}: {len(found)} of {instruction}"


@every_isa
@every_data
def test_the_inner_loops_stay_in_registers(isa: Isa, data: str) -> None:
    known = _SPILLING.get((isa.name, data), ())
    for rows, vectors in tiles(isa, data):
        for number, loop in enumerate(_loops(isa, data, rows, vectors)):
            if number < len(known) and f"{rows}x{vectors}" in known[number].split():
                continue
            kept = [line.strip() for line in loop if re.search(_STACK[isa.arch], line)]
            if isa.arch == "x86_64" and rows > _POINTER_ROWS:
                kept = [line for line in kept if "mm" in line]
            assert not kept, f"{isa.name} {data} {rows}x{vectors}, loop {number}: {kept}"


def test_every_tile_that_is_known_to_spill_can_be_chosen() -> None:
    for (name, data), loops in _SPILLING.items():
        there = {f"{rows}x{vectors}" for rows, vectors in tiles(get_isa(name), data)}
        assert set(" ".join(loops).split()) <= there


def test_every_isa_has_its_instructions_here() -> None:
    assert {isa.name for isa in ISAS} == set(_PRODUCTS)
