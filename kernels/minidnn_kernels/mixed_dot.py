"""The exact int8 dot of AVX2 and AVX-512 without VNNI: two kinds of steps, in an order made at packing time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from llvmlite import ir

from minidnn_kernels.isa import Isa
from minidnn_kernels.simd import I32, Simd, Value, const
from minidnn_kernels.uniform_dot import Maddwd, grouped, int16_pairs, loose, multiply_pairs

__all__ = ["MixedDot"]

Array = np.ndarray[Any, Any]

_MOST_ROWS = 11


@dataclass(frozen=True)
class MixedDot:
    """Mostly ``vpmaddubsw``, which is as fast as AVX2 gets, but saturates: only where it cannot.

    With A in 0..255, a pair of weights is safe if its positive parts sum to at most 128, and its negative
    parts too: 255 * 128 < 2^15. Steps (groups of four along K) that are safe for all columns of a panel come
    first, the others after them go the way of `Maddwd`. So the order of K is each panel's own, and stands
    before its weights:

        for each tap:  int64 safe steps, int64 other steps; int32 offset of each step in A's row, in their
                       order, filled up to 64 bytes; the safe steps' weights [vectors][lanes][4] int8;
                       the others' [vectors][even or odd][lanes][2] int16
    """

    signed: bool

    group = 4
    step_bytes = 4
    _wide = 2

    @property
    def offset(self) -> int:
        return 128 if self.signed else 0

    @staticmethod
    def is_safe(weights: Array) -> Array:
        """Whether each group [..., columns, 4] cannot saturate, for any A in 0..255: bool [...]."""
        wide = weights.astype(np.int16)
        pairs = wide.reshape(*wide.shape[:-1], 2, 2)
        high = np.maximum(pairs, 0).sum(-1).max((-1, -2))
        low = np.minimum(pairs, 0).sum(-1).min((-1, -2))
        return np.asarray((high <= 128) & (low >= -128))

    @staticmethod
    def header_bytes(steps: int) -> int:
        """Bytes before a tap's weights."""
        return -(-(16 + 4 * steps) // 64) * 64

    def fits(self, isa: Isa, rows: int, vectors: int) -> bool:
        # Of the fast steps: the sums, B, one row of A, a product, and the sign bits where they are flipped. The
        # steps' order takes integer registers; from a dozen rows on, their pointers push vectors to the stack.
        needed = rows * vectors + vectors + 2 + self.signed + loose(vectors)
        return needed <= isa.registers and rows <= _MOST_ROWS

    def pack(self, weights: Array, lanes: int) -> Array:
        groups, panels, taps = weights.shape[:3]
        narrow, wide = grouped(weights, self.group), int16_pairs(weights, lanes)
        safe = self.is_safe(narrow)
        packed = [
            b"".join(self._tap(narrow[g, p, t], wide[g, p, t], safe[g, p, t]) for t in range(taps))
            for g in range(groups)
            for p in range(panels)
        ]
        # All panels as long as the longest, so that they lie at equal distances.
        longest = max(map(len, packed))
        memory = np.zeros((groups * panels, longest), np.uint8)
        for row, content in zip(memory, packed, strict=True):
            row[: len(content)] = np.frombuffer(content, np.uint8)
        return memory.reshape(groups, panels, longest)

    def _tap(self, narrow: Array, wide: Array, safe: Array) -> bytes:
        order = np.concatenate([np.flatnonzero(safe), np.flatnonzero(~safe)])
        count = int(safe.sum())
        header = np.array([count, len(safe) - count], np.int64).tobytes() + (order * 4).astype(np.int32).tobytes()
        return header.ljust(self.header_bytes(len(safe)), b"\0") + narrow[safe].tobytes() + wide[~safe].tobytes()

    def add_tap(
        self, s: Simd, panel: Value, steps: Value, row_pointers: Sequence[Value], sums: Sequence[Value]
    ) -> tuple[Value, list[Value]]:
        """Where the next tap's part of the panel begins, and the sums with this tap's products."""
        vectors = len(sums) // len(row_pointers)
        width = vectors * s.lanes * 4
        safe, others = s.load_i64(panel), s.load_i64(s.add(panel, const(8)))
        order = s.add(panel, const(16))
        filled = s.add(s.mul(steps, const(4)), const(16 + 63))
        weights = s.add(panel, s.builder.and_(filled, const(-64)))
        ones = ir.Constant(s.short_vector, [1] * (s.lanes * 2))

        with s.loop(const(0), safe, 1, sums) as k:
            place = s.add(weights, s.mul(k.index, const(width)))
            b = [
                s.builder.load(s.pointer(s.add(place, const(j * s.lanes * 4)), s.int_vector), align=1)
                for j in range(vectors)
            ]
            offset = s.load_i32(s.add(order, s.mul(k.index, const(4))))
            k.next = []
            for i, pointer in enumerate(row_pointers):
                a = self._load_a(s, s.add(pointer, offset))
                for j in range(vectors):
                    products = _multiply_bytes(s, a, b[j])
                    total = multiply_pairs(s, products, ones)
                    k.next.append(s.builder.add(k.values[i * vectors + j], total))
        order = s.add(order, s.mul(safe, const(4)))
        weights = s.add(weights, s.mul(safe, const(width)))

        slow = Maddwd(False)
        with s.loop(const(0), others, 1, k.results) as rest:
            place = s.add(weights, s.mul(rest.index, const(width * self._wide)))
            pairs = [slow.load_b(s, s.add(place, const(j * s.lanes * 4 * self._wide))) for j in range(vectors)]
            offset = s.load_i32(s.add(order, s.mul(rest.index, const(4))))
            rest.next = []
            for i, pointer in enumerate(row_pointers):
                halves = slow.halves(s, self._load_a(s, s.add(pointer, offset)))
                for j in range(vectors):
                    rest.next.append(slow.accumulate(s, halves, pairs[j], rest.values[i * vectors + j]))
        return s.add(weights, s.mul(others, const(width * self._wide))), rest.results

    def _load_a(self, s: Simd, address: Value) -> Value:
        lanes = s.splat_i32(s.builder.load(s.pointer(address, I32), align=1))
        return s.builder.xor(lanes, s.splat_int(0x80808080)) if self.signed else lanes


def _multiply_bytes(s: Simd, a: Value, b: Value) -> Value:
    """``vpmaddubsw``: unsigned a times signed b, neighbours summed into int16."""
    byte_vector, pairs = s.byte_vector, s.short_vector
    name = {8: "llvm.x86.avx2.pmadd.ub.sw", 16: "llvm.x86.avx512.pmaddubs.w.512"}[s.lanes]
    intrinsic = s.intrinsic(name, pairs, [byte_vector, byte_vector])
    return s.builder.call(intrinsic, [s.builder.bitcast(a, byte_vector), s.builder.bitcast(b, byte_vector)])
