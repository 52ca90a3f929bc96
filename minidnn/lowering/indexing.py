"""Operators that read or write elements at positions that a network computes: take, embedding, gathers, scatters.

An index beyond its axis never leads out of the data: it is clipped or wrapped where the operator says so, and otherwise
the run raises what the operator's reference raises.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from minidnn.errors import OpError
from minidnn.ir.graph import Node
from minidnn.lowering.builder import Builder
from minidnn.lowering.copy import lower_copy
from minidnn.lowering.gather import Dimension, Indices, add_gather, add_offsets, broadcast_to, can_move
from minidnn.lowering.tiling import PARTS
from minidnn.lowering.values import PLAIN, Value
from minidnn.ops.registry import TensorType
from minidnn.plan.program import Cost
from minidnn_kernels.arguments import WORD_BYTES
from minidnn_kernels.elements import element_code
from minidnn_kernels.moves import REDUCTIONS, SCATTER_ARGUMENTS

__all__ = [
    "lower_embedding",
    "lower_gather_nd",
    "lower_index",
    "lower_index_write",
    "lower_pick",
    "lower_scatter_elements",
    "lower_scatter_points",
    "lower_take",
    "lower_take_along_axis",
]

_PART_BYTES = 64 * 1024

# An error for indices `found` along an axis of a size.
_Error = Callable[[int, int, str], Exception]


def _out_of_bounds(axis: int, size: int, found: str) -> Exception:
    return IndexError(f"indices {found} are out of bounds for axis {axis} with size {size}")


def _must_lie(what: str) -> _Error:
    return lambda axis, size, found: OpError(what.format(axis=axis, low=-size, high=size) + f", got {found}")


def _refusal(arrays: Sequence[tuple[int, int]], error: _Error) -> Callable[[Sequence[tuple[int, int]]], None]:
    """For indices along axes of sizes: raises where one is out of range."""

    def refuse(met: Sequence[tuple[int, int]]) -> None:
        for (axis, size), (least, most) in zip(arrays, met, strict=True):
            if least < -size or most >= size:
                raise error(axis, size, f"{least}..{most}")

    return refuse


def _gather_rows(
    builder: Builder,
    node: Node,
    data: Value,
    arrays: Sequence[Indices],
    front: Sequence[int],
    found: tuple[int, ...],
    behind: Sequence[int],
    type: TensorType,
    error: tuple[Sequence[int], _Error] | None = None,
) -> list[Value] | None:
    """Rows of `data`, in C order, at indices of shape `found`, which stand in the result behind dimensions `front`."""
    if not can_move(type.dtype):
        return None
    refuse = None
    if error is not None:
        refuse = _refusal([(axis, a.size) for axis, a in zip(error[0], arrays, strict=True)], error[1])
    offsets = add_offsets(builder, node.name, arrays, math.prod(found), refuse)
    if offsets is None:
        return None
    rest = [[Dimension(data.shape[d], data.strides[d], (0,)) for d in some] for some in (front, behind)]
    result = builder.new(type)
    dimensions = [*rest[0], Dimension(math.prod(found), 0, (WORD_BYTES,)), *rest[1]]
    made = add_gather(builder, node.name, builder.address(data), result, dimensions, [offsets])
    return [result] if made else None


def lower_take(
    builder: Builder, node: Node, inputs: Sequence[Value], types: Sequence[TensorType]
) -> list[Value] | None:
    """``take``: rows along one axis."""
    data, indices = builder.as_layout(inputs[0], PLAIN), builder.as_layout(inputs[1], PLAIN)
    axis = node.attrs.axis % data.type.ndim
    arrays = [Indices(indices, data.shape[axis], data.strides[axis], node.attrs.mode, floors=True)]
    front, behind = range(axis), range(axis + 1, data.type.ndim)
    return _gather_rows(builder, node, data, arrays, front, indices.shape, behind, types[0])


def lower_embedding(
    builder: Builder, node: Node, inputs: Sequence[Value], types: Sequence[TensorType]
) -> list[Value] | None:
    """``embedding``: rows of the weight."""
    indices, weight = (builder.as_layout(v, PLAIN) for v in inputs)
    arrays = [Indices(indices, weight.shape[0], weight.strides[0], "clip", floors=True)]
    return _gather_rows(builder, node, weight, arrays, (), indices.shape, (1,), types[0])


def lower_gather_nd(
    builder: Builder, node: Node, inputs: Sequence[Value], types: Sequence[TensorType]
) -> list[Value] | None:
    """``gather_nd``: row i of the indices is the position along axis i."""
    data, indices = (builder.as_layout(v, PLAIN) for v in inputs)
    depth, found = indices.shape[0], indices.shape[1:]
    each = math.prod(found) * indices.type.dtype.itemsize
    arrays = [Indices(indices, data.shape[d], data.strides[d], "check", offset=d * each) for d in range(depth)]
    error = _must_lie("gather_nd: row {axis} of indices must lie in [{low}, {high})")
    behind = range(depth, data.type.ndim)
    return _gather_rows(builder, node, data, arrays, (), found, behind, types[0], (range(depth), error))


def lower_index(
    builder: Builder, node: Node, inputs: Sequence[Value], types: Sequence[TensorType]
) -> list[Value] | None:
    """``index``: positions along one axis or several, broadcast together."""
    data = builder.as_layout(inputs[0], PLAIN)
    axes = [axis % data.type.ndim for axis in node.attrs.axes]
    found = np.broadcast_shapes(*(v.shape for v in inputs[1:]))
    indices = [broadcast_to(builder, node.name, builder.as_layout(v, PLAIN), found) for v in inputs[1:]]
    arrays = [Indices(v, data.shape[a], data.strides[a], "check") for a, v in zip(axes, indices, strict=True)]
    rest = [d for d in range(data.type.ndim) if d not in axes]
    is_one_block = axes[-1] - axes[0] == len(axes) - 1
    place = axes[0] if is_one_block and not node.attrs.front else 0
    return _gather_rows(
        builder, node, data, arrays, rest[:place], found, rest[place:], types[0], (axes, _out_of_bounds)
    )


def lower_take_along_axis(
    builder: Builder, node: Node, inputs: Sequence[Value], types: Sequence[TensorType]
) -> list[Value] | None:
    """``take_along_axis``: a position along one axis for each element; along the others both are broadcast."""
    data, indices = (builder.as_layout(v, PLAIN) for v in inputs)
    axis = node.attrs.axis % data.type.ndim
    array = Indices(indices, data.shape[axis], data.strides[axis], "check")
    return _gather_elements(builder, node, data, array, axis, types[0], _out_of_bounds)


def lower_pick(
    builder: Builder, node: Node, inputs: Sequence[Value], types: Sequence[TensorType]
) -> list[Value] | None:
    """``pick``: the element at one position along an axis."""
    data, index = (builder.as_layout(v, PLAIN) for v in inputs)
    axis = node.attrs.axis % data.type.ndim
    kept = (*data.shape[:axis], 1, *data.shape[axis + 1 :])
    index = Value(TensorType(kept, index.type.dtype), builder.address(index))
    array = Indices(index, data.shape[axis], data.strides[axis], node.attrs.mode, floors=True)
    made = _gather_elements(builder, node, data, array, axis, TensorType(kept, data.type.dtype), None)
    return None if made is None else [Value(types[0], made[0].address)]


def _gather_elements(
    builder: Builder, node: Node, data: Value, array: Indices, axis: int, type: TensorType, error: _Error | None
) -> list[Value] | None:
    """Elements of `data` at positions along an axis, one for each element of the result."""
    if not can_move(type.dtype):
        return None
    refuse = None if error is None else _refusal([(axis, array.size)], error)
    shape, dtype = array.value.shape, np.dtype(np.int64)
    offsets = add_offsets(builder, node.name, [array], math.prod(shape), refuse)
    if offsets is None:
        return None
    steps = Value(TensorType(shape, dtype), offsets).strides
    dimensions = [
        Dimension(
            n,
            0 if d == axis or data.shape[d] == 1 else data.strides[d],
            (0 if shape[d] == 1 else steps[d],),
        )
        for d, n in enumerate(type.shape)
    ]
    result = builder.new(type)
    return [result] if add_gather(builder, node.name, builder.address(data), result, dimensions, [offsets]) else None


# ---- scatters ------------------------------------------------------------------------------------------


def _scatter(
    builder: Builder,
    node: Node,
    data: Value,
    updates: Value,
    arrays: Sequence[Indices],
    axes: Sequence[int],
    rows: int,
    error: _Error,
    reduction: str = "none",
) -> list[Value] | None:
    """A copy of `data` with updates in their places."""
    type = data.type
    code = element_code(type.dtype)
    if not can_move(type.dtype) or (code is None and reduction != "none"):
        return None
    refuse = _refusal([(axis, a.size) for axis, a in zip(axes, arrays, strict=True)], error)
    offsets = add_offsets(builder, node.name, arrays, rows, refuse)
    if offsets is None:
        return None
    result = builder.new(type)
    lower_copy(builder, node.name, data, data.strides, result.address, result.strides, type.shape)
    row = SCATTER_ARGUMENTS.fill(
        target=result.address,
        size=result.nbytes,
        updates=builder.address(updates),
        offsets=offsets,
        rows=rows,
        run=updates.type.size // rows,
        item=type.dtype.itemsize,
        code=0 if code is None else code,
        reduction=REDUCTIONS.index(reduction),
    )
    parts = max(1, min(PARTS // 4, updates.nbytes // _PART_BYTES))
    builder.native(node.name, "scatter_loop", row, parts, Cost(0, 2 * updates.nbytes))
    return [result]


def lower_scatter_points(
    builder: Builder, node: Node, inputs: Sequence[Value], types: Sequence[TensorType]
) -> list[Value] | None:
    """``scatter_points``: a row for each position along the first axes."""
    data, indices, updates = (builder.as_layout(v, PLAIN) for v in inputs)
    depth, rows = indices.shape[-1], math.prod(indices.shape[:-1])
    if not depth:
        return None
    # The numbers of a position lie side by side: each axis has its own array.
    columns = builder.new(TensorType((depth, rows), indices.type.dtype))
    item = indices.type.dtype.itemsize
    lower_copy(builder, node.name, indices, (item, depth * item), columns.address, columns.strides, columns.shape)
    arrays = [Indices(columns, data.shape[d], data.strides[d], "check", offset=d * rows * item) for d in range(depth)]
    return _scatter(
        builder, node, data, updates, arrays, range(depth), rows, _lie("scatter_points"), node.attrs.reduction
    )


def lower_scatter_elements(
    builder: Builder, node: Node, inputs: Sequence[Value], types: Sequence[TensorType]
) -> list[Value] | None:
    """``scatter_elements``: a position along one axis for each element."""
    data, indices, updates = (builder.as_layout(v, PLAIN) for v in inputs)
    axis, ndim = node.attrs.axis % data.type.ndim, data.type.ndim
    arrays = [Indices(indices, data.shape[axis], data.strides[axis], "check")]
    for d, n in enumerate(indices.shape):
        if d != axis and n > 1:
            shape = tuple(n if other == d else 1 for other in range(ndim))
            places = builder.parameter(np.arange(n, dtype=np.int64).reshape(shape))
            spread = broadcast_to(builder, node.name, places, indices.shape)
            arrays.append(Indices(spread, data.shape[d], data.strides[d], "check"))
    axes = [axis, *(d for d, n in enumerate(indices.shape) if d != axis and n > 1)]
    rows, error = indices.type.size, _lie("scatter_elements")
    return _scatter(builder, node, data, updates, arrays, axes, rows, error, node.attrs.reduction)


def _lie(op: str) -> _Error:
    return _must_lie(op + ": indices along axis {axis} must lie in [{low}, {high})")


def lower_index_write(
    builder: Builder, node: Node, inputs: Sequence[Value], types: Sequence[TensorType]
) -> list[Value] | None:
    """``index_add`` and ``index_update``: rows at positions along the first axes."""
    data, indices, value = (builder.as_layout(v, PLAIN) for v in inputs)
    if value.type.dtype != data.type.dtype:
        return None
    depth = indices.shape[0] if indices.type.ndim == 2 else 1
    rows = indices.shape[-1] if indices.type.ndim else 1
    updates = broadcast_to(builder, node.name, value, (rows, *data.shape[depth:]))
    each = rows * indices.type.dtype.itemsize
    arrays = [Indices(indices, data.shape[d], data.strides[d], "check", offset=d * each) for d in range(depth)]
    error = _must_lie(node.op_name + ": positions along axis {axis} must lie in [{low}, {high})")
    reduction: Any = "add" if node.op_name == "index_add" else "none"
    if reduction == "add" and data.type.dtype == np.bool_:
        return None
    return _scatter(builder, node, data, updates, arrays, range(depth), rows, error, reduction)
