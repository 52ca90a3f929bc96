"""Moving data: one strided copy serves reorders, transposes, concatenation, slices and padding."""

from __future__ import annotations

import math
from collections.abc import Sequence

from minidnn.lowering.steps import Steps
from minidnn.lowering.tiling import PARTS
from minidnn.lowering.values import Value
from minidnn.ops.registry import TensorType
from minidnn.plan.program import Address, Cost, Kernel
from minidnn_kernels.copy import COPY_ARGUMENTS, MAX_DIMENSIONS, MOST_INTERLEAVED, InterleaveSpec, TransposeSpec
from minidnn_kernels.simd import LANE_BYTES

__all__ = ["lower_copy", "transposed"]

_PART_BYTES = 64 * 1024


def lower_copy(
    builder: Steps,
    name: str,
    value: Value,
    source_strides: tuple[int, ...],
    target: Address,
    target_strides: tuple[int, ...],
    shape: tuple[int, ...],
    source_offset: int = 0,
) -> None:
    """A step that copies `shape` elements from `value` (from `source_offset` bytes on) to `target`.

    Nothing is copied where there is nothing. Where more dimensions are left after merging than the kernel has,
    there is a step for each index of the shortest ones.
    """
    if 0 in shape:
        return
    item = value.type.dtype.itemsize
    dims = [(n, s, t) for n, s, t in zip(shape, source_strides, target_strides, strict=True) if n != 1]
    # In the order of the target's memory, merged where both sides are contiguous.
    dims.sort(key=lambda d: -abs(d[2]))
    merged: list[tuple[int, int, int]] = []
    for n, s, t in dims:
        if merged and merged[-1][1] == s * n and merged[-1][2] == t * n:
            merged[-1] = (merged[-1][0] * n, s, t)
        else:
            merged.append((n, s, t))
    if not merged:
        merged = [(1, item, item)]
    if len(merged) > MAX_DIMENSIONS:
        count, source_step, target_step = merged.pop(merged.index(min(merged)))
        rest, source_strides, target_strides = zip(*merged, strict=True)
        for i in range(count):
            begin = source_offset + i * source_step
            lower_copy(builder, name, value, source_strides, target + i * target_step, target_strides, rest, begin)
        return
    if len(merged) > 1 and merged[-1][1] != item:
        # Rows are the dimension along which the source is contiguous: then blocks are transposed in registers.
        position = next((i for i, d in enumerate(merged[:-1]) if d[1] == item), None)
        if position is not None:
            merged.insert(len(merged) - 2, merged.pop(position))
    elif len(merged) == 1 and merged[0][1] == item and merged[0][2] == item:
        merged = _split(merged[0], item)
    merged = [(1, 0, 0)] * (MAX_DIMENSIONS - len(merged)) + merged
    extents = [d[0] for d in merged]
    rows, columns = merged[-2], merged[-1]
    kernel = _kernel(rows, columns, item)
    outer = math.prod(extents[:-2])
    nbytes = math.prod(extents) * item
    wanted = max(1, min(PARTS, nbytes // _PART_BYTES) // outer)
    rows_per_part = -(-rows[0] // min(wanted, rows[0]))
    if kernel is not None:
        rows_per_part = min(rows[0], -(-rows_per_part // 16) * 16)
    row_parts = -(-rows[0] // rows_per_part)
    row = COPY_ARGUMENTS.fill(
        source=builder.address(value) + source_offset,
        target=target,
        item=item,
        outer=outer,
        shape=extents,
        source_strides=[d[1] for d in merged],
        target_strides=[d[2] for d in merged],
        rows_per_part=rows_per_part,
        row_parts=row_parts,
        kernel=0 if kernel is None else kernel,
    )
    result = TensorType(tuple(shape), value.type.dtype)
    builder.native(name, "copy_loop", row, outer * row_parts, Cost(0, 2 * nbytes), result=result)


def transposed(builder: Steps, value: Value, order: Sequence[int]) -> Value:
    """A value in C order with its dimensions in another one."""
    if list(order) == sorted(order):
        return value
    result = builder.new(TensorType(tuple(value.shape[d] for d in order), value.type.dtype))
    strides = tuple(value.strides[d] for d in order)
    lower_copy(builder, "reorder", value, strides, result.address, result.strides, result.shape)
    return result


def _kernel(rows: tuple[int, int, int], columns: tuple[int, int, int], item: int) -> Kernel | None:
    """What swaps two dimensions, each an extent and strides of source and target; None where they are not swapped."""
    swapped = rows[1] == item and columns[2] == item and columns[1] != item and rows[0] > 1
    if swapped and 1 < columns[0] <= MOST_INTERLEAVED and rows[2] == columns[0] * item:
        return Kernel(InterleaveSpec(columns[0], item))
    return Kernel(TransposeSpec()) if swapped and item == LANE_BYTES else None


def _split(dimension: tuple[int, int, int], item: int) -> list[tuple[int, int, int]]:
    """One contiguous run as rows and columns, so that threads can share it."""
    n = dimension[0]
    for rows in (64, 32, 16, 8, 4, 2):
        if n % rows == 0 and n // rows >= 256:
            columns = n // rows
            return [(rows, columns * item, columns * item), (columns, item, item)]
    return [(1, 0, 0), dimension]
