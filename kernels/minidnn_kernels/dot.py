"""The inner step of a matmul: how a row of A meets a vector of B's columns, for each type and instruction set.

A `Dot` says how many elements of K a step takes, how B is packed for it, and which instructions it is. All
int8 dots are exact: what they sum is what int32 arithmetic gives, bit by bit. `vpmaddubsw`, which saturates
at int16, is not used.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from llvmlite import ir

from minidnn_kernels.isa import Isa
from minidnn_kernels.simd import I8, I32, Simd, Value, const

__all__ = ["DOTS", "Dot", "dot_for"]

Array = np.ndarray[Any, Any]

_I16 = ir.IntType(16)


class Dot(Protocol):
    """One way to do the inner step."""

    @property
    def group(self) -> int:
        """Elements of K in a step."""
        ...

    @property
    def step_bytes(self) -> int:
        """Bytes of a row of A in a step."""
        ...

    @property
    def column_bytes(self) -> int:
        """Bytes of packed B for one column and one step."""
        ...

    @property
    def offset(self) -> int:
        """What is added to every element of A before it is multiplied; the bias takes it off again."""
        ...

    def load_b(self, s: Simd, address: Value) -> Sequence[Value]:
        """B for one vector of columns and one step."""
        ...

    def load_a(self, s: Simd, address: Value) -> Sequence[Value]:
        """A for one row and one step, in every lane."""
        ...

    def accumulate(self, s: Simd, a: Sequence[Value], b: Sequence[Value], accumulator: Value) -> Value:
        """The accumulator with this step's products added."""
        ...

    def pack(self, weights: Array, lanes: int) -> Array:
        """Weights [..., depth, columns], whole groups and whole vectors, in the order `load_b` reads."""
        ...


class _Float32:
    group = 1
    step_bytes = 4
    column_bytes = 4
    offset = 0

    def load_b(self, s: Simd, address: Value) -> Sequence[Value]:
        return [s.load(address)]

    def load_a(self, s: Simd, address: Value) -> Sequence[Value]:
        return [s.load_splat(address)]

    def accumulate(self, s: Simd, a: Sequence[Value], b: Sequence[Value], accumulator: Value) -> Value:
        return s.fma(a[0], b[0], accumulator)

    def pack(self, weights: Array, lanes: int) -> Array:
        return weights


@dataclass(frozen=True)
class _FourBytes:
    """Four int8 of A in every 32-bit lane against four int8 of B in each, all in one instruction.

    The instruction wants A signed or unsigned; the other kind has its sign bit flipped, which adds 128 to
    an int8, or takes it from a uint8.
    """

    signed: bool

    group = 4
    step_bytes = 4
    column_bytes = 4
    native_signed = False

    @property
    def offset(self) -> int:
        if self.signed == self.native_signed:
            return 0
        return 128 if self.signed else -128

    def load_b(self, s: Simd, address: Value) -> Sequence[Value]:
        return [s.builder.load(s.pointer(address, s.int_vector), align=1)]

    def load_a(self, s: Simd, address: Value) -> Sequence[Value]:
        word = s.builder.load(s.pointer(address, I32), align=1)
        lanes = s.splat_i32(word)
        if self.offset:
            lanes = s.builder.xor(lanes, s.splat_int(0x80808080))
        return [lanes]

    def accumulate(self, s: Simd, a: Sequence[Value], b: Sequence[Value], accumulator: Value) -> Value:
        byte_vector = ir.VectorType(I8, s.lanes * 4)
        intrinsic = s.intrinsic(self._instruction(s), s.int_vector, [s.int_vector, byte_vector, byte_vector])
        bytes_of = s.builder.bitcast
        return s.builder.call(intrinsic, [accumulator, bytes_of(a[0], byte_vector), bytes_of(b[0], byte_vector)])

    def _instruction(self, s: Simd) -> str:
        raise NotImplementedError

    def pack(self, weights: Array, lanes: int) -> Array:
        *outer, depth, columns = weights.shape
        split = weights.reshape(*outer, depth // 4, 4, columns)
        return np.ascontiguousarray(np.swapaxes(split, -1, -2))


class _Vnni(_FourBytes):
    """``vpdpbusd`` of AVX512-VNNI or AVX-VNNI: unsigned A, signed B."""

    def _instruction(self, s: Simd) -> str:
        return f"llvm.x86.avx512.vpdpbusd.{s.lanes * 32}"


class _Sdot(_FourBytes):
    """``sdot`` of AArch64's dot product extension: both signed."""

    native_signed = True

    def _instruction(self, s: Simd) -> str:
        return "llvm.aarch64.neon.sdot.v4i32.v16i8"


@dataclass(frozen=True)
class _Maddwd:
    """``vpmaddwd``: A's even and odd bytes widened to pairs of int16, B packed as pairs the same way.

    A pair's products are summed in 32 bits, which two products of eight bits cannot exceed: exact.
    """

    signed: bool

    group = 4
    step_bytes = 4
    column_bytes = 8
    offset = 0

    def load_b(self, s: Simd, address: Value) -> Sequence[Value]:
        halves = [s.add(address, const(half * s.lanes * 4)) for half in range(2)]
        return [s.builder.load(s.pointer(half, s.int_vector), align=1) for half in halves]

    def load_a(self, s: Simd, address: Value) -> Sequence[Value]:
        b = s.builder
        pairs = ir.VectorType(_I16, s.lanes * 2)
        lanes = b.bitcast(s.splat_i32(b.load(s.pointer(address, I32), align=1)), pairs)
        eight = ir.Constant(pairs, [8] * (s.lanes * 2))
        shift = b.ashr if self.signed else b.lshr
        return [shift(b.shl(lanes, eight), eight), shift(lanes, eight)]

    def accumulate(self, s: Simd, a: Sequence[Value], b: Sequence[Value], accumulator: Value) -> Value:
        pairs = ir.VectorType(_I16, s.lanes * 2)
        name = {4: "llvm.x86.sse2.pmadd.wd", 8: "llvm.x86.avx2.pmadd.wd", 16: "llvm.x86.avx512.pmaddw.d.512"}[s.lanes]
        intrinsic = s.intrinsic(name, s.int_vector, [pairs, pairs])
        for x, y in zip(a, b, strict=True):
            products = s.builder.call(intrinsic, [x, s.builder.bitcast(y, pairs)])
            accumulator = s.builder.add(accumulator, products)
        return accumulator

    def pack(self, weights: Array, lanes: int) -> Array:
        # K index 4 g + 2 p + h, column lanes v + l, to [g][v][h][l][p].
        *outer, depth, columns = weights.shape
        split = weights.astype(np.int16).reshape(*outer, depth // 4, 2, 2, columns // lanes, lanes)
        n = len(outer)
        return np.ascontiguousarray(split.transpose(*range(n), n, n + 3, n + 2, n + 4, n + 1))


@dataclass(frozen=True)
class _Widen:
    """One element of K at a time, multiplied in 32 bits: for CPUs without anything better."""

    signed: bool

    group = 1
    step_bytes = 1
    column_bytes = 4
    offset = 0

    def load_b(self, s: Simd, address: Value) -> Sequence[Value]:
        return [s.builder.load(s.pointer(address, s.int_vector), align=4)]

    def load_a(self, s: Simd, address: Value) -> Sequence[Value]:
        byte = s.builder.load(s.pointer(address, I8), align=1)
        return [s.splat_i32((s.builder.sext if self.signed else s.builder.zext)(byte, I32))]

    def accumulate(self, s: Simd, a: Sequence[Value], b: Sequence[Value], accumulator: Value) -> Value:
        return s.builder.add(accumulator, s.builder.mul(a[0], b[0]))

    def pack(self, weights: Array, lanes: int) -> Array:
        return weights.astype(np.int32)


DOTS: dict[str, Callable[[bool], Dot]] = {"vnni": _Vnni, "sdot": _Sdot, "maddwd": _Maddwd, "widen": _Widen}


def dot_for(isa: Isa, data: str) -> Dot:
    """The dot for A of type ``f32``, ``s8`` or ``u8`` (B is float32, or int8) on that ISA."""
    return _Float32() if data == "f32" else DOTS[isa.dot](data == "s8")
