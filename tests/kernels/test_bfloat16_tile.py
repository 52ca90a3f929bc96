"""Tiles whose weights are bfloat16: widened on every ISA, and multiplied by the instructions for it."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest
from bfloat16_problem import BfloatProblem, WithoutInstruction, bits_of, fitting_tiles, floats_of, rounded, solve_some
from microkernels import FLOAT_ISAS, Machine, Watched, address, words
from test_isa import _innermost_loops, _keeps_vector_on_stack, _product
from test_tile import TAIL

from minidnn_kernels.codegen import emit_asm
from minidnn_kernels.element_type import BFLOAT16, ELEMENT_TYPES
from minidnn_kernels.elementwise import ElementwiseSpec
from minidnn_kernels.epilogue import Epilogue, Instruction
from minidnn_kernels.isa import ISAS, Isa, get_isa
from minidnn_kernels.matmul import pack_for_dot
from minidnn_kernels.tile import TileSpec

# Rows with instructions for bfloat16 in vectors, and the dots that are made of them.
_PAIRED = [
    (isa, dot)
    for isa in ISAS
    if isa.bfloat16 not in ("", "amx")
    for dot in {"x86_64": ("",), "aarch64": ("", "bfdot")}[isa.arch]
]
every_paired = pytest.mark.parametrize(
    ("isa", "dot"), _PAIRED, ids=lambda value: getattr(value, "name", value) or "own"
)


def _highest(isa: Isa, data: str, dot: str) -> list[tuple[int, int]]:
    """The highest tiles of each width, and one that is not high."""
    return [*{v: (rows, v) for rows, v in fitting_tiles(isa, data, dot)}.values(), (3, 2)]


def test_weights_are_widened_as_they_are_read(machine: Machine) -> None:
    solve_some(machine, "f32", "bf16")


def test_rows_may_be_scattered(machine: Machine) -> None:
    spec = TileSpec(3, 2, TAIL, True, "f32", "bf16", scattered=True)
    problem = BfloatProblem(machine.isa, spec, 5, 2 * machine.isa.lanes - 1, 2, 7)
    problem.run(machine)
    problem.check()


# The instruction with as many lanes as this machine has.
_LANES = [replace(isa, name=f"{isa.name}_pairs", bfloat16="dpbf16") for isa in map(get_isa, ("sse", "avx2"))]
every_emulated = pytest.mark.parametrize("isa", _LANES, ids=lambda isa: isa.name)


@every_emulated
def test_pairs_meet_as_the_instruction_takes_them(isa: Isa) -> None:
    solve_some(WithoutInstruction(isa), "bf16", "")


@every_emulated
def test_pairs_are_summed_odd_elements_first_with_a_rounding_each(isa: Isa) -> None:
    problem = BfloatProblem(isa, TileSpec(3, 2, data="bf16"), 3, 2 * isa.lanes, taps=3, depth=38)
    problem.run(WithoutInstruction(isa))
    a, b = problem.source.reshape(3, -1, 2), problem.weights.reshape(-1, 2, 2 * isa.lanes)
    sums = np.zeros((3, 2 * isa.lanes), np.float32)
    for pair in range(a.shape[1]):
        for element in (1, 0):
            sums += a[:, pair, element, None] * b[pair, element]
    np.testing.assert_array_equal(problem.target.array[2:5, 3 : 3 + 2 * isa.lanes], sums)


def test_bfloat16_packs_in_groups_of_k() -> None:
    bits = np.arange(8 * 6, dtype=np.uint16).reshape(1, 1, 8, 6)
    for name, group in (("dpbf16", 2), ("bfdot", 2), ("bfmmla", 4)):
        packed = pack_for_dot(bits, None, 8, BFLOAT16.dots[name], 4)
        made = packed.view(np.uint16).reshape(8 // group, 8, group)
        np.testing.assert_array_equal(made[:, :6], bits.reshape(8 // group, group, 6).swapaxes(1, 2))
        assert not made[:, 6:].any()


# Fields of four bytes of float32: zeros, halves between two of bfloat16, the largest, infinities, NaN, subnormals.
_WORDS = """
00000000 80000000 3F800000 3F808000 3F818000 3F808001 3F807FFF 7F7F7FFF 7F7F8000 7F7FFFFF FF7FFFFF 7F800000
FF800000 7F800001 7FFFFFFF FFFFFFFF 7FC00000 00000001 00008000 00018000 0000C000 807FFFFF
"""
_NUMBERS = np.array([int(word, 16) for word in _WORDS.split()], np.uint32).view(np.float32)


def test_float32_is_rounded_half_to_even(machine: Machine) -> None:
    spec = ElementwiseSpec(Epilogue((Instruction("cast", (0,), type="bf16"),), ("tensor",), "bf16"))
    numbers = np.concatenate([_NUMBERS, np.random.default_rng(0).standard_normal(43).astype(np.float32)])
    target = Watched(numbers.shape, np.uint16)
    machine.call(spec, words(target.address, address(numbers)), numbers.size, np.zeros(1, np.int64))
    target.assert_untouched_around()
    np.testing.assert_array_equal(target.array, bits_of(numbers))


def test_the_reference_here_is_that_of_ml_dtypes() -> None:
    ml_dtypes = pytest.importorskip("ml_dtypes")
    numbers = np.random.default_rng(1).standard_normal(1000).astype(np.float32)
    np.testing.assert_array_equal(rounded(numbers), numbers.astype(ml_dtypes.bfloat16).astype(np.float32))
    with np.errstate(invalid="ignore"):
        wanted = _NUMBERS.astype(ml_dtypes.bfloat16).astype(np.float32)
    np.testing.assert_array_equal(floats_of(bits_of(_NUMBERS)), wanted)


# --- as assembly -------------------------------------------------------------------------------


@every_paired
def test_the_inner_loop_is_made_of_the_instruction_and_stays_in_registers(isa: Isa, dot: str) -> None:
    instruction = {"": isa.bfloat16, "bfdot": "bfdot"}[dot]
    pattern = {"dpbf16": r"\bvdpbf16ps\s.*%zmm", "bfmmla": r"\bbfmmla\s+v\d+\.4s", "bfdot": r"\bbfdot\s+v\d+\.4s"}
    for rows, vectors in _highest(isa, "bf16", dot):
        asm = emit_asm(TileSpec(rows, vectors, data="bf16", dot=dot).emit(isa), isa)
        (loop,) = _innermost_loops(asm)
        found = [line for line in loop if re.search(pattern[instruction], line)]
        # Rows are taken in pairs by `bfmmla`, each pair with two columns.
        wanted = (rows + rows % 2) * vectors if instruction == "bfmmla" else rows * vectors
        assert len(found) == wanted, f"{rows}x{vectors}: {len(found)}, not {wanted}"
        assert not any(_keeps_vector_on_stack(isa, line) for line in loop), f"{rows}x{vectors} spills"


@pytest.mark.parametrize("isa", FLOAT_ISAS, ids=lambda isa: isa.name)
def test_widening_takes_no_register_that_the_tile_has_not(isa: Isa) -> None:
    for rows, vectors in _highest(isa, "f32", "bf16"):
        (loop,) = _innermost_loops(emit_asm(TileSpec(rows, vectors, dot="bf16").emit(isa), isa))
        assert len([line for line in loop if re.search(_product(isa), line)]) == rows * vectors
        assert not any(_keeps_vector_on_stack(isa, line) for line in loop), f"{rows}x{vectors} spills"


def test_a_row_names_a_dot_of_bfloat16() -> None:
    assert {isa.bfloat16 for isa in ISAS} - {""} <= ELEMENT_TYPES["bf16"].dots.keys()
    assert {isa.name for isa in ISAS if isa.bfloat16} == {"avx512bf16", "amx", "neonbf16"}
