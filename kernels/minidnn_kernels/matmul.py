"""The loops around the tile: matmul, convolution of any rank, dense layers; and how their operands lie in memory.

C[m, n] = epilogue(sum over taps t and depth d of A[m, t, d] · B[t, d, n]), for each image and each group.
A's row pointers come from a table of pixel indices (`pixel_table` of the caller): int32, laid out
[strip][tap][row], -1 for padding, the same for every image.
"""

from __future__ import annotations

import contextlib
import math
import mmap
from typing import Any

import numpy as np

from minidnn_kernels.arguments import ArgumentRow, Field
from minidnn_kernels.dot import Dot

__all__ = [
    "MATMUL_ARGUMENTS",
    "MAX_POINTERS",
    "new_panels",
    "pack_for_dot",
    "pack_integer_panels",
    "pack_panels",
]

Array = np.ndarray[Any, Any]

# Row pointers a part keeps on its stack: strips in a block x taps x rows may not be more.
MAX_POINTERS = 8192


# Of `matmul_loop`.
MATMUL_ARGUMENTS = ArgumentRow(
    Field("tile", "microkernel for whole panels"),
    Field("remainder_tile", "microkernel for the last panel of a group, if columns are missing"),
    Field("source", "A"),
    Field("zeros", "a row of as many zeros as A has behind a pointer"),
    Field("image_pitch", "from one image of A to the next"),
    Field("pixel_pitch", "from one pixel of A to the next"),
    Field("source_group", "bytes from one group's channels of A to the next's"),
    Field("table", "int32 [strips][taps][rows]: input pixels, -1 for padding"),
    Field("taps", "row pointers of an output pixel"),
    Field("depth", "steps behind each pointer"),
    Field("weights", "panels of B"),
    Field("panel_pitch", "from the panels of one tile to the next's"),
    Field("weight_group", "bytes from one group's panels to the next's"),
    Field("rows", "of the tile"),
    Field("columns", "of a tile"),
    Field("pixels", "rows of C per image"),
    Field("block_strips", "strips in a block"),
    Field("blocks", "blocks of strips per image"),
    Field("groups", "how many"),
    Field("group_columns", "columns of C per group"),
    Field("block_panels", "tiles in a block, along the columns"),
    Field("panel_blocks", "blocks of tiles per group"),
    Field("weight_image", "bytes from one image's panels to the next's: 0 for weights, not for batched matmul"),
    Field("context", "the tile's, as `store.CONTEXT` has it", words=None),
)


# Panels of so many bytes have memory of their own, and are asked for in huge pages, as NumPy does: fewer page faults,
# and fewer misses of the TLB.
_OWN_BYTES, _HUGE_BYTES = 1 << 20, 1 << 21


def new_panels(shape: tuple[int, int, int, int], columns: int, together: int, dtype: np.dtype[Any]) -> Array:
    """Zeros for panels [groups, panels, taps, depth, columns] of weights [groups, taps, depth, n].

    There are ceil(n / columns) panels, rounded up to as many as a tile reads `together`.

    Panels stay when all is gone that they were made of. So large ones do not lie between that, where they would keep
    the C library from giving it back to the system.
    """
    groups, taps, depth, n = shape
    panels = -(-n // (columns * together)) * together
    whole = (groups, panels, taps, depth, columns)
    size = math.prod(whole) * dtype.itemsize
    if size >= _OWN_BYTES and hasattr(mmap, "MAP_ANONYMOUS"):
        with contextlib.suppress(OSError):
            # Of this process alone: what a mapping is by default, a child would share.
            memory = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
            if size >= _HUGE_BYTES and hasattr(mmap, "MADV_HUGEPAGE"):
                with contextlib.suppress(OSError):  # a system without them
                    memory.madvise(mmap.MADV_HUGEPAGE)
            return np.frombuffer(memory, dtype).reshape(whole)
    return np.zeros(whole, dtype)


def pack_panels(weights: Array, columns: int, together: int = 1) -> Array:
    """Weights [groups, taps, depth, n] to `new_panels`."""
    groups, taps, depth, n = weights.shape
    panels = new_panels(weights.shape, columns, together, weights.dtype)
    whole = n // columns
    if whole:
        split = weights[..., : whole * columns].reshape(groups, taps, depth, whole, columns)
        panels[:, :whole] = split.transpose(0, 3, 1, 2, 4)
    if whole * columns < n:
        panels[:, whole, :, :, : n - whole * columns] = weights[..., whole * columns :]
    return panels


def pack_for_dot(weights: Array, start: Array | None, columns: int, dot: Dot, lanes: int, together: int = 1) -> Array:
    """Weights [groups, taps, depth, n] to panels as the tile reads them, uint8 [groups, panels, bytes of a panel].

    A panel of integers is the int32 numbers its sums start from, [groups, n], then the weights in the order of `dot`,
    depth filled up with zeros to whole steps. What the dot's offset adds to the sums is taken off the start. A panel of
    float32 has no `start`: its sums start from zero. The number of panels is that of `new_panels`.
    """
    groups, taps, depth, n = weights.shape
    steps = -(-depth // dot.group)
    if depth < steps * dot.group:
        filled = np.zeros((groups, taps, steps * dot.group, n), weights.dtype)
        filled[:, :, :depth] = weights
    else:
        filled = weights
    packed = dot.pack(pack_panels(filled, columns, together), lanes)
    if start is None:
        return packed
    surplus = dot.offset * weights.astype(np.int64).sum((1, 2))
    # Int32 arithmetic wraps, here as in the kernel: the difference comes out right.
    corrected = (start.astype(np.int64) - surplus).astype(np.int32)
    starts = np.ascontiguousarray(pack_panels(corrected[:, None, None, :], columns, together)[:, :, 0, 0])
    return np.concatenate([starts.view(np.uint8), packed], axis=2)


def pack_integer_panels(
    weights: Array, bias: Array, columns: int, dot: Dot, lanes: int, together: int = 1
) -> tuple[Array, int]:
    """`pack_for_dot`, and the steps behind each pointer."""
    return pack_for_dot(weights, bias, columns, dot, lanes, together), -(-weights.shape[2] // dot.group)
