"""Tiles in AMX's registers: what they compute with the instructions in NumPy, and their code, read."""

from __future__ import annotations

import re

import numpy as np
import pytest
from bfloat16_problem import BfloatProblem, solve_some
from matrix_registers import MATRIX_ISAS, MatrixRegisters, WithMatrices
from microkernels import Watched, address
from test_tile import TAIL
from tile_native import solve
from tile_problem import Tail, Tile, TileProblem, tiles

from minidnn_kernels.codegen import emit_asm
from minidnn_kernels.dot import best_dot, dot_for
from minidnn_kernels.isa import Isa, best_isa, get_isa
from minidnn_kernels.tile import TileSpec

AMX = get_isa("amx")
every_isa = pytest.mark.parametrize("isa", MATRIX_ISAS, ids=lambda isa: isa.name)


@every_isa
def test_unsigned_bytes_with_whole_matrices_and_a_rest(isa: Isa) -> None:
    machine = WithMatrices(isa)
    for number, (rows, vectors) in enumerate([(1, 1), (3, 4), (5, 3), (16, 2), (16, 4), (32, 1), (32, 2)]):
        for depth in (3, 64, 65 + number, 200):
            tail = Tail(scale=True, bias=True, residual="u8", activation="relu", output="u8")
            tile = Tile(rows, vectors, "u8", True, tail, panels=2 if vectors % 2 == 0 else 1)
            columns = max(1, vectors * isa.lanes - number)
            solve(machine, TileProblem(isa, tile, max(1, rows - 1), columns, 1 + number % 3, depth, absent=0.1))
    assert machine.registers.calls


@every_isa
def test_pairs_of_bfloat16(isa: Isa) -> None:
    solve_some(WithMatrices(isa), "bf16", "")


@every_isa
def test_high_tiles_of_bfloat16_over_several_taps(isa: Isa) -> None:
    for rows, vectors, depth in ((16, 4, 32), (32, 2, 70), (32, 1, 6)):
        problem = BfloatProblem(isa, TileSpec(rows, vectors, TAIL, True, "bf16"), rows - 3, 2 * isa.lanes - 1, 3, depth)
        problem.run(WithMatrices(isa))
        problem.check()


@every_isa
def test_scattered_rows(isa: Isa) -> None:
    spec = TileSpec(16, 2, TAIL, True, "bf16", scattered=True)
    problem = BfloatProblem(isa, spec, 19, 2 * isa.lanes - 1, 2, 40)
    problem.run(WithMatrices(isa))
    problem.check()


def test_registers_hold_four_matrices_of_sums() -> None:
    for data in ("u8", "s8", "bf16"):
        assert {tile for tile in tiles(AMX, data) if tile[0] >= 14} == {
            *((rows, vectors) for rows in (14, 16) for vectors in range(1, 5)),
            (32, 1),
            (32, 2),
        }
    with pytest.raises(ValueError, match="a 32x3 tile does not fit"):
        TileSpec(32, 3, data="u8").emit(AMX)
    with pytest.raises(ValueError, match="a 18x1 tile does not fit"):
        TileSpec(18, 1, data="u8").emit(AMX)


def test_short_rows_are_multiplied_by_vectors() -> None:
    for data, kind, least, other in (("u8", np.int8, 32, "vnni"), ("s8", np.int8, 32, "vnni")):
        for depth in (least - 1, least):
            weights = np.ones((1, 9, depth, 16), kind)
            assert best_dot(AMX, data, weights) == ("" if depth >= least else other)
    assert best_dot(AMX, "bf16", np.ones((1, 1, 15, 16), np.uint16)) == "dpbf16"
    assert best_dot(AMX, "bf16", np.ones((1, 1, 16, 16), np.uint16)) == ""
    # The panels are the same.
    weights = np.arange(64 * 32, dtype=np.int8).reshape(1, 1, 1, 64, 32)
    ways = [dot_for(AMX, "u8", name).pack(weights, 16) for name in ("", "vnni")]
    np.testing.assert_array_equal(*ways)


# --- as assembly -------------------------------------------------------------------------------


@pytest.mark.parametrize(("data", "instruction"), [("u8", "tdpbusd"), ("s8", "tdpbssd"), ("bf16", "tdpbf16ps")])
def test_code_is_made_of_the_instruction(data: str, instruction: str) -> None:
    # Loops over few rows are short, and LLVM writes them twice.
    for rows, vectors in (tile for tile in tiles(AMX, data) if tile[0] >= 8):
        text = emit_asm(TileSpec(rows, vectors, data=data).emit(AMX), AMX)
        blocks = -(-rows // 16)
        counts = {word: len(re.findall(rf"\b{word}\b", text)) for word in _WORDS}
        # Of whole matrices, and of the rest.
        assert counts.pop(instruction) == 2 * blocks * vectors
        begins = 0 if data == "bf16" else blocks * vectors
        assert counts.pop("tileloadd") == begins + 2 * (vectors + blocks + (blocks - 1) * (vectors - 1))
        assert counts.pop("tilezero") == (blocks * vectors if data == "bf16" else 0)
        assert counts.pop("tilestored") == blocks * vectors
        assert counts.pop("ldtilecfg") == counts.pop("tilerelease") == 1
        assert not any(counts.values())
        used = {int(number) for number in re.findall(r"%tmm(\d)", text)}
        assert used == {*range(blocks * vectors), 4, 5, 6, 7}


_WORDS = (
    *("ldtilecfg", "tilerelease", "tilezero", "tileloadd", "tilestored"),
    *("tdpbusd", "tdpbssd", "tdpbuud", "tdpbsud", "tdpbf16ps"),
)


# --- the registers here --------------------------------------------------------------------------


def _configured(shapes: dict[int, tuple[int, int]]) -> MatrixRegisters:
    registers = MatrixRegisters()
    memory = np.zeros(128, np.uint8)
    words = memory[-address(memory) % 64 :][:64]
    words[0] = 1
    for number in range(8):
        rows, row_bytes = shapes.get(number, (1, 4))
        words[16 + 2 * number], words[48 + number] = row_bytes, rows
    registers.ldtilecfg(address(words))
    return registers


def test_matrices_multiply_as_numpy_does() -> None:
    registers = _configured({0: (3, 20), 1: (3, 16), 2: (4, 20)})
    rng = np.random.default_rng(0)
    a = rng.integers(0, 256, (3, 16)).astype(np.uint8)
    b = rng.integers(-128, 128, (4, 5, 4)).astype(np.int8)
    target = Watched((3, 5), np.int32)
    registers.tileloadd64(1, address(a), 16)
    registers.tileloadd64(2, address(b), 20)
    matrix = b.transpose(0, 2, 1).reshape(16, 5).astype(np.int32)
    for method, kind in ((registers.tdpbusd, np.uint8), (registers.tdpbssd, np.int8)):
        registers.tilezero(0)
        method(0, 1, 2)
        registers.tilestored64(0, target.address, 20)
        target.assert_untouched_around()
        np.testing.assert_array_equal(target.array, a.view(kind).astype(np.int32) @ matrix)


def test_matrices_that_do_not_fit_are_refused() -> None:
    registers = _configured({0: (3, 20), 1: (3, 16), 2: (3, 20)})
    with pytest.raises(AssertionError):
        registers.tdpbusd(0, 1, 2)
    with pytest.raises(AssertionError, match="one register twice"):
        registers.tdpbusd(1, 1, 2)
    registers.tilerelease()
    with pytest.raises(AssertionError, match="not configured"):
        registers.tilezero(0)


def test_what_an_instruction_raises_comes_out_of_the_call(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("the palette")

    monkeypatch.setattr(MatrixRegisters, "ldtilecfg", refuse)
    machine = WithMatrices(MATRIX_ISAS[-1])
    with pytest.raises(AssertionError, match="the palette"):
        solve(machine, TileProblem(machine.isa, Tile(1, 1, "u8")))


def test_the_row_is_used_on_request_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("minidnn_kernels.isa.host_supports", lambda isa: isa.arch == "x86_64")
    assert best_isa().name == "avx512bf16"
    assert get_isa("amx").on_request
