"""Copies between any two strided layouts: reorders, transposes, concatenation, slices, padding."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["MAX_DIMENSIONS", "CopyArguments"]

MAX_DIMENSIONS = 6


@dataclass(frozen=True)
class CopyArguments:
    """Positions in the argument row of `copy_loop`; extents in elements, strides in bytes."""

    SOURCE: int = 0
    TARGET: int = 1
    ITEM: int = 2  # bytes of an element
    OUTER: int = 3  # product of all extents but the last two
    SHAPE: int = 4  # MAX_DIMENSIONS extents, the outermost first
    SOURCE_STRIDES: int = 4 + MAX_DIMENSIONS
    TARGET_STRIDES: int = 4 + 2 * MAX_DIMENSIONS
    ROWS_PER_PART: int = 4 + 3 * MAX_DIMENSIONS  # of the second last dimension
    ROW_PARTS: int = 5 + 3 * MAX_DIMENSIONS
    TRANSPOSE: int = 6 + 3 * MAX_DIMENSIONS  # microkernel, if the last two dimensions are swapped in the source; else 0
    LENGTH: int = 7 + 3 * MAX_DIMENSIONS
