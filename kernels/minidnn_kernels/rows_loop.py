"""The loop function of `minidnn_kernels.rows`, compiled by Numba."""

from __future__ import annotations

from minidnn_kernels.element_type import FLOAT32
from minidnn_kernels.loop_words import call5, load
from minidnn_kernels.rows import ROWS_ARGUMENTS

__all__ = ["rows_loop"]

_A = ROWS_ARGUMENTS.offsets
_ITEM = FLOAT32.bytes


def rows_loop(args: int, part: int, parts: int, memory: int) -> None:
    """One part is an equal share of the rows."""
    rows, count = load(args + _A.rows), load(args + _A.count)
    source, target, kernel = load(args + _A.source), load(args + _A.target), load(args + _A.kernel)
    for row in range(rows * part // parts, rows * (part + 1) // parts):
        offset = row * count * _ITEM
        call5(kernel, source + offset, target + offset, count, args + _A.extra, 0)
