"""The exact int8 dot of AVX2 and AVX-512 without VNNI: weights split in a part that cannot saturate and a rest."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from llvmlite import ir

from minidnn_kernels.isa import Isa
from minidnn_kernels.simd import I8, I32, LANE_BYTES, Simd, Value, const
from minidnn_kernels.uniform_dot import Dot, multiply_bytes, multiply_pairs

__all__ = ["PSHUFB_ZERO", "SplitDot", "shuffle_bytes"]

Array = np.ndarray[Any, Any]

# Elements of K from which one entry of the rest takes its numbers: a shuffle reaches 16 bytes.
_CHUNK = 16
_MOST_ROWS = 10
# Other dots are as fast where a chunk has that many entries in the rest: by measurement, for A unsigned and signed.
_ENTRIES = {("maddwd", False): 2.4, ("maddwd", True): 1.6, ("signed", True): 0.5}
# Columns that stand for all when they are counted.
_SAMPLE = 64
# What ``vpshufb`` makes zero of, in an entry's shuffle.
PSHUFB_ZERO = 0x80
# Of the int32 numbers in a tap's header.
_COUNT_BYTES = np.dtype(np.int32).itemsize
# Of each tap's header and entries: a cache line.
_ALIGNMENT = 64


@dataclass(frozen=True)
class SplitDot(Dot):
    """``vpmaddubsw`` is as fast as AVX2 gets, but sums products in 16 bits: weights are kept small enough for it.

    A step takes eight elements of K: two ``vpmaddubsw`` whose int16 sums are added before ``vpmaddwd`` widens
    them, so that four products meet in 16 bits. With A in 0..255 they fit if the positive weights among the four sum
    to at most 128, and the negative ones too: 255 * 128 < 2^15. Where they do not, the largest are taken out and
    go into the rest: entries of two int16 weights for each column, with a shuffle that fetches their two elements of
    A from among 16. How many there are depends on the weights; each panel has its own:

        the steps' weights        [taps][steps][vectors][2][lanes][4] int8
        for each tap, 64-aligned: int32 bytes to the next tap, int32 entries of each vector; int32 offset of each
                                  entry in A's row, filled up to 64 bytes
        its entries               [entries, vector by vector]([lanes][4] uint8 shuffle, [lanes][2] int16 weights)
    """

    signed: bool

    group = 8
    step_bytes = 2 * LANE_BYTES
    column_bytes = 2 * LANE_BYTES

    @property
    def offset(self) -> int:
        return 128 if self.signed else 0

    def row_bytes(self, steps: int) -> int:
        return max(steps * self.step_bytes, _CHUNK)

    def fits(self, isa: Isa, rows: int, vectors: int) -> bool:
        # Of the steps: the sums, B, two of A, a product, ones, and the sign bits where they are flipped. From
        # a dozen rows on, their pointers push vectors to the stack. Of 32 registers, LLVM leaves one unused in
        # wide tiles.
        unused = vectors > 2 and isa.registers > 16
        return rows * vectors + 2 * vectors + 4 + self.signed + unused <= isa.registers and rows <= _MOST_ROWS

    # --- packing ----------------------------------------------------------------------------

    def pays(self, weights: Array, lanes: int, other: str) -> bool:
        """Whether int8 weights [groups, taps, depth, columns] leave a rest so small that the `other` dot is slower."""
        groups, taps, depth, columns = weights.shape
        room = ((0, 0), (0, 0), (0, -depth % _CHUNK), (0, -min(columns, _SAMPLE) % lanes))
        wide = np.pad(weights[..., :_SAMPLE].astype(np.int16), room)
        moved = (wide != _keep_small(wide)).reshape(groups, taps, -1, _CHUNK, wide.shape[3] // lanes, lanes)
        entries = -(-moved.sum(3) // 2)
        return bool(entries.max(-1).mean() < _ENTRIES[other, self.signed])

    def pack(self, weights: Array, lanes: int) -> Array:
        groups, panels, taps, depth, columns = weights.shape
        vectors, steps = columns // lanes, depth // self.group
        wide = weights.reshape(groups * panels, taps, depth, columns).astype(np.int16)
        kept = _keep_small(wide)
        base = kept.astype(np.int8).reshape(-1, taps, steps, 2, 4, vectors, lanes).transpose(0, 1, 2, 5, 3, 6, 4)
        begin = np.ascontiguousarray(base).reshape(len(wide), -1).view(np.uint8)
        rest = [b"".join(_pack_rest(tap, lanes) for tap in panel) for panel in wide - kept]
        # All panels as long as the longest, so that they lie at equal distances.
        memory = np.zeros((len(wide), begin.shape[1] + max(map(len, rest))), np.uint8)
        memory[:, : begin.shape[1]] = begin
        for row, content in zip(memory, rest, strict=True):
            row[begin.shape[1] : begin.shape[1] + len(content)] = np.frombuffer(content, np.uint8)
        return memory.reshape(groups, panels, -1)

    # --- code -------------------------------------------------------------------------------

    def load_b(self, s: Simd, address: Value) -> Sequence[Value]:
        return [s.load_words(s.add(address, const(half * s.vector_bytes))) for half in range(2)]

    def load_a(self, s: Simd, address: Value) -> Sequence[Value]:
        words = [s.load_splat_i32(s.add(address, const(half * LANE_BYTES))) for half in range(2)]
        return [s.flip_signs(word) for word in words] if self.signed else words

    def accumulate(self, s: Simd, a: Sequence[Value], b: Sequence[Value], accumulator: Value) -> Value:
        ones = ir.Constant(s.short_vector, [1] * (s.lanes * 2))
        products = [multiply_bytes(s, x, y) for x, y in zip(a, b, strict=True)]
        return s.builder.add(accumulator, multiply_pairs(s, s.builder.add(*products), ones))

    def add_rest(self, s: Simd, rest: Value, row_pointers: Sequence[Value], sums: Sequence[Value]) -> list[Value]:
        """Where the next tap's rest begins, then the sums with this tap's rest."""
        vectors = len(sums) // len(row_pointers)
        header = _COUNT_BYTES * (1 + vectors)
        counts = [s.load_i32(s.add(rest, const(_COUNT_BYTES * (1 + j)))) for j in range(vectors)]
        offsets = s.add(rest, const(header))
        filled = s.add(s.mul(s.add(*counts), const(_COUNT_BYTES)), const(header + _ALIGNMENT - 1))
        entries = s.add(rest, s.builder.and_(filled, const(-_ALIGNMENT)))
        sums = list(sums)
        for j, count in enumerate(counts):
            with s.loop(const(0), count, 1, sums[j::vectors]) as loop:
                entry = s.add(entries, s.mul(loop.index, const(2 * s.vector_bytes)))
                shuffle, weights = s.load_words(entry), s.load_words(s.add(entry, const(s.vector_bytes)))
                offset = s.load_i32(s.add(offsets, s.mul(loop.index, const(_COUNT_BYTES))))
                loop.next = []
                for pointer, total in zip(row_pointers, loop.values, strict=True):
                    pairs = shuffle_bytes(s, self._load_chunk(s, s.add(pointer, offset)), shuffle)
                    loop.next.append(s.builder.add(total, multiply_pairs(s, pairs, weights)))
            sums[j::vectors] = loop.results
            entries = s.add(entries, s.mul(count, const(2 * s.vector_bytes)))
            offsets = s.add(offsets, s.mul(count, const(_COUNT_BYTES)))
        return [s.add(rest, s.load_i32(rest)), *sums]

    def _load_chunk(self, s: Simd, address: Value) -> Value:
        """16 bytes of A, as often as a vector has room for them."""
        sixteen = ir.VectorType(I8, _CHUNK)
        chunk = s.builder.load(s.pointer(address, sixteen), align=1)
        order = ir.Constant(ir.VectorType(I32, s.vector_bytes), [i % _CHUNK for i in range(s.vector_bytes)])
        words = s.builder.bitcast(s.builder.shuffle_vector(chunk, chunk, order), s.int_vector)
        return s.flip_signs(words) if self.signed else words


def _keep_small(weights: Array) -> Array:
    """The part of int16 weights [..., depth, columns] that cannot saturate: some are zero instead.

    The four that are summed in 16 bits are elements 2 p, 2 p + 1, 2 p + 4 and 2 p + 5 of a step.
    """
    *outer, depth, columns = weights.shape
    # A copy, of the shape [..., steps, word, pair, half, columns].
    kept = weights.reshape(*outer, depth // 8, 2, 2, 2, columns).copy()
    for sign in (1, -1):
        # Of at most four weights of at most 128, one is left after three are gone.
        for _ in range(3):
            there = np.maximum(sign * kept, 0)
            excess = there.sum((-4, -2), keepdims=True) > 128
            if not excess.any():
                break
            kept[excess & (there == there.max((-4, -2), keepdims=True))] = 0
    return kept.reshape(weights.shape)


def _pack_rest(weights: Array, lanes: int) -> bytes:
    """The entries of a tap's weights [depth, columns], most of which are zero, with their header."""
    depth, columns = weights.shape
    vectors = columns // lanes
    k, column = np.nonzero(weights)
    # The last chunk ends with the row, unless that is shorter.
    chunk = k // _CHUNK
    start = np.minimum(np.arange(-(-depth // _CHUNK)) * _CHUNK, max(depth - _CHUNK, 0))
    # How many of its chunk came before, in the same column: `nonzero` gives them in order of k.
    position = np.zeros(k.size, np.int64)
    place = chunk * columns + column
    order = np.argsort(place, kind="stable")
    ordered = place[order]
    position[order] = np.arange(k.size) - np.searchsorted(ordered, ordered)
    # Entries of each vector, chunk by chunk: as many as its busiest column needs.
    needed = np.zeros((vectors, len(start)), np.int64)
    np.maximum.at(needed, (column // lanes, chunk), position // 2 + 1)
    first = (np.cumsum(needed) - needed.reshape(-1)).reshape(needed.shape)
    entry = first[column // lanes, chunk] + position // 2
    total = int(needed.sum())
    entries = np.zeros((total, 2, lanes * LANE_BYTES), np.uint8)
    shuffles, numbers = entries[:, 0].reshape(total, lanes, 2, 2), entries[:, 1].view(np.int16)
    shuffles[:] = PSHUFB_ZERO
    shuffles[entry, column % lanes, position % 2, 0] = k - start[chunk]
    numbers[entry, column % lanes * 2 + position % 2] = weights[k, column]
    counts: bytes = needed.sum(1).astype(np.int32).tobytes()
    offsets = np.repeat(np.tile(start, vectors), needed.reshape(-1)).astype(np.int32).tobytes()
    filled = -(-(_COUNT_BYTES + len(counts) + len(offsets)) // _ALIGNMENT) * _ALIGNMENT
    header: bytes = np.int32(filled + entries.size).tobytes() + counts + offsets
    return header.ljust(filled, b"\0") + entries.tobytes()


def shuffle_bytes(s: Simd, a: Value, order: Value) -> Value:
    """``vpshufb``: in each 16 bytes of a, those that `order` says; zero where it says 0x80."""
    name = {8: "llvm.x86.avx2.pshuf.b", 16: "llvm.x86.avx512.pshuf.b.512"}[s.lanes]
    intrinsic = s.intrinsic(name, s.byte_vector, [s.byte_vector, s.byte_vector])
    return s.builder.call(intrinsic, [s.builder.bitcast(a, s.byte_vector), s.builder.bitcast(order, s.byte_vector)])
