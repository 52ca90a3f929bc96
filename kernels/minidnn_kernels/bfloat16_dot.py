"""Dots of bfloat16 with float32 sums: by the instructions for it, and by float32 where a CPU has none.

Where A is float32, bfloat16 in B is widened as it is read, exactly: the sums are float32's for these weights. The
instructions take A in bfloat16 too, and sum the products of a group in an order, and with a rounding, of their own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from llvmlite import ir

from minidnn_kernels.isa import Isa
from minidnn_kernels.simd import BF16, F32, I16, LANE_BYTES, Simd, Value
from minidnn_kernels.uniform_dot import Dot, Float32, Mmla, bytes_of_panels, grouped, loose

__all__ = ["Bfdot", "BfloatPairs", "Bfmmla", "Dpbf16", "Float32ByBfloat16"]

Array = np.ndarray[Any, Any]

_BYTES = 2


class Float32ByBfloat16(Float32):
    """Float32 by bfloat16, which become float32 as they are read: half of the bytes where weights come from memory."""

    column_bytes = _BYTES

    def load_b(self, s: Simd, address: Value) -> Sequence[Value]:
        return [s.bfloat16_to_float(s.load_elements(address, I16))]


class BfloatPairs(Dot):
    """Two bfloat16 of A in every 32-bit lane against two of B in each, all in one instruction."""

    group = 2
    step_bytes = LANE_BYTES
    column_bytes = LANE_BYTES
    offset = 0

    def load_b(self, s: Simd, address: Value) -> Sequence[Value]:
        return [s.load_words(address)]

    def load_a(self, s: Simd, address: Value) -> Sequence[Value]:
        return [s.load_splat_i32(address)]

    def accumulate(self, s: Simd, a: Sequence[Value], b: Sequence[Value], accumulator: Value) -> Value:
        pairs = ir.VectorType(BF16, 2 * s.lanes)
        intrinsic = s.intrinsic(self._instruction(s), s.vector, [s.vector, pairs, pairs])
        return s.builder.call(intrinsic, [accumulator, *(s.builder.bitcast(v[0], pairs) for v in (a, b))])

    def _instruction(self, s: Simd) -> str:
        raise NotImplementedError

    def fits(self, isa: Isa, rows: int, vectors: int) -> bool:
        # The sums, B, and one row of A.
        return rows * vectors + vectors + 1 + loose(vectors) <= isa.registers

    def pack(self, weights: Array, lanes: int) -> Array:
        return bytes_of_panels(grouped(weights, self.group))


class Dpbf16(BfloatPairs):
    """``vdpbf16ps`` of AVX512-BF16: the odd elements first, each product added with one rounding, no subnormals."""

    def _instruction(self, s: Simd) -> str:
        return f"llvm.x86.avx512bf16.dpbf16ps.{s.lanes * 32}"


class Bfdot(BfloatPairs):
    """``bfdot`` of AArch64: the two products are summed before they are added."""

    def _instruction(self, s: Simd) -> str:
        return "llvm.aarch64.neon.bfdot.v4f32.v8bf16"


@dataclass(frozen=True)
class Bfmmla(Mmla):
    """``bfmmla`` of AArch64: four bfloat16 of two rows of A by four of two columns of B."""

    signed: bool = True

    group = 4
    by_vectors = "bfdot"

    def accumulate(self, s: Simd, a: Sequence[Value], b: Sequence[Value], accumulator: Value) -> Value:
        sums, eight = ir.VectorType(F32, 4), ir.VectorType(BF16, 8)
        intrinsic = s.intrinsic("llvm.aarch64.neon.bfmmla", sums, [sums, eight, eight])
        return s.builder.call(intrinsic, [accumulator, *(s.builder.bitcast(v[0], eight) for v in (a, b))])
