"""Copies between any two strided layouts: reorders, transposes, concatenation, slices, padding."""

from __future__ import annotations

from minidnn_kernels.arguments import ArgumentRow, Field

__all__ = ["COPY_ARGUMENTS", "MAX_DIMENSIONS"]

MAX_DIMENSIONS = 6


# Of `copy_loop`.
COPY_ARGUMENTS = ArgumentRow(
    Field("source", "its first element"),
    Field("target", "its first element"),
    Field("item", "bytes of an element: 1, 2, 4 or 8"),
    Field("outer", "product of all extents but the last two"),
    Field("shape", "extents, the outermost first", words=MAX_DIMENSIONS),
    Field("source_strides", "bytes, in the same order", words=MAX_DIMENSIONS),
    Field("target_strides", "bytes, in the same order", words=MAX_DIMENSIONS),
    Field("rows_per_part", "of the second last dimension"),
    Field("row_parts", "parts of an index of the outer dimensions"),
    Field("transpose", "microkernel, if the last two dimensions are swapped in the source; else 0"),
)
