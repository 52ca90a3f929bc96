"""The loop function of `minidnn_kernels.extrema`, compiled by Numba."""

from __future__ import annotations

from minidnn_kernels.extrema import ExtremaArguments
from minidnn_kernels.loop_words import call3, load

__all__ = ["extrema_loop"]

_A = ExtremaArguments()
_KERNEL, _SOURCE, _TARGET, _COUNT = _A.KERNEL * 8, _A.SOURCE * 8, _A.TARGET * 8, _A.COUNT * 8
_CHUNK, _CHUNKS, _ROWS = _A.CHUNK * 8, _A.CHUNKS * 8, _A.ROWS * 8


def extrema_loop(args: int, part: int, parts: int, memory: int) -> None:
    """One part is an equal share of the chunks of all rows; each chunk has its own pair of results."""
    kernel, source, target = load(args + _KERNEL), load(args + _SOURCE), load(args + _TARGET)
    count, chunk, chunks = load(args + _COUNT), load(args + _CHUNK), load(args + _CHUNKS)
    total = load(args + _ROWS) * chunks
    for number in range(total * part // parts, total * (part + 1) // parts):
        row, begin = number // chunks, number % chunks * chunk
        call3(kernel, source + (row * count + begin) * 4, target + number * 8, min(chunk, count - begin))
