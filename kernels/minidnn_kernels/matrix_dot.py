"""Dots by AMX: sums of up to 16 rows by 16 columns in a matrix register, 16 steps along K by one instruction.

Intel 64 and IA-32 Architectures Software Developer's Manual, volume 1, chapter 18. A matrix register holds up to 16
rows of 64 bytes; a function says at its beginning how many of each. Rows of A come from pointers that lead anywhere, so
they are copied side by side, on the stack, before they are read as a matrix; panels of B are those of `FourBytes`, and
are read where they lie.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from llvmlite import ir

from minidnn_kernels.isa import Isa
from minidnn_kernels.simd import I8, I32, I64, LANE_BYTES, VOID, Simd, Value, const
from minidnn_kernels.uniform_dot import Dot, bytes_of_panels, grouped

__all__ = ["BfloatMatrices", "ByteMatrices", "MatrixDot", "Operands"]

Array = np.ndarray[Any, Any]

# Rows of a matrix register, and its bytes in a row.
_ROWS, _ROW_BYTES = 16, 64
# Steps along K that an instruction takes: a row of B is a step.
_STEPS = _ROWS
# The registers by number: four of sums, A, B, and those of the steps that are left behind whole matrices.
_SUMS, _A, _B, _REST_OF_A, _REST_OF_B = 4, 4, 5, 6, 7
# Where the configuration has the bytes in a row, 16 bits each, and the rows, 8 bits each, in words of 32 bits.
_PALETTE, _BYTES_WORD, _ROWS_WORD, _CONFIGURATION_WORDS = 1, 4, 12, 16


@dataclass(frozen=True)
class Operands:
    """What a tile multiplies.

    Args:
        taps: row pointers of a row of A.
        steps: behind each pointer.
        row_pointers: those of a tap.
        panel: where B begins in the first panel.
        panels: how far behind each of the tile's panels is.
        starts: where the sums to start from are, one address for each vector of columns; empty: they are zero.
    """

    taps: Value
    steps: Value
    row_pointers: Callable[[Value], Sequence[Value]]
    panel: Value
    panels: Sequence[Value]
    starts: Sequence[Value]


class MatrixDot(Dot):
    """A dot that sums whole tiles; it has no step of single vectors. `by_vectors` takes the same panels."""

    step_bytes = LANE_BYTES
    column_bytes = LANE_BYTES
    offset = 0
    _sums_integers: bool

    def fits(self, isa: Isa, rows: int, vectors: int) -> bool:
        return -(-rows // _ROWS) * vectors <= _SUMS and (rows <= _ROWS or rows % _ROWS == 0)

    def pack(self, weights: Array, lanes: int) -> Array:
        return bytes_of_panels(grouped(weights, self.group))

    def pays(self, depth: int) -> bool:
        """Whether rows of so many elements behind each pointer fill half of a matrix."""
        return 2 * depth >= _STEPS * self.group

    def sum_rows(self, s: Simd, rows: int, vectors: int, operands: Operands) -> Iterator[list[Value]]:
        """The sums, vector by vector, row by row; loaded as they are asked for, as registers do not hold all."""
        tall, blocks = min(rows, _ROWS), range(-(-rows // _ROWS))
        kept = [_stack(s, tall * _ROW_BYTES) for _ in blocks]
        row_bytes = vectors * s.vector_bytes
        written = _stack(s, rows * row_bytes)
        rest = s.builder.and_(operands.steps, const(_STEPS - 1))
        _configure(s, tall, rest)
        for block, j in itertools.product(blocks, range(vectors)):
            if operands.starts:
                _load(s, block * vectors + j, operands.starts[j], const(0))
            else:
                _call(s, "tilezero", _number(block * vectors + j))
        whole = s.builder.lshr(operands.steps, const(_STEPS.bit_length() - 1))
        has_rest = s.builder.zext(s.builder.icmp_unsigned("!=", rest, const(0)), I64)
        pitch = const(vectors // len(operands.panels) * s.vector_bytes)
        with s.loop(const(0), operands.taps, 1, [operands.panel]) as tap:
            begins = [s.add(tap.values[0], panel) for panel in operands.panels]

            def add_steps(index: Value, count: Value | None) -> None:
                """The products of the matrices of that number along K, or of the `count` steps behind them."""
                for r, pointer in enumerate(operands.row_pointers(tap.index)):
                    source = s.add(pointer, s.mul(index, const(_ROW_BYTES)))
                    _copy(s, source, s.add(kept[r // _ROWS], const(r % _ROWS * _ROW_BYTES)), count)
                a, b = (_A, _B) if count is None else (_REST_OF_A, _REST_OF_B)
                offset, loaded = s.mul(s.mul(index, const(_STEPS)), pitch), -1
                for j in range(vectors):
                    panel, column = divmod(j, vectors // len(begins))
                    _load(s, b, s.add(begins[panel], offset, const(column * s.vector_bytes)), pitch)
                    # There and back: A of the last product is that of the next.
                    for block in blocks if j % 2 == 0 else reversed(blocks):
                        if block != loaded:
                            _load(s, a, kept[block], const(_ROW_BYTES))
                            loaded = block
                        _call(s, self._instruction(), *map(_number, (block * vectors + j, a, b)))

            with s.loop(const(0), whole, 1, []) as k:
                add_steps(k.index, None)
            with s.loop(const(0), has_rest, 1, []):
                add_steps(whole, rest)
            tap.next = [s.add(tap.values[0], s.mul(operands.steps, pitch))]
        for block, j in itertools.product(blocks, range(vectors)):
            where = s.add(written, const(block * _ROWS * row_bytes + j * s.vector_bytes))
            _move(s, "tilestored64", block * vectors + j, where, const(row_bytes))
        _call(s, "tilerelease")
        load = s.load_words if self._sums_integers else s.load
        for r in range(rows):
            yield [load(s.add(written, const(r * row_bytes + j * s.vector_bytes))) for j in range(vectors)]

    def _instruction(self) -> str:
        raise NotImplementedError


@dataclass(frozen=True)
class ByteMatrices(MatrixDot):
    """``tdpbssd`` for signed A, ``tdpbusd`` for unsigned: four bytes of A in a step, by four of a column of B."""

    signed: bool

    group = 4
    by_vectors = "vnni"
    _sums_integers = True

    def _instruction(self) -> str:
        return "tdpbssd" if self.signed else "tdpbusd"


class BfloatMatrices(MatrixDot):
    """``tdpbf16ps``: two bfloat16 of A in a step, the first ones summed apart from the second ones, no subnormals."""

    group = 2
    by_vectors = "dpbf16"
    _sums_integers = False

    def _instruction(self) -> str:
        return "tdpbf16ps"


def _configure(s: Simd, tall: int, rest: Value) -> None:
    """Tell the CPU what the registers hold: sums of `tall` rows, whole matrices, and those of `rest` steps."""
    whole = s.vector_bytes
    row_bytes = [whole] * _SUMS + [_ROW_BYTES, whole, 0, whole]
    rows = [tall] * _SUMS + [tall, _STEPS, tall, 0]
    words = [_PALETTE] + [0] * (_CONFIGURATION_WORDS - 1)
    for number in range(len(rows)):
        words[_BYTES_WORD + number // 2] |= row_bytes[number] << number % 2 * 16
        words[_ROWS_WORD + number // 4] |= rows[number] << number % 4 * 8
    # A register with no rows, or rows of no bytes, is none: nobody uses it then.
    steps = s.builder.trunc(s.builder.select(s.builder.icmp_unsigned("==", rest, const(0)), const(1), rest), I32)
    made: Value = ir.Constant(ir.VectorType(I32, _CONFIGURATION_WORDS), words)
    for word, factor in (
        (_BYTES_WORD + _REST_OF_A // 2, LANE_BYTES << _REST_OF_A % 2 * 16),
        (_ROWS_WORD + _REST_OF_B // 4, 1 << _REST_OF_B % 4 * 8),
    ):
        part = s.builder.or_(s.builder.mul(steps, ir.Constant(I32, factor)), ir.Constant(I32, words[word]))
        made = s.builder.insert_element(made, part, ir.Constant(I32, word))
    configuration = _stack(s, _CONFIGURATION_WORDS * LANE_BYTES)
    s.builder.store(made, s.pointer(configuration, made.type), align=_ROW_BYTES)
    _call(s, "ldtilecfg", s.pointer(configuration, I8))


def _stack(s: Simd, size: int) -> Value:
    """The address of so many bytes of the stack."""
    place = s.builder.alloca(ir.ArrayType(I8, size))
    place.align = _ROW_BYTES
    return s.builder.ptrtoint(place, I64)


def _copy(s: Simd, source: Value, target: Value, steps: Value | None) -> None:
    """A row of a matrix; only so many steps, and zeros behind them, if `steps` are given."""
    for lane in range(0, _ROW_BYTES // LANE_BYTES, s.lanes):
        mask = None if steps is None else s.first_lanes(s.add(steps, const(-lane)))
        offset = const(lane * LANE_BYTES)
        words = s.load_elements(s.add(source, offset), I32, mask)
        s.store_elements(words, s.add(target, offset))


def _load(s: Simd, register: int, address: Value, pitch: Value) -> None:
    _move(s, "tileloadd64", register, address, pitch)


def _move(s: Simd, name: str, register: int, address: Value, pitch: Value) -> None:
    _call(s, name, _number(register), s.pointer(address, I8), pitch)


def _call(s: Simd, name: str, *operands: Value) -> None:
    intrinsic = s.intrinsic(f"llvm.x86.{name}", VOID, [operand.type for operand in operands])
    s.builder.call(intrinsic, operands)


def _number(register: int) -> Value:
    return ir.Constant(I8, register)
