"""How a depthwise window multiplies: some taps of each channel at once, for each type and instruction set.

Taps that are multiplied by one instruction lie above each other in the window, so that what is made of a column of
the input serves every output pixel that sees the column. All integer dots are exact: their sums are what int32
arithmetic gives, bit by bit.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from llvmlite import ir

from minidnn_kernels.element_type import ELEMENT_TYPES, FLOAT32
from minidnn_kernels.isa import Isa
from minidnn_kernels.simd import I8, I16, I32, Simd, Value, const
from minidnn_kernels.split_dot import PSHUFB_ZERO, shuffle_bytes
from minidnn_kernels.uniform_dot import FourBytes, multiply_pairs

__all__ = ["TapDot", "tap_dot_for"]

Array = np.ndarray[Any, Any]


class TapDot(Protocol):
    """One way to multiply taps, and how weights are packed for it."""

    @property
    def group(self) -> int:
        """Taps above each other in a step."""
        ...

    @property
    def vectors(self) -> int:
        """Vectors of channels that are best loaded together: a power of two."""
        ...

    @property
    def element(self) -> np.dtype[Any]:
        """Of a packed weight."""
        ...

    @property
    def offset(self) -> int:
        """What is added to every element of the input before it is multiplied; the sums' start takes it off again."""
        ...

    @property
    def one_pass(self) -> bool:
        """Whether the input is read once, and weights many times."""
        return True

    def load(self, s: Simd, rows: Sequence[Value], vectors: int, mask: Value | None) -> list[Value]:
        """Elements of so many vectors of channels at these addresses, up to `group` of them, for `accumulate`.

        A mask is of a single vector.
        """
        ...

    def load_weights(self, s: Simd, address: Value) -> Value:
        """Packed weights of a vector of channels."""
        return s.load_words(address)

    def accumulate(self, s: Simd, sums: Value, data: Value, weights: Value) -> Value:
        """The sums with the products of loaded data and weights added."""
        ...


@dataclass(frozen=True)
class _Float(TapDot):
    """Float32, or what becomes it where it is loaded."""

    data: str

    group = 1
    vectors = 1
    one_pass = False
    element = FLOAT32.dtype
    offset = 0

    def load(self, s: Simd, rows: Sequence[Value], vectors: int, mask: Value | None) -> list[Value]:
        data = ELEMENT_TYPES[self.data]
        return [data.load(s, s.add(rows[0], const(j * s.lanes * data.bytes)), mask) for j in range(vectors)]

    def load_weights(self, s: Simd, address: Value) -> Value:
        return s.load(address)

    def accumulate(self, s: Simd, sums: Value, data: Value, weights: Value) -> Value:
        return s.fma(data, weights, sums)


@dataclass(frozen=True)
class _Pairs(TapDot):
    """``vpmaddwd``: two rows' bytes interleaved and widened to int16."""

    data: str

    group = 2
    vectors = 2
    element = np.dtype(np.int16)

    @property
    def offset(self) -> int:
        # Bytes are widened by shuffles, which make zeros.
        return 128 if ELEMENT_TYPES[self.data].is_signed else 0

    def load(self, s: Simd, rows: Sequence[Value], vectors: int, mask: Value | None) -> list[Value]:
        b = s.builder
        bytes_ = _load_bytes(s, rows, vectors, mask, self.offset != 0)
        if s.lanes == 8:
            return self._widened_in_lanes(s, bytes_, vectors)
        if len(rows) == 1:
            # The upper half of each lane meets a weight that is zero.
            return [b.zext(part, s.int_vector) for part in _parts(s, bytes_[0], vectors)]
        pairs = _parts(s, _zip(s, *bytes_), vectors)
        return [b.bitcast(b.zext(pair, s.short_vector), s.int_vector) for pair in pairs]

    def _widened_in_lanes(self, s: Simd, rows: Sequence[Value], vectors: int) -> list[Value]:
        """AVX2: shuffles stay within halves of vectors, where they are one operation and not two."""
        b = s.builder
        both = [s.opaque(_repeat(s, row, s.vector_bytes)) for row in rows]
        if len(rows) == 1:
            spread = [shuffle_bytes(s, both[0], s.opaque_constant(_spread(s, 1, j))) for j in range(vectors)]
            return [b.bitcast(part, s.int_vector) for part in spread]
        made = []
        for j in range(vectors):
            order = [half + 8 * j + i // 2 + i % 2 * s.vector_bytes for half in (0, 16) for i in range(16)]
            pairs = b.shuffle_vector(*both, ir.Constant(ir.VectorType(I32, s.vector_bytes), order))
            made.append(b.bitcast(shuffle_bytes(s, pairs, s.opaque_constant(_spread(s, 2, 0))), s.int_vector))
        return made

    def accumulate(self, s: Simd, sums: Value, data: Value, weights: Value) -> Value:
        return s.builder.add(sums, multiply_pairs(s, data, weights))


@dataclass(frozen=True)
class _Quads(TapDot):
    """A dot product of four bytes: four rows' bytes interleaved."""

    dot: FourBytes

    group = 4
    vectors = 4
    element = np.dtype(np.int8)

    @property
    def offset(self) -> int:
        return self.dot.offset

    def load(self, s: Simd, rows: Sequence[Value], vectors: int, mask: Value | None) -> list[Value]:
        b = s.builder
        bytes_ = _load_bytes(s, rows, vectors, mask, self.offset != 0)
        in_lanes = s.isa.arch == "x86_64" and vectors == self.vectors
        if in_lanes:
            bytes_ = [s.opaque(_dealt_to_lanes(s, row)) for row in bytes_]
        # What the missing rows are does not matter: their weights are zero.
        bytes_ += [s.zero(bytes_[0])] * (self.group - len(bytes_))
        if in_lanes:
            pairs = zip(*(_unpack(s, bytes_[i : i + 2], s.short_vector) for i in (0, 2)), strict=True)
            return [quad for pair in pairs for quad in _unpack(s, pair, s.int_vector)]
        words = [b.bitcast(_zip(s, *bytes_[i : i + 2]), ir.VectorType(I16, vectors * s.lanes)) for i in (0, 2)]
        return [b.bitcast(part, s.int_vector) for part in _parts(s, _zip(s, *words), vectors)]

    def accumulate(self, s: Simd, sums: Value, data: Value, weights: Value) -> Value:
        return self.dot.accumulate(s, [data], [weights], sums)


@dataclass(frozen=True)
class _Singles(TapDot):
    """``smlal`` of AArch64: bytes widened to int16, products summed in 32 bits."""

    data: str

    group = 1
    vectors = 2
    element = np.dtype(np.int16)
    offset = 0

    def load(self, s: Simd, rows: Sequence[Value], vectors: int, mask: Value | None) -> list[Value]:
        widen = s.builder.sext if ELEMENT_TYPES[self.data].is_signed else s.builder.zext
        bytes_ = s.load_elements(rows[0], I8, mask, vectors)
        return _parts(s, widen(bytes_, ir.VectorType(I16, vectors * s.lanes)), vectors)

    def load_weights(self, s: Simd, address: Value) -> Value:
        return s.load_elements(address, I16)

    def accumulate(self, s: Simd, sums: Value, data: Value, weights: Value) -> Value:
        half = s.vector_of(I16)
        intrinsic = s.intrinsic("llvm.aarch64.neon.smull.v4i32", s.int_vector, [half, half])
        return s.builder.add(sums, s.builder.call(intrinsic, [data, weights]))


def _load_bytes(s: Simd, rows: Sequence[Value], vectors: int, mask: Value | None, flip: bool) -> list[Value]:
    """Bytes at these addresses, with their sign bits flipped if wanted."""
    bytes_ = [s.load_elements(row, I8, mask, vectors) for row in rows]
    return [s.builder.xor(row, s.constant_like(row, 0x80)) for row in bytes_] if flip else bytes_


def _repeat(s: Simd, value: Value, count: int) -> Value:
    """A vector of that many elements, those of another again and again."""
    order = [i % value.type.count for i in range(count)]
    return s.builder.shuffle_vector(value, value, ir.Constant(ir.VectorType(I32, count), order))


def _spread(s: Simd, taken: int, part: int) -> Value:
    """The order by which ``vpshufb`` widens bytes to int16: of each half of a vector, so many bytes for each lane.

    The half has the lanes of several vectors; those of the vector that `part` says are taken.
    """
    order: list[int] = []
    for lane in range(s.lanes):
        first = (part * s.lanes + lane) * taken
        for i in range(2):
            order += [first + i if i < taken else PSHUFB_ZERO, PSHUFB_ZERO]
    return ir.Constant(s.byte_vector, order)


def _zip(s: Simd, first: Value, second: Value) -> Value:
    """Elements of both in turns."""
    count = first.type.count
    order = [i // 2 + i % 2 * count for i in range(2 * count)]
    return s.builder.shuffle_vector(first, second, ir.Constant(ir.VectorType(I32, 2 * count), order))


def _dealt_to_lanes(s: Simd, row: Value) -> Value:
    """Bytes of a vector in an order in which `_unpack`, twice, brings them to their places."""
    words, count = s.builder.bitcast(row, s.int_vector), s.lanes // 4
    order = [position % 4 * count + position // 4 for position in range(s.lanes)]
    return s.builder.bitcast(s.builder.shuffle_vector(words, words, ir.Constant(s.int_vector, order)), s.byte_vector)


def _unpack(s: Simd, pair: Sequence[Value], result: Any) -> list[Value]:
    """Of each 16 bytes of both, the elements in turns: those of the lower halves, then those of the upper ones."""
    first, second = pair
    count, made = first.type.count, []
    each = count * 4 // s.lanes
    for half in range(2):
        order = [
            lane + half * each // 2 + i // 2 + i % 2 * count for lane in range(0, count, each) for i in range(each)
        ]
        unpacked = s.builder.shuffle_vector(first, second, ir.Constant(ir.VectorType(I32, count), order))
        made.append(s.builder.bitcast(unpacked, result))
    return made


def _parts(s: Simd, value: Value, count: int) -> list[Value]:
    """Cut into so many vectors."""
    if count == 1:
        return [value]
    length = value.type.count // count
    kind = ir.VectorType(I32, length)
    orders = [list(range(i * length, (i + 1) * length)) for i in range(count)]
    return [s.builder.shuffle_vector(value, value, ir.Constant(kind, order)) for order in orders]


def tap_dot_for(isa: Isa, data: str) -> TapDot:
    """The dot for input of floats, or of type ``u8`` or ``s8``, on that ISA."""
    type = ELEMENT_TYPES[data]
    if not type.is_integer:
        return _Float(data)
    dot = type.dot(isa)
    dot = type.dots.get(dot.by_vectors, dot)
    if isinstance(dot, FourBytes):
        return _Quads(dot)
    return _Pairs(data) if isa.arch == "x86_64" else _Singles(data)
