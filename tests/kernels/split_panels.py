"""The panels of `SplitDot` read as the instructions read them."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
from tile_problem import Array

__all__ = ["SplitPanel", "is_safe", "read_panel"]

_REACH = 16


@dataclass(frozen=True)
class SplitPanel:
    """What a panel says: two parts of the weights [taps, depth, columns], and how many entries the rest has.

    `left` are the bytes behind it.
    """

    base: Array
    rest: Array
    entries: int
    left: bytes


def read_panel(panel: bytes, taps: int, steps: int, vectors: int, lanes: int, row_bytes: int) -> SplitPanel:
    """A panel without its first sums; every byte that it makes a row read is asserted to lie in `row_bytes`."""
    depth, columns = steps * 8, vectors * lanes
    size = taps * depth * columns
    words = np.frombuffer(panel, np.int8, size).reshape(taps, steps, vectors, 2, lanes, 4)
    base = np.zeros((taps, depth, columns), np.int64)
    for step, vector, half, lane, byte in itertools.product(*map(range, (steps, vectors, 2, lanes, 4))):
        base[:, 8 * step + 4 * half + byte, vector * lanes + lane] = words[:, step, vector, half, lane, byte]
    # A shuffle may reach beyond the depth: there it must meet weights of zero.
    rest = np.zeros((taps, row_bytes, columns), np.int64)
    total, position = 0, size
    for tap in range(taps):
        size_of_tap, *counts = np.frombuffer(panel, np.int32, 1 + vectors, position)
        assert size_of_tap % 64 == 0
        count = sum(counts)
        offsets = np.frombuffer(panel, np.int32, count, position + 4 * (1 + vectors))
        begin = position + -(-4 * (1 + vectors + count) // 64) * 64
        entries = np.frombuffer(panel, np.uint8, count * lanes * 8, begin).reshape(count, 2, lanes * 4)
        for (order, numbers), offset, vector in zip(
            entries, offsets, np.repeat(np.arange(vectors), counts), strict=True
        ):
            assert 0 <= offset <= row_bytes - _REACH, "a shuffle reads beyond its row"
            weights = np.frombuffer(numbers.tobytes(), np.int16).reshape(lanes, 2)
            for lane, half in itertools.product(range(lanes), range(2)):
                low, high = order.reshape(lanes, 2, 2)[lane, half]
                assert high & 0x80, "elements of A are unsigned bytes"
                if not low & 0x80:
                    rest[tap, offset + low % _REACH, vector * lanes + lane] += weights[lane, half]
        total, position = total + count, position + int(size_of_tap)
        assert position == begin + entries.size, "the next tap's rest follows"
    assert not rest[:, depth:].any()
    return SplitPanel(base, rest[:, :depth], total, panel[position:])


def is_safe(base: Array) -> bool:
    """Whether for no A in 0..255 a pair of products, or the two pairs that are added, leave int16."""
    taps, depth, columns = base.shape
    steps = base.reshape(taps, depth // 8, 8, columns)
    # Sums are linear in A, so its ends are enough.
    ends = np.array(list(itertools.product((0, 255), repeat=4)))
    for p in (0, 2):
        four = steps[:, :, [p, p + 1, p + 4, p + 5]]
        for chosen in ((0, 1), (2, 3), (0, 1, 2, 3)):
            sums = ends[:, chosen] @ four[:, :, chosen]
            if sums.min() < -(2**15) or sums.max() >= 2**15:
                return False
    return True
