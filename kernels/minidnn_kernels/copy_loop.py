"""The loop function of `minidnn_kernels.copy`, compiled by Numba."""

from __future__ import annotations

from minidnn_kernels.copy import MAX_DIMENSIONS, CopyArguments
from minidnn_kernels.loop_words import call5, copy_bytes, copy_item, load

__all__ = ["copy_loop"]

_A = CopyArguments()
_SOURCE, _TARGET, _ITEM, _OUTER, _SHAPE = _A.SOURCE * 8, _A.TARGET * 8, _A.ITEM * 8, _A.OUTER * 8, _A.SHAPE * 8
_SOURCE_STRIDES, _TARGET_STRIDES = _A.SOURCE_STRIDES * 8, _A.TARGET_STRIDES * 8
_ROWS_PER_PART, _ROW_PARTS, _TRANSPOSE = _A.ROWS_PER_PART * 8, _A.ROW_PARTS * 8, _A.TRANSPOSE * 8
_OUTER_DIMENSIONS = MAX_DIMENSIONS - 2
_ROW, _COLUMN = (MAX_DIMENSIONS - 2) * 8, (MAX_DIMENSIONS - 1) * 8


def copy_loop(args: int, part: int, parts: int, memory: int) -> None:
    """One part is some rows (the second last dimension) of one index of the outer dimensions."""
    item, row_parts = load(args + _ITEM), load(args + _ROW_PARTS)
    rest = part // row_parts
    source, target = load(args + _SOURCE), load(args + _TARGET)
    for d in range(_OUTER_DIMENSIONS - 1, -1, -1):
        extent = load(args + _SHAPE + d * 8)
        index = rest % extent
        rest = rest // extent
        source += index * load(args + _SOURCE_STRIDES + d * 8)
        target += index * load(args + _TARGET_STRIDES + d * 8)
    first = part % row_parts * load(args + _ROWS_PER_PART)
    rows = min(load(args + _ROWS_PER_PART), load(args + _SHAPE + _ROW) - first)
    columns = load(args + _SHAPE + _COLUMN)
    source_row, target_row = load(args + _SOURCE_STRIDES + _ROW), load(args + _TARGET_STRIDES + _ROW)
    source_column, target_column = load(args + _SOURCE_STRIDES + _COLUMN), load(args + _TARGET_STRIDES + _COLUMN)
    source += first * source_row
    target += first * target_row
    if load(args + _TRANSPOSE) != 0:
        call5(load(args + _TRANSPOSE), source, target, rows, columns, args)
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
