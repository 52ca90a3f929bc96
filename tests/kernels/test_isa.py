"""The ISA table: every row generates code on any machine, and the code is what the row promises."""

from __future__ import annotations

import re
from dataclasses import replace
from itertools import pairwise

import pytest
from kernel_kinds import every_kind
from microkernels import FLOAT_ISAS

from minidnn_kernels.codegen import emit_asm, emit_object
from minidnn_kernels.elementwise import ElementwiseSpec
from minidnn_kernels.epilogue import OPS, Epilogue, Instruction
from minidnn_kernels.host import host_arch
from minidnn_kernels.isa import ISAS, Isa, best_isa, get_isa, host_supports
from minidnn_kernels.loader import Loader
from minidnn_kernels.pooling import PoolSpec
from minidnn_kernels.tile import TileSpec

every_isa = pytest.mark.parametrize("isa", ISAS, ids=lambda isa: isa.name)
every_float_isa = pytest.mark.parametrize("isa", FLOAT_ISAS, ids=lambda isa: isa.name)

_STACK = {"x86_64": r"\(%rsp", "aarch64": r"\[sp\b"}
_VECTOR = {"x86_64": r"%[xyz]mm", "aarch64": r"\b[qvds]\d+\b"}
_BRANCH = re.compile(r"\s+(?:j\w+|b(?:\.\w+)?|cbn?z|tbn?z)\s+(?:.*,\s*)?([.\w]+)\s*$")


def _innermost_loops(asm: str) -> list[list[str]]:
    """Stretches from a label to a jump back to it with no such stretch inside."""
    lines = asm.splitlines()
    labels = {line.split(":")[0]: i for i, line in enumerate(lines) if re.match(r"[.\w]+:", line)}
    loops = []
    for i, line in enumerate(lines):
        branch = _BRANCH.match(line)
        if branch and labels.get(branch[1], i + 1) <= i:
            loops.append((labels[branch[1]], i))
    inner = [a for a in loops if not any(a != b and a[0] <= b[0] and b[1] <= a[1] for b in loops)]
    return [lines[begin : end + 1] for begin, end in inner]


def _stores_to_stack(isa: Isa, line: str) -> bool:
    if isa.arch == "aarch64":
        return re.match(r"\s+st[rpu]\w*\s.*" + _STACK[isa.arch], line) is not None
    # AT&T syntax: the target is the last operand.
    return re.search(_STACK[isa.arch] + r"[^,]*\)\s*$", line) is not None


def _keeps_vector_on_stack(isa: Isa, line: str) -> bool:
    return re.search(_STACK[isa.arch], line) is not None and re.search(_VECTOR[isa.arch], line) is not None


def _product(isa: Isa) -> str:
    """The instruction that does a product of the inner loop, on the widest registers of the row."""
    if isa.arch == "aarch64":
        return r"\bfmla\s+v\d+\.4s"
    register = {4: "%xmm", 8: "%ymm", 16: "%zmm"}[isa.lanes]
    return (r"\bvfmadd(132|213|231)ps\s.*" if isa.fma else r"\bmulps\s.*") + register


def _calls(asm: str) -> set[str]:
    """Functions the code needs from elsewhere."""
    return set(re.findall(r"^\s+(?:callq?|bl)\s+(\w+)", asm, re.MULTILINE))


def _tiles(isa: Isa) -> list[tuple[int, int]]:
    """All that `choose_tile` can choose."""
    return [(r, v) for r in range(1, isa.max_rows + 1) for v in range(1, 5) if isa.tile_fits(r, v)]


@every_float_isa
def test_tiles_stay_in_registers(isa: Isa) -> None:
    for rows, vectors in _tiles(isa):
        loops = _innermost_loops(emit_asm(TileSpec(rows, vectors).emit(isa), isa))
        assert len(loops) == 1
        products = [line for line in loops[0] if re.search(_product(isa), line)]
        assert len(products) == rows * vectors, f"{rows}x{vectors}: {len(products)} products in the loop"
        # Beyond twelve rows, x86 has not enough integer registers for the row pointers.
        pointers_fit = isa.arch != "x86_64" or rows <= 12
        for line in loops[0]:
            assert not _keeps_vector_on_stack(isa, line), f"{rows}x{vectors} spills a vector: {line.strip()}"
            assert not (pointers_fit and _stores_to_stack(isa, line)), f"{rows}x{vectors} spills: {line.strip()}"


@every_float_isa
def test_a_tile_beyond_the_registers_is_seen_to_spill(isa: Isa) -> None:
    many = replace(isa, registers=100)
    (loop,) = _innermost_loops(emit_asm(TileSpec(isa.registers // 2, 4).emit(many), isa))
    assert any(_keeps_vector_on_stack(isa, line) for line in loop)


@every_isa
def test_every_kernel_is_generated(isa: Isa) -> None:
    for spec in every_kind(isa):
        asm = emit_asm(spec.emit(isa), isa)
        assert re.search(rf"^{spec.name}:", asm, re.MULTILINE)
        assert not _calls(asm), f"{spec.name} calls {_calls(asm)}"


@every_float_isa
def test_every_epilogue_operation_is_generated(isa: Isa) -> None:
    # SSE2 has no instruction that rounds: there the C library does it.
    rounding = {"floorf", "ceilf", "truncf", "rintf"} if isa.name == "sse" else set()
    # One after the other, each on the value before it.
    chain = tuple(Instruction(name, (made, 0, 0)[:arity]) for made, (name, (arity, _, _)) in enumerate(OPS.items()))
    asm = emit_asm(ElementwiseSpec(Epilogue(chain, ("tensor",))).emit(isa), isa)
    assert _calls(asm) <= rounding


@every_isa
def test_object_code_is_elf_of_its_machine(isa: Isa) -> None:
    code = emit_object(PoolSpec("max").emit(isa), isa)
    assert code[:4] == b"\x7fELF"
    assert int.from_bytes(code[18:20], "little") == {"x86_64": 62, "aarch64": 183}[isa.arch]


def test_rows_are_distinct_and_ascend() -> None:
    assert len({isa.name for isa in ISAS}) == len(ISAS)
    for before, after in pairwise(ISAS):
        assert before.arch != after.arch or before.lanes <= after.lanes


def test_lanes_are_a_power_of_two() -> None:
    # Masks by `and`, and halving reductions, rest on it.
    assert all(isa.lanes & (isa.lanes - 1) == 0 for isa in ISAS)


def test_the_best_isa_is_the_last_row_the_host_supports() -> None:
    supported = [isa for isa in ISAS if host_supports(isa)]
    assert supported, f"no row for {host_arch()}"
    assert best_isa() is supported[-1]


def test_an_isa_is_found_by_name_or_refused_with_the_names_there_are() -> None:
    assert get_isa("avx2").lanes == 8
    with pytest.raises(ValueError, match=r"unknown ISA 'mmx'; known: sse, avx2, .*neon"):
        get_isa("mmx")


def test_the_loader_refuses_an_object_without_the_symbol() -> None:
    isa = best_isa()
    with pytest.raises(RuntimeError, match="no symbol 'nothing'"):
        Loader().load(emit_object(PoolSpec("max").emit(isa), isa), "nothing")


def test_malformed_ir_is_an_error_not_a_crash() -> None:
    with pytest.raises(RuntimeError, match="expected"):
        emit_object("define void @broken(", best_isa())
