"""The loop function of `minidnn_kernels.rows`, compiled by Numba."""

from __future__ import annotations

from minidnn_kernels.loop_words import call5, load
from minidnn_kernels.rows import RowArguments

__all__ = ["rows_loop"]

_A = RowArguments()
_KERNEL, _SOURCE, _TARGET, _ROWS = _A.KERNEL * 8, _A.SOURCE * 8, _A.TARGET * 8, _A.ROWS * 8
_COUNT, _EXTRA = _A.COUNT * 8, _A.EXTRA * 8


def rows_loop(args: int, part: int, parts: int, memory: int) -> None:
    """One part is an equal share of the rows."""
    rows, count = load(args + _ROWS), load(args + _COUNT)
    source, target, kernel = load(args + _SOURCE), load(args + _TARGET), load(args + _KERNEL)
    for row in range(rows * part // parts, rows * (part + 1) // parts):
        offset = row * count * 4
        call5(kernel, source + offset, target + offset, count, args + _EXTRA, 0)
