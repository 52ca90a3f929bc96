"""Copies between any two strided layouts: reorders, transposes, concatenation, slices, padding.

Blocks of 32-bit elements are transposed in registers, on which reorders between layouts spend their time; a few planes
of elements of any size, such as an image's colours, are interleaved there.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from llvmlite import ir

from minidnn_kernels.arguments import WORD_BYTES, ArgumentRow, Field
from minidnn_kernels.isa import Isa
from minidnn_kernels.simd import I32, LANE_BYTES, Simd, Value, const, new_function

__all__ = [
    "ARGUMENTS",
    "COPY_ARGUMENTS",
    "MAX_DIMENSIONS",
    "MOST_INTERLEAVED",
    "InterleaveSpec",
    "TransposeSpec",
    "transposed",
]

MAX_DIMENSIONS = 6
# Columns of `InterleaveSpec`: each output vector is made of so many, one after the other.
MOST_INTERLEAVED = 4


# Of `copy_loop`.
COPY_ARGUMENTS = ArgumentRow(
    Field("source", "its first element"),
    Field("target", "its first element"),
    Field("item", "bytes of an element: 1, 2, 4 or 8"),
    Field("outer", "product of all extents but the last two"),
    Field("shape", "extents, the outermost first", words=MAX_DIMENSIONS),
    Field("source_strides", "bytes, in the same order", words=MAX_DIMENSIONS),
    Field("target_strides", "bytes, in the same order", words=MAX_DIMENSIONS),
    Field("rows_per_part", "of the second last dimension"),
    Field("row_parts", "parts of an index of the outer dimensions"),
    Field("kernel", "microkernel, if the last two dimensions are swapped in the source; else 0"),
)


# source, target: addresses of the part's first element
# rows, columns:  target[row, column] = source[row, column]; rows are contiguous in the source, columns in the target
# row:            the copy's argument row, for the strides
ARGUMENTS = ("source", "target", "rows", "columns", "row")


@dataclass(frozen=True)
class TransposeSpec:
    """Rows by columns of `LANE_BYTES`-byte elements, block by block of ``lanes`` x ``lanes``."""

    @property
    def name(self) -> str:
        return "x32_transpose"

    def emit(self, isa: Isa) -> str:
        """LLVM IR of the kernel, one function of `ARGUMENTS`."""
        module, function, builder = new_function(self.name, ARGUMENTS)
        s = Simd(builder, isa)
        source, target, rows, columns, row = function.args
        offsets = COPY_ARGUMENTS.offsets
        row_dimension, column_dimension = MAX_DIMENSIONS - 2, MAX_DIMENSIONS - 1
        source_column = s.load_argument(row, offsets.source_strides + column_dimension * WORD_BYTES)
        target_row = s.load_argument(row, offsets.target_strides + row_dimension * WORD_BYTES)
        lanes = s.lanes

        def block(r: Value, c: Value, whole: bool) -> None:
            row_mask = None if whole else s.first_lanes(builder.sub(rows, r))
            column_mask = None if whole else s.first_lanes(builder.sub(columns, c))
            corner = s.add(source, s.mul(r, const(LANE_BYTES)), s.mul(c, source_column))
            last = s.add(columns, const(-1))
            vectors = []
            for i in range(lanes):
                # Beyond the last column, read the last one again: what comes of it is not stored.
                index = const(i) if whole else builder.sub(s.smaller(s.add(c, const(i)), last), c)
                vectors.append(s.load(s.add(corner, s.mul(index, source_column)), row_mask))
            corner = s.add(target, s.mul(c, const(LANE_BYTES)), s.mul(r, target_row))
            last = s.add(rows, const(-1))
            for i, vector in enumerate(transposed(s, vectors)):
                address = s.add(corner, s.mul(const(i), target_row))
                if whole:
                    s.store(vector, address)
                else:
                    with builder.if_then(builder.icmp_signed("<=", s.add(r, const(i)), last)):
                        s.store(vector, address, column_mask)

        with s.loop(const(0), rows, lanes, []) as outer, s.loop(const(0), columns, lanes, []) as inner:
            r, c = outer.index, inner.index
            fits = builder.and_(
                builder.icmp_signed("<=", s.add(r, const(lanes)), rows),
                builder.icmp_signed("<=", s.add(c, const(lanes)), columns),
            )
            with builder.if_else(fits) as (then, otherwise):
                with then:
                    block(r, c, whole=True)
                with otherwise:
                    block(r, c, whole=False)
        builder.ret_void()
        return str(module)


@dataclass(frozen=True)
class InterleaveSpec:
    """Rows by a few `columns` of elements of `item` bytes, where nothing lies between the rows of the target."""

    columns: int
    item: int

    @property
    def name(self) -> str:
        return f"x{8 * self.item}_interleave_{self.columns}"

    def emit(self, isa: Isa) -> str:
        """LLVM IR of the kernel, one function of `ARGUMENTS`."""
        module, function, builder = new_function(self.name, ARGUMENTS)
        s = Simd(builder, isa)
        source, target, rows, _, row = function.args
        offset = COPY_ARGUMENTS.offsets.source_strides + (MAX_DIMENSIONS - 1) * WORD_BYTES
        pitch, element = s.load_argument(row, offset), ir.IntType(8 * self.item)
        planes = [s.add(source, s.mul(pitch, const(c))) for c in range(self.columns)]
        count = s.vector_bytes // self.item

        def block(first: Value, kind: Any) -> None:
            """As many rows as a vector of that kind has elements."""
            address = s.add(target, s.mul(first, const(self.columns * self.item)))
            begins = [s.add(plane, s.mul(first, const(self.item))) for plane in planes]
            vectors = [builder.load(s.pointer(begin, kind), align=self.item) for begin in begins]
            for j, vector in enumerate(_interleaved(s, vectors)):
                at = s.add(address, const(j * kind.count * self.item))
                builder.store(vector, s.pointer(at, kind), align=self.item)

        with builder.if_else(builder.icmp_signed(">=", rows, const(count))) as (many, few):
            # The last rows with those before them, once more.
            with many, s.loop(const(0), rows, count, []) as blocks:
                block(s.smaller(blocks.index, s.add(rows, const(-count))), ir.VectorType(element, count))
            with few, s.loop(const(0), rows, 1, []) as single:
                block(single.index, ir.VectorType(element, 1))
        builder.ret_void()
        return str(module)


def _interleaved(s: Simd, vectors: list[Value]) -> list[Value]:
    """The first elements of all vectors, then the second ones, and so on: as many vectors."""
    columns, count = len(vectors), vectors[0].type.count
    made = []
    for first in range(0, columns * count, count):
        places = [divmod(place, columns) for place in range(first, first + count)]
        whole = vectors[0]
        for c, vector in enumerate(vectors):
            order = [count + element if column == c else i for i, (element, column) in enumerate(places)]
            whole = s.builder.shuffle_vector(whole, vector, ir.Constant(ir.VectorType(I32, count), order))
        made.append(whole)
    return made


def transposed(s: Simd, rows: list[Value]) -> list[Value]:
    """A square of vectors, transposed in log2(lanes) rounds: each swaps off-diagonal blocks of half the size."""
    lanes = s.lanes
    half = lanes // 2
    while half:
        for i in range(lanes):
            if i & half:
                continue
            upper, lower = rows[i], rows[i + half]
            # Lanes of the upper row where bit `half` is clear, and the same lanes of the lower row; and the rest.
            low = [lane if not lane & half else lanes + lane - half for lane in range(lanes)]
            high = [lane + half if not lane & half else lanes + lane for lane in range(lanes)]
            rows[i] = _shuffle(s, upper, lower, low)
            rows[i + half] = _shuffle(s, upper, lower, high)
        half //= 2
    return rows


def _shuffle(s: Simd, a: Value, b: Value, order: list[int]) -> Value:
    return s.builder.shuffle_vector(a, b, ir.Constant(s.int_vector, order))
