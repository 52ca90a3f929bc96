"""The loops around the tile: matmul, convolution of any rank, dense layers; and how their operands lie in memory.

C[m, n] = epilogue(sum over taps t and depth d of A[m, t, d] · B[t, d, n]), for each image and each group.
A's row pointers come from a table of pixel indices (`pixel_table` of the caller): int32, laid out
[strip][tap][row], -1 for padding, the same for every image.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from minidnn_kernels.dot import Dot

__all__ = ["MAX_POINTERS", "Arguments", "pack_integer_panels", "pack_panels"]

Array = np.ndarray[Any, Any]

# Row pointers a part keeps on its stack: strips in a block x taps x rows may not be more.
MAX_POINTERS = 8192


@dataclass(frozen=True)
class Arguments:
    """Positions in the argument row, in order. Addresses and pitches are in bytes, counts in elements."""

    TILE: int = 0  # microkernel for whole panels
    TAIL_TILE: int = 1  # microkernel for the last panel of a group, if columns are missing
    SOURCE: int = 2
    ZEROS: int = 3  # a row of `depth` zeros
    IMAGE_PITCH: int = 4  # of A
    PIXEL_PITCH: int = 5
    SOURCE_GROUP: int = 6  # from one group's channels to the next's
    TABLE: int = 7
    TAPS: int = 8
    DEPTH: int = 9
    WEIGHTS: int = 10
    PANEL_PITCH: int = 11
    WEIGHT_GROUP: int = 12  # from one group's panels to the next's
    ROWS: int = 13  # of the tile
    COLUMNS: int = 14  # of a panel
    PIXELS: int = 15  # rows of C per image
    BLOCK_STRIPS: int = 16
    BLOCKS: int = 17  # blocks of strips per image
    GROUPS: int = 18
    GROUP_COLUMNS: int = 19  # columns of C per group
    BLOCK_PANELS: int = 20
    PANEL_BLOCKS: int = 21  # blocks of panels per group
    WEIGHT_IMAGE: int = 22  # from one image's panels to the next's: 0 for weights, not for batched matmul
    CONTEXT: int = 23  # the tile's context begins here


def pack_panels(weights: Array, columns: int) -> Array:
    """Float32 weights [groups, taps, depth, n] to panels [groups, ceil(n / columns), taps, depth, columns].

    Missing columns are zeros.
    """
    return _cut_panels(weights, columns)


def pack_integer_panels(weights: Array, bias: Array, columns: int, dot: Dot, lanes: int) -> tuple[Array, int]:
    """Int8 or int16 weights [groups, taps, depth, n] and int32 bias [groups, n] to panels as the tile reads them.

    A panel is the int32 numbers its sums start from, then the weights in the order of `dot`, depth filled
    up with zeros to whole steps. The bias takes off what the dot's offset adds to the sums.

    Returns:
        uint8 [groups, panels, bytes of a panel], and the steps behind each pointer.
    """
    groups, taps, depth, n = weights.shape
    steps = -(-depth // dot.group)
    filled = np.zeros((groups, taps, steps * dot.group, n), weights.dtype)
    filled[:, :, :depth] = weights
    surplus = dot.offset * weights.astype(np.int64).sum((1, 2))
    # Int32 arithmetic wraps, here as in the kernel: the difference comes out right.
    start = (bias.astype(np.int64) - surplus).astype(np.int32)
    starts = np.ascontiguousarray(_cut_panels(start[:, None, None, :], columns)[:, :, 0, 0])
    packed = dot.pack(_cut_panels(filled, columns), lanes)
    return np.concatenate([starts.view(np.uint8), packed], axis=2), steps


def _cut_panels(weights: Array, columns: int) -> Array:
    groups, taps, depth, n = weights.shape
    panels = -(-n // columns)
    packed = np.zeros((groups, panels, taps, depth, columns), weights.dtype)
    whole = n // columns
    if whole:
        split = weights[..., : whole * columns].reshape(groups, taps, depth, whole, columns)
        packed[:, :whole] = split.transpose(0, 3, 1, 2, 4)
    if whole < panels:
        packed[:, whole, :, :, : n - whole * columns] = weights[..., whole * columns :]
    return packed
