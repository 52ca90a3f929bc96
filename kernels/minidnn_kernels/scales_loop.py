"""The loop function of `minidnn_kernels.scales`, compiled by Numba."""

from __future__ import annotations

from minidnn_kernels.element_type import FLOAT32
from minidnn_kernels.loop_words import call4, load
from minidnn_kernels.scales import SCALES_ARGUMENTS

__all__ = ["scales_loop"]

_A = SCALES_ARGUMENTS.offsets
_ITEM = FLOAT32.bytes


def scales_loop(args: int, part: int, parts: int, memory: int) -> None:
    """One part is an equal share of the rows."""
    kernel, extrema, chunks = load(args + _A.kernel), load(args + _A.extrema), load(args + _A.chunks)
    scales, inverses, rows = load(args + _A.scales), load(args + _A.inverses), load(args + _A.rows)
    for row in range(rows * part // parts, rows * (part + 1) // parts):
        call4(kernel, extrema + row * chunks * 2 * _ITEM, scales + row * _ITEM, inverses + row * _ITEM, chunks)
