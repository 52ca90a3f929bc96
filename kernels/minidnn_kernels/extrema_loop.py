"""The loop function of `minidnn_kernels.extrema`, compiled by Numba."""

from __future__ import annotations

from minidnn_kernels.element_type import FLOAT32
from minidnn_kernels.extrema import EXTREMA_ARGUMENTS
from minidnn_kernels.loop_words import call3, load

__all__ = ["extrema_loop"]

_A = EXTREMA_ARGUMENTS.offsets
_ITEM = FLOAT32.bytes


def extrema_loop(args: int, part: int, parts: int, memory: int) -> None:
    """One part is an equal share of the chunks of all rows; each chunk has its own pair of results."""
    kernel, source, target = load(args + _A.kernel), load(args + _A.source), load(args + _A.target)
    count, chunk, chunks = load(args + _A.count), load(args + _A.chunk), load(args + _A.chunks)
    total = load(args + _A.rows) * chunks
    for number in range(total * part // parts, total * (part + 1) // parts):
        row, begin = number // chunks, number % chunks * chunk
        call3(
            kernel,
            source + (row * count + begin) * _ITEM,
            target + number * 2 * _ITEM,
            min(chunk, count - begin),
        )
