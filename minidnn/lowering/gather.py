"""Elements found by indices: steps of `gather_loop`, and of `offsets_loop` where a network computes the indices."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from minidnn.lowering.copy import lower_copy
from minidnn.lowering.steps import Steps
from minidnn.lowering.tiling import PARTS
from minidnn.lowering.values import Array, Picked, Value, physical_order
from minidnn.ops.registry import TensorType
from minidnn.plan.program import Address, Argument, Cost
from minidnn_kernels.arguments import WORD_BYTES
from minidnn_kernels.elements import element_code
from minidnn_kernels.moves import (
    CHECK,
    GATHER_ARGUMENTS,
    INDICES,
    MAX_DIMENSIONS,
    OFFSETS_ARGUMENTS,
    STATUS_WORDS,
    TABLE,
    WRAP,
)

__all__ = ["Dimension", "Indices", "add_gather", "add_offsets", "add_picks", "broadcast_to", "can_move"]

_PART_BYTES = 32 * 1024
_PART_OFFSETS = 8 * 1024
_OFFSET = np.dtype(np.int64)


def can_move(dtype: np.dtype[Any]) -> bool:
    """Whether loops can copy elements of this type."""
    return dtype.itemsize in (1, 2, 4, 8)


@dataclass(frozen=True)
class Dimension:
    """One of the target: its extent, its stride in the source, and its strides in tables, all in bytes."""

    extent: int
    stride: int
    tables: tuple[int, ...] = ()

    def reaches(self, inner: Dimension) -> bool:
        """Whether it goes on where the dimension inside of it ends."""
        ends = (inner.stride * inner.extent, *(step * inner.extent for step in inner.tables))
        return ends == (self.stride, *self.tables)


def _merged(dimensions: Sequence[Dimension]) -> list[Dimension]:
    merged: list[Dimension] = []
    for dimension in dimensions:
        if dimension.extent == 1:
            continue
        if merged and merged[-1].reaches(dimension):
            outer = merged.pop()
            dimension = Dimension(outer.extent * dimension.extent, dimension.stride, dimension.tables)
        merged.append(dimension)
    return merged


def add_gather(
    steps: Steps,
    name: str,
    source: Address,
    result: Value,
    dimensions: Sequence[Dimension],
    tables: Sequence[Address],
) -> bool:
    """A step that fills `result`, whose dimensions in memory these are, the outermost first; False if it cannot.

    Args:
        steps: gets the step.
        name: of the node.
        source: the element that strides and offsets count from.
        result: what is made.
        dimensions: all with strides in as many tables as there are.
        tables: int64, offsets in bytes.
    """
    item = result.type.dtype.itemsize
    merged = _merged(dimensions)
    run = item
    if merged and merged[-1].stride == item and not any(merged[-1].tables):
        run *= merged.pop().extent
    if len(merged) > MAX_DIMENSIONS:
        return False
    nothing = Dimension(1, 0, (0,) * len(tables))
    merged = [nothing] * (MAX_DIMENSIONS - len(merged)) + merged
    described: list[Argument] = []
    for number, table in enumerate(tables):
        described += TABLE.fill(address=table, strides=[d.tables[number] for d in merged])
    row = GATHER_ARGUMENTS.fill(
        source=source,
        target=result.address,
        run=run,
        shape=[d.extent for d in merged],
        strides=[d.stride for d in merged],
        tables=len(tables),
        table=described,
    )
    rows = math.prod(d.extent for d in merged)
    parts = max(1, min(PARTS, rows, result.nbytes // _PART_BYTES))
    steps.native(name, "gather_loop", row, parts, Cost(0, 2 * result.nbytes), result=result.type)
    return True


def add_picks(steps: Steps, picked: Picked, source: Value, result: Value) -> None:
    """The step that writes elements picked along each dimension of `source`, in its layout."""
    chosen = [d for d, indices in enumerate(picked.indices) if indices is not None]
    tables = [steps.table(np.multiply(picked.indices[d], source.strides[d])) for d in chosen]  # type: ignore[arg-type]
    dimensions = []
    for d in physical_order(len(source.shape), source.layout):
        is_chosen = d in chosen
        table_strides = tuple(WORD_BYTES if d == other else 0 for other in chosen)
        dimensions.append(Dimension(result.shape[d], 0 if is_chosen else source.strides[d], table_strides))
    made = add_gather(steps, picked.name, steps.address(source), result, dimensions, tables)
    assert made, "a value is picked only from as many dimensions as the loop has"


@dataclass(frozen=True)
class Indices:
    """Indices along one axis, and what is done with those outside of it.

    Args:
        value: contiguous, of `count` elements from `offset` bytes on.
        size: of the axis.
        stride: bytes from one index of the axis to the next.
        mode: ``clip``, ``wrap``, or ``check``: negative ones count from the end, and others are an error.
        floors: whether floats are rounded down; else they are cut off.
        offset: in bytes.
    """

    value: Value
    size: int
    stride: int
    mode: str
    floors: bool = False
    offset: int = 0


# The least and the greatest index met, for each array: raises if an error is due.
Refuse = Callable[[Sequence[tuple[int, int]]], None]

_MODES = {"clip": 0, "wrap": WRAP, "check": CHECK}


def add_offsets(
    steps: Steps, name: str, arrays: Sequence[Indices], count: int, refuse: Refuse | None
) -> Address | None:
    """Where elements with these indices lie: int64 [count], in bytes; None if a kernel cannot read the indices.

    `refuse` is told which indices were met, of arrays that are checked.
    """
    codes = [element_code(a.value.type.dtype) for a in arrays]
    if any(code is None for code in codes):
        return None
    target = steps.temporary(count * _OFFSET.itemsize)
    parts = max(1, min(PARTS, count // _PART_OFFSETS))
    status = steps.new(TensorType((parts, len(arrays), STATUS_WORDS), _OFFSET))
    described: list[Argument] = []
    for a, code in zip(arrays, codes, strict=True):
        described += INDICES.fill(
            address=steps.address(a.value) + a.offset,
            code=code,
            size=a.size,
            stride=a.stride,
            mode=_MODES[a.mode],
            floors=int(a.floors),
        )
    row = OFFSETS_ARGUMENTS.fill(
        target=target, count=count, status=status.address, arrays=len(arrays), indices=described
    )
    bytes_read = sum(a.value.nbytes for a in arrays)
    type = TensorType((count,), _OFFSET)
    steps.native(f"{name}_offsets", "offsets_loop", row, parts, Cost(0, bytes_read + type.nbytes), result=type)
    if refuse is not None:
        steps.check(status, lambda words: refuse(_extremes(words)))
    return target


def _extremes(words: Array) -> list[tuple[int, int]]:
    return [(int(words[:, a, 0].min()), int(words[:, a, 1].max())) for a in range(words.shape[1])]


def broadcast_to(steps: Steps, name: str, value: Value, shape: tuple[int, ...]) -> Value:
    """A value in C order with a larger shape: itself, or a copy."""
    if value.shape == shape:
        return value
    missing = len(shape) - len(value.shape)
    strides = [0] * missing + [0 if n == 1 else s for n, s in zip(value.shape, value.strides, strict=True)]
    result = steps.new(TensorType(shape, value.type.dtype))
    lower_copy(steps, name, value, tuple(strides), result.address, result.strides, shape)
    return result
