"""The loop function of `minidnn_kernels.extrema`, compiled by Numba."""

from __future__ import annotations

from minidnn_kernels.element_type import FLOAT32
from minidnn_kernels.extrema import EXTREMA_ARGUMENTS
from minidnn_kernels.loop_words import call3, load

__all__ = ["extrema_loop"]

_A = EXTREMA_ARGUMENTS.offsets
_ITEM = FLOAT32.bytes


def extrema_loop(args: int, part: int, parts: int, memory: int) -> None:
    """One part is one chunk, and has its own pair of results."""
    chunk = load(args + _A.chunk)
    count = min(chunk, load(args + _A.count) - part * chunk)
    call3(
        load(args + _A.kernel),
        load(args + _A.source) + part * chunk * _ITEM,
        load(args + _A.target) + part * 2 * _ITEM,
        count,
    )
