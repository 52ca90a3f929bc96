"""Gathers and scatters."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from minidnn.interop.onnx.values import Value
from minidnn.interop.torch.call import Call, aten

__all__: list[str] = []


def _by_axis(call: Call, indices: Sequence[Value | None]) -> list[Value | None]:
    """An index of integers for each axis; a mask becomes those of the places where it is true."""
    result: list[Value | None] = []
    for index in indices:
        if index is None or index.dtype != np.bool_:
            result.append(index)
            continue
        places = call.emit("argwhere", index)
        for axis in range(index._type.ndim):
            column = call.emit("slice_axis", places, axis=1, begin=axis, end=axis + 1)
            result.append(call.emit("squeeze", column, axis=(1,)))
    return result


@aten("index.Tensor", "_unsafe_index.Tensor")
def _index(call: Call, x: Value, indices: Sequence[Value | None]) -> Value:
    found = _by_axis(call, indices)
    axes = tuple(axis for axis, index in enumerate(found) if index is not None)
    arrays = [call.cast(index, np.int64) for index in found if index is not None]
    if not arrays:
        return x
    is_together = axes == tuple(range(axes[0], axes[0] + len(axes)))
    return call.emit("index", x, *arrays, axes=axes, front=not is_together)


@aten("index_select")
def _index_select(call: Call, x: Value, dim: int, index: Value) -> Value:
    return call.emit("index", x, call.cast(index, np.int64), axes=(call.axis(dim, x.ndim),))


@aten("embedding")
def _embedding(
    call: Call, weight: Value, indices: Value, padding_idx: int = -1, scale_grad: bool = False, sparse: bool = False
) -> Value:
    rows, columns = weight.shape
    if type(rows) is int and type(columns) is int and weight.dtype == np.float32:
        return call.emit("embedding", indices, weight, input_dim=rows, output_dim=columns)
    return call.emit("index", weight, call.cast(indices, np.int64), axes=(0,))


def _cut(call: Call, x: Value, shape: Sequence[Any], but: int | None = None) -> Value:
    """The first elements of `x` along all axes, but one, as many as `shape` says."""
    for axis, (n, m) in enumerate(zip(x.shape, shape, strict=True)):
        if axis != but and n != m:
            x = call.emit("slice_axis", x, axis=axis, begin=0, end=m)
    return x


@aten("gather")
def _gather(call: Call, x: Value, dim: int, index: Value, sparse_grad: bool = False) -> Value:
    if x.ndim == 0:
        return x
    axis = call.axis(dim, x.ndim)
    cut = _cut(call, x, index.shape, axis)
    return call.emit("take_along_axis", cut, call.cast(index, np.int64), axis=axis)


def _scattered(call: Call, x: Value, dim: int, index: Value, source: Any, how: str) -> Value:
    axis = call.axis(dim, x.ndim)
    if isinstance(source, Value) and source.ndim:
        source = _cut(call, source, index.shape)
    else:
        source = call.emit("broadcast_to", call.operand(source, x.dtype), shape=tuple(index.shape))
    return call.emit("scatter_elements", x, call.cast(index, np.int64), source, axis=axis, reduction=how)


@aten("scatter.src", "scatter.value")
def _scatter(call: Call, x: Value, dim: int, index: Value, source: Any) -> Value:
    return _scattered(call, x, dim, index, source, "none")


@aten("scatter_add")
def _scatter_add(call: Call, x: Value, dim: int, index: Value, source: Value) -> Value:
    return _scattered(call, x, dim, index, source, "add")


_REDUCTIONS = {"sum": "add", "prod": "mul", "amax": "max", "amin": "min"}


@aten("scatter_reduce.two")
def _scatter_reduce(
    call: Call, x: Value, dim: int, index: Value, source: Value, reduce: str, include_self: bool = True
) -> Value:
    if reduce not in _REDUCTIONS or not include_self:
        call.refuse(f"reduce={reduce!r}, include_self={include_self} is not supported")
    return _scattered(call, x, dim, index, source, _REDUCTIONS[reduce])


@aten("select_scatter")
def _select_scatter(call: Call, x: Value, source: Value, dim: int, index: int) -> Value:
    axis = call.axis(dim, x.ndim)
    return _replaced(call, x, call.expand_dims(source, (axis,)), axis, index, index + 1 if index != -1 else None)


@aten("slice_scatter")
def _slice_scatter(
    call: Call, x: Value, source: Value, dim: int = 0, start: Any = None, end: Any = None, step: int = 1
) -> Value:
    axis = call.axis(dim, x.ndim)
    if step != 1:
        call.refuse(f"argument 'step' must be 1, got {step}")
    return _replaced(call, x, source, axis, 0 if start is None else start, end)


def _replaced(call: Call, x: Value, source: Value, axis: int, start: Any, end: Any) -> Value:
    """The value with a stretch of an axis replaced."""
    size = x.dim(axis)
    start = min(start + size if start < 0 else start, size)
    end = size if end is None or end >= size else end + size if end < 0 else end
    parts = [call.cast(source, x.dtype)]
    if start > 0:
        parts.insert(0, call.emit("slice_axis", x, axis=axis, begin=0, end=start))
    if end < size:
        parts.append(call.emit("slice_axis", x, axis=axis, begin=end, end=None))
    return call.concatenate(parts, axis)


@aten("index_put", "_unsafe_index_put")
def _index_put(call: Call, x: Value, indices: Sequence[Value | None], values: Value, accumulate: bool = False) -> Value:
    first = indices[0]
    if len(indices) == 1 and first is not None and first.dtype == np.bool_ and values._type.size == 1:
        mask = call.reshape(first, (*first.shape, *(1,) * (x.ndim - first.ndim)))
        number = call.reshape(call.cast(values, x.dtype), ())
        return call.emit("where", mask, call.emit("add", x, number) if accumulate else number, x)
    by_axis = _by_axis(call, indices)
    axes = [axis for axis, index in enumerate(by_axis) if index is not None]
    found = [call.cast(index, np.int64) for index in by_axis if index is not None]
    first_axis, depth = axes[0], len(axes)
    if axes != list(range(first_axis, first_axis + depth)):
        call.refuse("indices of axes that are apart are not supported")
    shape: tuple[Any, ...] = np.broadcast_shapes(*(tuple(map(int, i.shape)) for i in found))
    points = [
        _from_front(call, call.emit("broadcast_to", index, shape=shape), x.dim(axis))
        for axis, index in zip(axes, found, strict=True)
    ]
    stacked = call.emit("stack", *points, num_args=depth, axis=len(shape))
    whole = (*x.shape[:first_axis], *shape, *x.shape[first_axis + depth :])
    updates = call.emit("broadcast_to", call.cast(values, x.dtype), shape=whole)
    # The operator indexes the first axes.
    order = _moved_to_front(x.ndim, first_axis, depth)
    made = call.emit(
        "scatter_points",
        call.transpose(x, order),
        stacked,
        call.transpose(updates, _moved_to_front(len(whole), first_axis, len(shape))),
        reduction="add" if accumulate else "none",
    )
    return call.transpose(made, [order.index(axis) for axis in range(x.ndim)])


def _moved_to_front(ndim: int, first: int, count: int) -> list[int]:
    moved = list(range(first, first + count))
    return moved + [axis for axis in range(ndim) if axis not in moved]


def _from_front(call: Call, index: Value, size: Any) -> Value:
    below = call.emit("less_scalar", index, scalar=0)
    return call.emit("where", below, call.emit("add", index, call.reshape(call.sizes([size]), ())), index)


@aten("unfold")
def _unfold(call: Call, x: Value, dimension: int, size: int, step: int) -> Value:
    """Windows of an axis, which get an axis of their own behind all others."""
    axis = call.axis(dimension, x.ndim)
    count = (x.dim(axis) - size) // step + 1
    starts = call.emit("arange", start=0, stop=count * step, step=step, dtype=np.dtype(np.int64))
    inside = call.emit("arange", start=0, stop=size, dtype=np.dtype(np.int64))
    places = call.emit("add", call.reshape(starts, (count, 1)), call.reshape(inside, (1, size)))
    windows = call.emit("index", x, places, axes=(axis,))
    order = [i for i in range(x.ndim + 1) if i != axis + 1] + [axis + 1]
    return call.transpose(windows, order)
