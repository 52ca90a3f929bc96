"""The loop function of `minidnn_kernels.scales`, compiled by Numba."""

from __future__ import annotations

from minidnn_kernels.loop_words import call4, load
from minidnn_kernels.scales import ScalesArguments

__all__ = ["scales_loop"]

_A = ScalesArguments()
_KERNEL, _EXTREMA, _SCALES, _INVERSES = _A.KERNEL * 8, _A.EXTREMA * 8, _A.SCALES * 8, _A.INVERSES * 8
_CHUNKS, _ROWS = _A.CHUNKS * 8, _A.ROWS * 8


def scales_loop(args: int, part: int, parts: int, memory: int) -> None:
    """One part is an equal share of the rows."""
    kernel, extrema, chunks = load(args + _KERNEL), load(args + _EXTREMA), load(args + _CHUNKS)
    scales, inverses, rows = load(args + _SCALES), load(args + _INVERSES), load(args + _ROWS)
    for row in range(rows * part // parts, rows * (part + 1) // parts):
        call4(kernel, extrema + row * chunks * 8, scales + row * 4, inverses + row * 4, chunks)
