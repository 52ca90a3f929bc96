"""The loop function of `minidnn_kernels.copy`, compiled by Numba."""

from __future__ import annotations

from minidnn_kernels.arguments import WORD_BYTES
from minidnn_kernels.copy import COPY_ARGUMENTS, MAX_DIMENSIONS
from minidnn_kernels.loop_words import call5, copy_bytes, copy_item, load

__all__ = ["copy_loop"]

_A = COPY_ARGUMENTS.offsets
_OUTER_DIMENSIONS = MAX_DIMENSIONS - 2
_ROW, _COLUMN = (MAX_DIMENSIONS - 2) * WORD_BYTES, (MAX_DIMENSIONS - 1) * WORD_BYTES


def copy_loop(args: int, part: int, parts: int, memory: int) -> None:
    """One part is some rows (the second last dimension) of one index of the outer dimensions."""
    item, row_parts = load(args + _A.item), load(args + _A.row_parts)
    rest = part // row_parts
    source, target = load(args + _A.source), load(args + _A.target)
    for d in range(_OUTER_DIMENSIONS - 1, -1, -1):
        extent = load(args + _A.shape + d * WORD_BYTES)
        index = rest % extent
        rest = rest // extent
        source += index * load(args + _A.source_strides + d * WORD_BYTES)
        target += index * load(args + _A.target_strides + d * WORD_BYTES)
    first = part % row_parts * load(args + _A.rows_per_part)
    rows = min(load(args + _A.rows_per_part), load(args + _A.shape + _ROW) - first)
    columns = load(args + _A.shape + _COLUMN)
    source_row, target_row = load(args + _A.source_strides + _ROW), load(args + _A.target_strides + _ROW)
    source_column, target_column = load(args + _A.source_strides + _COLUMN), load(args + _A.target_strides + _COLUMN)
    source += first * source_row
    target += first * target_row
    if load(args + _A.transpose) != 0:
        call5(load(args + _A.transpose), source, target, rows, columns, args)
    elif source_column == item and target_column == item:
        for row in range(rows):
            copy_bytes(target + row * target_row, source + row * source_row, columns * item)
    else:
        for row in range(rows):
            for column in range(columns):
                copy_item(
                    target + row * target_row + column * target_column,
                    source + row * source_row + column * source_column,
                    item,
                )
