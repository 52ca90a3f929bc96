"""Dots whose every step is the same: float32, and int8 by the instructions that sum products of bytes.

A `Dot` says how many elements of K a step takes, how B is packed for it, and which instructions it is. All
int8 dots are exact: what they sum is what int32 arithmetic gives, bit by bit.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import numpy as np
from llvmlite import ir

from minidnn_kernels.isa import Isa
from minidnn_kernels.simd import I1, I8, I32, LANE_BYTES, Simd, Value, const

__all__ = [
    "Dot",
    "Float32",
    "FourBytes",
    "Int16",
    "Maddwd",
    "Mmla",
    "Sdot",
    "SignedBytes",
    "Vnni",
    "VnniInt8",
    "Widen",
    "bytes_of_panels",
    "grouped",
    "int16_pairs",
    "loose",
    "multiply_bytes",
    "multiply_pairs",
]

Array = np.ndarray[Any, Any]


_NO_STEP = "this dot has no step of single vectors"


class Dot(Protocol):
    """One way to do the inner step, and how weights are packed for it; `MatrixDot` does a tile's steps together.

    Attributes:
        by_vectors: the dot of the same elements that takes vectors, by name, where this one takes matrices.
    """

    by_vectors: str = ""

    @property
    def group(self) -> int:
        """Elements of K in a step."""
        ...

    @property
    def step_bytes(self) -> int:
        """Bytes of a row of A in a step."""
        ...

    @property
    def offset(self) -> int:
        """What is added to every element of A before it is multiplied; the bias takes it off again."""
        ...

    def row_bytes(self, steps: int) -> int:
        """Bytes that are read behind a row pointer."""
        return steps * self.step_bytes

    def fits(self, isa: Isa, rows: int, vectors: int) -> bool:
        """Whether a tile of rows x vectors sums keeps all it needs in registers."""
        ...

    def pack(self, weights: Array, lanes: int) -> Array:
        """Weights [groups, panels, taps, depth, columns], whole steps and vectors, as uint8 [groups, panels, bytes]."""
        ...

    @property
    def column_bytes(self) -> int:
        """Bytes of packed B for one column and one step."""
        ...

    def load_b(self, s: Simd, address: Value) -> Sequence[Value]:
        """B for one vector of columns and one step."""
        raise TypeError(_NO_STEP)

    def load_a(self, s: Simd, address: Value) -> Sequence[Value]:
        """A for one row and one step, in every lane."""
        raise TypeError(_NO_STEP)

    def accumulate(self, s: Simd, a: Sequence[Value], b: Sequence[Value], accumulator: Value) -> Value:
        """The accumulator with this step's products added."""
        raise TypeError(_NO_STEP)

    def start(self, s: Simd, bias: Sequence[Value], rows: int) -> list[Value]:
        """The accumulators before the first product, for rows that all begin with the bias, one of each vector."""
        return [*bias] * rows

    def add_step(
        self, s: Simd, rows: Sequence[Value], b: Sequence[Sequence[Value]], accumulators: Sequence[Value]
    ) -> list[Value]:
        """The accumulators with a step's products added, of rows of A at these addresses and vectors of B."""
        added: list[Value] = []
        for address in rows:
            a = self.load_a(s, address)  # just before it is used: registers are few
            for vector in b:
                added.append(self.accumulate(s, a, vector, accumulators[len(added)]))
        return added

    def sums(self, s: Simd, accumulators: Sequence[Value], rows: int) -> list[Value]:
        """What the accumulators hold after the last product, a vector of columns each, row by row."""
        return [*accumulators]


def bytes_of_panels(packed: Array) -> Array:
    """Panels [groups, panels, ...] as uint8 [groups, panels, bytes]."""
    return np.ascontiguousarray(packed).reshape(*packed.shape[:2], -1).view(np.uint8)


def grouped(weights: Array, group: int) -> Array:
    """[..., depth, columns] to [..., depth / group, columns, group]."""
    *outer, depth, columns = weights.shape
    return np.swapaxes(weights.reshape(*outer, depth // group, group, columns), -1, -2)


def int16_pairs(weights: Array, lanes: int) -> Array:
    """[..., depth, columns] to int16 [..., depth / 4, vectors, even or odd, lanes, 2].

    The K index 4 g + 2 p + h is element p of the pair in half h: even bytes of A meet the first half.
    """
    *outer, depth, columns = weights.shape
    n = len(outer)
    split = weights.astype(np.int16).reshape(*outer, depth // 4, 2, 2, columns // lanes, lanes)
    return split.transpose(*range(n), n, n + 3, n + 2, n + 4, n + 1)


def loose(vectors: int) -> int:
    """Registers that LLVM leaves unused in an integer tile: found by reading what it makes of all of them."""
    return 2 if vectors > 2 else 0


class Float32(Dot):
    group = 1
    step_bytes = LANE_BYTES
    column_bytes = LANE_BYTES
    offset = 0

    def load_b(self, s: Simd, address: Value) -> Sequence[Value]:
        return [s.load(address)]

    def load_a(self, s: Simd, address: Value) -> Sequence[Value]:
        return [s.load_splat(address)]

    def accumulate(self, s: Simd, a: Sequence[Value], b: Sequence[Value], accumulator: Value) -> Value:
        return s.fma(a[0], b[0], accumulator)

    def fits(self, isa: Isa, rows: int, vectors: int) -> bool:
        return isa.tile_fits(rows, vectors)

    def pack(self, weights: Array, lanes: int) -> Array:
        return bytes_of_panels(weights)


class Float32ByInt8(Float32):
    """Float32 by int8, which become float32 as they are read: a quarter of the bytes where weights come from memory."""

    column_bytes = 1

    def load_b(self, s: Simd, address: Value) -> Sequence[Value]:
        lanes = s.builder.sext(s.load_elements(address, I8), s.int_vector)
        return [s.builder.sitofp(lanes, s.vector)]


@dataclass(frozen=True)
class FourBytes(Dot):
    """Four int8 of A in every 32-bit lane against four int8 of B in each, all in one instruction.

    The instruction wants A signed or unsigned; the other kind has its sign bit flipped, which adds 128 to
    an int8, or takes it from a uint8.
    """

    signed: bool

    group = 4
    step_bytes = LANE_BYTES
    column_bytes = LANE_BYTES
    native_signed = False

    @property
    def offset(self) -> int:
        if self.signed == self.native_signed:
            return 0
        return 128 if self.signed else -128

    def load_b(self, s: Simd, address: Value) -> Sequence[Value]:
        return [s.load_words(address)]

    def load_a(self, s: Simd, address: Value) -> Sequence[Value]:
        lanes = s.load_splat_i32(address)
        return [s.flip_signs(lanes) if self.offset else lanes]

    def accumulate(self, s: Simd, a: Sequence[Value], b: Sequence[Value], accumulator: Value) -> Value:
        byte_vector = s.byte_vector
        intrinsic = s.intrinsic(self._instruction(s), s.int_vector, [s.int_vector, byte_vector, byte_vector])
        bytes_of = s.builder.bitcast
        return s.builder.call(intrinsic, [accumulator, bytes_of(a[0], byte_vector), bytes_of(b[0], byte_vector)])

    def _instruction(self, s: Simd) -> str:
        raise NotImplementedError

    def fits(self, isa: Isa, rows: int, vectors: int) -> bool:
        # The sums, B, one row of A, and the sign bits where they are flipped.
        return rows * vectors + vectors + 1 + bool(self.offset) + loose(vectors) <= isa.registers

    def pack(self, weights: Array, lanes: int) -> Array:
        return bytes_of_panels(grouped(weights, self.group))


class Vnni(FourBytes):
    """``vpdpbusd`` of AVX512-VNNI or AVX-VNNI: unsigned A, signed B."""

    def _instruction(self, s: Simd) -> str:
        return f"llvm.x86.avx512.vpdpbusd.{s.lanes * 32}"


class VnniInt8(FourBytes):
    """``vpdpbssd`` of AVX-VNNI-INT8 for signed A, AVX-VNNI's ``vpdpbusd`` for unsigned: signed B."""

    @property
    def offset(self) -> int:
        return 0

    def _instruction(self, s: Simd) -> str:
        return f"llvm.x86.avx2.vpdpbssd.{s.lanes * 32}" if self.signed else f"llvm.x86.avx512.vpdpbusd.{s.lanes * 32}"


class Sdot(FourBytes):
    """``sdot`` of AArch64's dot product extension: both signed."""

    native_signed = True

    def _instruction(self, s: Simd) -> str:
        return "llvm.aarch64.neon.sdot.v4i32.v16i8"


@dataclass(frozen=True)
class Mmla(Dot):
    """``smmla`` and ``usmmla`` of AArch64's i8mm: eight bytes of two rows of A by eight of two columns of B.

    An accumulator is a block of two rows and two columns while it is summed, and a vector of columns has two of them
    for each pair of rows. A row without another is paired with itself.
    """

    signed: bool

    group = 8
    step_bytes = 8
    column_bytes = 8
    offset = 0
    by_vectors = "sdot"

    def load_b(self, s: Simd, address: Value) -> Sequence[Value]:
        return [s.load_words(s.add(address, const(half * s.vector_bytes))) for half in range(2)]

    def load_a(self, s: Simd, address: Value) -> Sequence[Value]:
        # Of a type that lies in vector registers.
        return [s.builder.load(s.pointer(address, ir.DoubleType()), align=1)]

    def accumulate(self, s: Simd, a: Sequence[Value], b: Sequence[Value], accumulator: Value) -> Value:
        name = f"llvm.aarch64.neon.{'smmla' if self.signed else 'usmmla'}.v4i32.v16i8"
        intrinsic = s.intrinsic(name, s.int_vector, [s.int_vector, s.byte_vector, s.byte_vector])
        return s.builder.call(intrinsic, [accumulator, *(s.builder.bitcast(v[0], s.byte_vector) for v in (a, b))])

    def start(self, s: Simd, bias: Sequence[Value], rows: int) -> list[Value]:
        halves = [_columns_twice(s, vector, half) for half in range(2) for vector in bias]
        return halves * len(_pairs(range(rows)))

    def add_step(
        self, s: Simd, rows: Sequence[Value], b: Sequence[Sequence[Value]], accumulators: Sequence[Value]
    ) -> list[Value]:
        added: list[Value] = []
        for pair in _pairs(rows):
            a = [_two_rows(s, [self.load_a(s, address)[0] for address in pair])]
            for half, vector in itertools.product(range(2), b):
                added.append(self.accumulate(s, a, [vector[half]], accumulators[len(added)]))
        return added

    def sums(self, s: Simd, accumulators: Sequence[Value], rows: int) -> list[Value]:
        pairs = len(_pairs(range(rows)))
        vectors = len(accumulators) // pairs // 2
        sums: list[Value] = []
        for pair in range(pairs):
            block = accumulators[2 * pair * vectors : 2 * (pair + 1) * vectors]
            for row in range(2):
                order = ir.Constant(s.int_vector, [2 * row, 2 * row + 1, 2 * row + 4, 2 * row + 5])
                sums += [s.builder.shuffle_vector(block[j], block[vectors + j], order) for j in range(vectors)]
        return sums[: rows * vectors]

    def fits(self, isa: Isa, rows: int, vectors: int) -> bool:
        # The sums, B, and two rows of A.
        return 2 * len(_pairs(range(rows))) * vectors + 2 * vectors + 1 + loose(vectors) <= isa.registers

    def pack(self, weights: Array, lanes: int) -> Array:
        return bytes_of_panels(grouped(weights, self.group))


_Item = TypeVar("_Item")


def _pairs(items: Sequence[_Item]) -> list[Sequence[_Item]]:
    """Two by two; the last may be alone."""
    return [items[i : i + 2] for i in range(0, len(items), 2)]


def _two_rows(s: Simd, rows: Sequence[Value]) -> Value:
    """Eight bytes of each row in one vector, those of a single row twice."""
    pair = ir.VectorType(rows[0].type, 2)
    made: Value = ir.Constant(pair, ir.Undefined)
    for half in range(2):
        made = s.builder.insert_element(made, rows[half % len(rows)], ir.Constant(I32, half))
    return made


def _columns_twice(s: Simd, vector: Value, half: int) -> Value:
    """The columns of a half of the vector, for both rows of a block."""
    order = ir.Constant(s.int_vector, [2 * half, 2 * half + 1] * 2)
    return s.builder.shuffle_vector(vector, vector, order)


@dataclass(frozen=True)
class Maddwd(Dot):
    """``vpmaddwd``: A's even and odd bytes widened to pairs of int16, B packed as pairs the same way.

    A pair's products are summed in 32 bits, which two products of eight bits cannot exceed: exact.
    """

    signed: bool

    group = 4
    step_bytes = LANE_BYTES
    column_bytes = 2 * LANE_BYTES
    offset = 0

    def load_b(self, s: Simd, address: Value) -> Sequence[Value]:
        halves = [s.add(address, const(half * s.vector_bytes)) for half in range(2)]
        return [s.load_words(half) for half in halves]

    def load_a(self, s: Simd, address: Value) -> Sequence[Value]:
        return self.halves(s, s.load_splat_i32(address))

    def halves(self, s: Simd, lanes: Value) -> Sequence[Value]:
        """The even and the odd bytes, widened to int16."""
        b = s.builder
        pairs = s.short_vector
        lanes = b.bitcast(lanes, pairs)
        eight = ir.Constant(pairs, [8] * (s.lanes * 2))
        shift = b.ashr if self.signed else b.lshr
        return [shift(b.shl(lanes, eight), eight), shift(lanes, eight)]

    def accumulate(self, s: Simd, a: Sequence[Value], b: Sequence[Value], accumulator: Value) -> Value:
        for x, y in zip(a, b, strict=True):
            accumulator = s.builder.add(accumulator, multiply_pairs(s, x, y))
        return accumulator

    def fits(self, isa: Isa, rows: int, vectors: int) -> bool:
        # The sums, two halves of B and of A, and a product.
        return rows * vectors + 2 * vectors + 3 <= isa.registers

    def pack(self, weights: Array, lanes: int) -> Array:
        return bytes_of_panels(int16_pairs(weights, lanes))


class SignedBytes(Dot):
    """``vpmaddubsw`` of AVX2 on the sizes of a signed A, and B with A's signs.

    Two products meet in 16 bits: at most 2 * 128 * 127 without the sign, which fits if no weight is -128.
    """

    group = 4
    step_bytes = LANE_BYTES
    column_bytes = LANE_BYTES
    offset = 0
    # -128 times itself, twice, is 2^15, and it has no positive. Wider vectors have no ``vpsignb``.
    least_weight = -127
    lanes = 8

    def load_b(self, s: Simd, address: Value) -> Sequence[Value]:
        return [s.load_words(address)]

    def load_a(self, s: Simd, address: Value) -> Sequence[Value]:
        lanes = s.builder.bitcast(s.load_splat_i32(address), s.byte_vector)
        size = s.intrinsic("llvm.abs.v32i8", s.byte_vector, [s.byte_vector, I1])
        return [lanes, s.builder.call(size, [lanes, ir.Constant(I1, 0)])]

    def accumulate(self, s: Simd, a: Sequence[Value], b: Sequence[Value], accumulator: Value) -> Value:
        lanes, size = a
        sign = s.intrinsic("llvm.x86.avx2.psign.b", s.byte_vector, [s.byte_vector, s.byte_vector])
        signed = s.builder.call(sign, [s.builder.bitcast(b[0], s.byte_vector), lanes])
        ones = ir.Constant(s.short_vector, [1] * (s.lanes * 2))
        return s.builder.add(accumulator, multiply_pairs(s, multiply_bytes(s, size, signed), ones))

    def fits(self, isa: Isa, rows: int, vectors: int) -> bool:
        # The sums, B, A and its sizes, a product, and ones.
        return rows * vectors + vectors + 4 <= isa.registers

    def pack(self, weights: Array, lanes: int) -> Array:
        return bytes_of_panels(grouped(weights, self.group))


@dataclass(frozen=True)
class Int16(Dot):
    """``vpmaddwd`` of x86, or VNNI's ``vpdpwssd``, on int16 as they come: two elements of K in a step.

    Sums wrap around at 32 bits, as int32 does.
    """

    group = 2
    step_bytes = LANE_BYTES
    column_bytes = LANE_BYTES
    offset = 0

    def load_b(self, s: Simd, address: Value) -> Sequence[Value]:
        return [s.load_words(address)]

    def load_a(self, s: Simd, address: Value) -> Sequence[Value]:
        return [s.load_splat_i32(address)]

    def accumulate(self, s: Simd, a: Sequence[Value], b: Sequence[Value], accumulator: Value) -> Value:
        if not s.isa.has_vnni:
            return s.builder.add(accumulator, multiply_pairs(s, a[0], b[0]))
        name, kind = f"llvm.x86.avx512.vpdpwssd.{s.lanes * 32}", s.short_vector
        intrinsic = s.intrinsic(name, s.int_vector, [s.int_vector, kind, kind])
        return s.builder.call(intrinsic, [accumulator, s.builder.bitcast(a[0], kind), s.builder.bitcast(b[0], kind)])

    def fits(self, isa: Isa, rows: int, vectors: int) -> bool:
        # The sums, B, one row of A, and a product.
        return rows * vectors + vectors + 2 + loose(vectors) <= isa.registers

    def pack(self, weights: Array, lanes: int) -> Array:
        return bytes_of_panels(grouped(weights, self.group))


@dataclass(frozen=True)
class Widen(Dot):
    """One element of K at a time, multiplied in 32 bits: for CPUs without anything better."""

    signed: bool

    group = 1
    step_bytes = 1
    column_bytes = LANE_BYTES
    offset = 0

    def load_b(self, s: Simd, address: Value) -> Sequence[Value]:
        return [s.load_elements(address, I32)]

    def load_a(self, s: Simd, address: Value) -> Sequence[Value]:
        byte = s.builder.load(s.pointer(address, I8), align=1)
        return [s.splat_i32((s.builder.sext if self.signed else s.builder.zext)(byte, I32))]

    def accumulate(self, s: Simd, a: Sequence[Value], b: Sequence[Value], accumulator: Value) -> Value:
        return s.builder.add(accumulator, s.builder.mul(a[0], b[0]))

    def fits(self, isa: Isa, rows: int, vectors: int) -> bool:
        # The sums, B, one row of A, and a product.
        return rows * vectors + vectors + 2 + loose(vectors) <= isa.registers

    def pack(self, weights: Array, lanes: int) -> Array:
        return bytes_of_panels(weights.astype(np.int32))


def multiply_pairs(s: Simd, a: Value, b: Value) -> Value:
    """``vpmaddwd``: int16 times int16, neighbours summed into int32."""
    pairs = s.short_vector
    name = {4: "llvm.x86.sse2.pmadd.wd", 8: "llvm.x86.avx2.pmadd.wd", 16: "llvm.x86.avx512.pmaddw.d.512"}[s.lanes]
    intrinsic = s.intrinsic(name, s.int_vector, [pairs, pairs])
    return s.builder.call(intrinsic, [s.builder.bitcast(a, pairs), s.builder.bitcast(b, pairs)])


def multiply_bytes(s: Simd, a: Value, b: Value) -> Value:
    """``vpmaddubsw``: unsigned a times signed b, neighbours summed into int16."""
    name = {8: "llvm.x86.avx2.pmadd.ub.sw", 16: "llvm.x86.avx512.pmaddubs.w.512"}[s.lanes]
    intrinsic = s.intrinsic(name, s.short_vector, [s.byte_vector, s.byte_vector])
    return s.builder.call(intrinsic, [s.builder.bitcast(a, s.byte_vector), s.builder.bitcast(b, s.byte_vector)])
