"""Products of one row with a matrix that is read where it lies: what a single query makes of cached keys and values.

Packing panels for a tile would cost more than the product does.
"""

from __future__ import annotations

from dataclasses import dataclass

from minidnn_kernels.arguments import ArgumentRow, Field
from minidnn_kernels.element_type import FLOAT32
from minidnn_kernels.isa import Isa
from minidnn_kernels.simd import F32, Simd, Value, const, new_function

__all__ = ["ARGUMENTS", "MATRIX", "RowByRowsSpec", "RowBySumSpec"]

# row:    address of float32
# matrix: address of float32 [count][size]
# target: address of float32
# count:  rows of the matrix
# shape:  address of `MATRIX`
ARGUMENTS = ("row", "matrix", "target", "count", "shape")
MATRIX = ArgumentRow(
    Field("pitch", "bytes from one row of the matrix to the next"),
    Field("size", "elements of a row"),
)

# Rows of the matrix that are multiplied at a time, and vectors of sums.
_TOGETHER, _VECTORS = 4, 4


@dataclass(frozen=True)
class RowByRowsSpec:
    """``target[i] = sum of row * matrix[i]``."""

    @property
    def name(self) -> str:
        return "f32_row_by_rows"

    def emit(self, isa: Isa) -> str:
        """LLVM IR of the kernel, one function of `ARGUMENTS`."""
        module, function, b = new_function(self.name, ARGUMENTS)
        s = Simd(b, isa)
        row, matrix, target, count, shape = function.args
        pitch, size = (s.load_argument(shape, offset) for offset in MATRIX.offsets)

        def multiply(index: Value, rows: int) -> None:
            begins = [s.add(matrix, s.mul(s.add(index, const(i)), pitch)) for i in range(rows)]
            for i, total in enumerate(_sums(s, row, begins, size)):
                place = s.add(target, s.mul(s.add(index, const(i)), const(FLOAT32.bytes)))
                b.store(s.reduce(total, b.fadd), s.pointer(place, F32), align=FLOAT32.bytes)

        whole = b.and_(count, const(-_TOGETHER))
        with s.loop(const(0), whole, _TOGETHER, []) as loop:
            multiply(loop.index, _TOGETHER)
        with s.loop(whole, count, 1, []) as loop:
            multiply(loop.index, 1)
        b.ret_void()
        return str(module)


def _sums(s: Simd, row: Value, begins: list[Value], size: Value) -> list[Value]:
    """Lanes of the products of the row with others that begin there."""
    b = s.builder

    def added(sums: list[Value], index: Value, mask: Value | None) -> list[Value]:
        offset = s.mul(index, const(FLOAT32.bytes))
        x = s.load(s.add(row, offset), mask)
        return [s.fma(x, s.load(s.add(y, offset), mask), total) for y, total in zip(begins, sums, strict=True)]

    whole = b.and_(size, const(-s.lanes))
    with s.loop(const(0), whole, s.lanes, [s.splat(0.0)] * len(begins)) as loop:
        loop.next = added(loop.values, loop.index, None)
    before, left = b.block, b.sub(size, whole)
    with b.if_then(b.icmp_signed(">", left, const(0))):
        rest = added(loop.results, whole, s.first_lanes(left))
        inside = b.block
    both = []
    for without, more in zip(loop.results, rest, strict=True):
        both.append(b.phi(s.vector))
        both[-1].add_incoming(without, before)
        both[-1].add_incoming(more, inside)
    return both


@dataclass(frozen=True)
class RowBySumSpec:
    """``target += sum of row[i] * matrix[i]``."""

    @property
    def name(self) -> str:
        return "f32_row_by_sum"

    def emit(self, isa: Isa) -> str:
        """LLVM IR of the kernel, one function of `ARGUMENTS`."""
        module, function, b = new_function(self.name, ARGUMENTS)
        s = Simd(b, isa)
        row, matrix, target, count, shape = function.args
        pitch, size = (s.load_argument(shape, offset) for offset in MATRIX.offsets)
        with s.loop(const(0), size, _VECTORS * s.lanes, []) as part:
            begin, left = s.mul(part.index, const(FLOAT32.bytes)), b.sub(size, part.index)

            def add(masked: bool, begin: Value = begin, left: Value = left) -> None:
                masks = [s.first_lanes(s.add(left, const(-v * s.lanes))) if masked else None for v in range(_VECTORS)]
                places = [s.add(begin, const(v * s.vector_bytes)) for v in range(_VECTORS)]
                start = [s.load(s.add(target, p), mask) for p, mask in zip(places, masks, strict=True)]
                with s.loop(const(0), count, 1, start) as loop:
                    factor = s.load_splat(s.add(row, s.mul(loop.index, const(FLOAT32.bytes))))
                    source = s.add(matrix, s.mul(loop.index, pitch))
                    loop.next = [
                        s.fma(factor, s.load(s.add(source, p), mask), total)
                        for p, mask, total in zip(places, masks, loop.values, strict=True)
                    ]
                for p, mask, total in zip(places, masks, loop.results, strict=True):
                    s.store(total, s.add(target, p), mask)

            with b.if_else(b.icmp_signed(">=", left, const(_VECTORS * s.lanes))) as (whole, rest):
                with whole:
                    add(masked=False)
                with rest:
                    add(masked=True)
        b.ret_void()
        return str(module)
