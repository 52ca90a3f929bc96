"""Gathers and scatters."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from minidnn.interop.onnx.values import Value, known
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
# What changes nothing where it is combined.
_NEUTRAL = {"sum": 0, "prod": 1, "mean": 0}


@aten("scatter_reduce.two")
def _scatter_reduce(
    call: Call, x: Value, dim: int, index: Value, source: Value, reduce: str, include_self: bool = True
) -> Value:
    if reduce not in _REDUCTIONS and reduce != "mean":
        call.refuse(f"argument 'reduce' must be one of {[*_REDUCTIONS, 'mean']}, got {reduce!r}")
    target = x
    if not include_self:
        neutral: Any = _NEUTRAL.get(reduce)
        if neutral is None:
            limits = (-np.inf, np.inf) if x.element.is_float else x.element.limits
            neutral = limits[0 if reduce == "amax" else 1]
        # Where nothing is written, what was there stays.
        target = _scattered(call, x, dim, index, neutral, "none")
    result = _scattered(call, target, dim, index, source, _REDUCTIONS.get(reduce, "add"))
    if reduce != "mean":
        return result
    first = call.filled(x.shape, int(include_self), np.int64)
    counts = _scattered(call, first, dim, index, 1, "add")
    counts = call.emit("maximum", counts, call.operand(1, np.int64))
    if x.element.is_float:
        return call.emit("true_divide", result, call.cast(counts, x.dtype))
    return call.emit("floor_divide", result, call.cast(counts, x.dtype))


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
        return _replaced_apart(call, x, source, axis, slice(start, end, step))
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


def _replaced_apart(call: Call, x: Value, source: Value, axis: int, where: slice) -> Value:
    """The value with some elements of an axis replaced that do not follow each other."""
    places = np.arange(int(x.dim(axis)))[where]
    order = _moved_to_front(x.ndim, (axis,))
    made = call.emit(
        "scatter_points",
        call.transpose(x, order),
        known(places[:, None]),
        call.transpose(call.cast(source, x.dtype), order),
        reduction="none",
    )
    return call.transpose(made, [order.index(i) for i in range(x.ndim)])


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
    depth = len(axes)
    shape: tuple[Any, ...] = np.broadcast_shapes(*(tuple(map(int, i.shape)) for i in found))
    points = [
        _from_front(call, call.emit("broadcast_to", index, shape=shape), x.dim(axis))
        for axis, index in zip(axes, found, strict=True)
    ]
    stacked = call.emit("stack", *points, num_args=depth, axis=len(shape))
    # As where an array is read: indices of axes that follow each other stay in their place, others come first.
    front = axes[0] if axes == list(range(axes[0], axes[0] + depth)) else 0
    rest = [n for axis, n in enumerate(x.shape) if axis not in axes]
    updates = call.emit("broadcast_to", call.cast(values, x.dtype), shape=(*rest[:front], *shape, *rest[front:]))
    # The operator indexes the first axes.
    order = _moved_to_front(x.ndim, axes)
    made = call.emit(
        "scatter_points",
        call.transpose(x, order),
        stacked,
        call.transpose(updates, _moved_to_front(updates.ndim, range(front, front + len(shape)))),
        reduction="add" if accumulate else "none",
    )
    return call.transpose(made, [order.index(axis) for axis in range(x.ndim)])


def _moved_to_front(ndim: int, moved: Sequence[int]) -> list[int]:
    return [*moved, *(axis for axis in range(ndim) if axis not in moved)]


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


# ---- results whose size depends on values


@aten("nonzero")
def _nonzero(call: Call, x: Value) -> Value:
    return call.emit("argwhere", x)


@aten("nonzero_numpy")
def _nonzero_by_axis(call: Call, x: Value) -> list[Value]:
    return [index for index in _by_axis(call, [call.cast(x, np.bool_)]) if index is not None]


@aten("masked_select")
def _masked_select(call: Call, x: Value, mask: Value) -> Value:
    shape = np.broadcast_shapes(*(tuple(map(int, v.shape)) for v in (x, mask)))
    whole, where = (call.emit("broadcast_to", v, shape=shape) for v in (x, mask))
    return _index(call, whole, [where])


@aten("masked_scatter")
def _masked_scatter(call: Call, x: Value, mask: Value, source: Value) -> Value:
    """The elements of `source`, one after the other, where the mask is true."""
    mask = call.emit("broadcast_to", mask, shape=tuple(x.shape))
    flat = call.cast(call.reshape(mask, (-1,)), np.int64)
    # How many places there are up to each one.
    count = call.emit("cumsum", flat, axis=0, dtype=np.dtype(np.int64))
    place = call.emit("maximum", call.emit("subtract_scalar", count, scalar=1), call.operand(0, np.int64))
    taken = call.emit("index", call.reshape(call.cast(source, x.dtype), (-1,)), place, axes=(0,))
    return call.emit("where", mask, call.reshape(taken, x.shape), x)


def _unique(call: Call, x: Value, axis: int | None) -> list[Value]:
    values, _, inverse, counts = call.emit_all("unique", x, axis=axis)
    return [values, inverse if axis is not None else call.reshape(inverse, x.shape), counts]


@aten("_unique2")
def _unique_of_all(call: Call, x: Value, *_: Any, **__: Any) -> list[Value]:
    return _unique(call, x, None)


@aten("unique_dim")
def _unique_of_axis(call: Call, x: Value, dim: int, *_: Any, **__: Any) -> list[Value]:
    return _unique(call, x, call.axis(dim, x.ndim))


@aten("unique_consecutive")
def _unique_consecutive(
    call: Call, x: Value, return_inverse: bool = False, return_counts: bool = False, dim: int | None = None
) -> list[Value]:
    """The first of equal ones that follow each other."""
    if dim is not None and x.ndim != 1:
        call.refuse(f"argument 'dim' is supported for vectors only, got {x.ndim} dimensions")
    flat = call.reshape(x, (-1,))
    size = flat.dim(0)
    one = call.filled((1,), 1, np.bool_)
    before, behind = (
        call.emit("slice_axis", flat, axis=0, begin=0, end=size - 1),
        call.emit("slice_axis", flat, axis=0, begin=1, end=None),
    )
    begins = call.concatenate([one, call.emit("not_equal", before, behind)], 0)
    places = call.reshape(call.emit("argwhere", begins), (-1,))
    runs = call.emit("cumsum", call.cast(begins, np.int64), axis=0, dtype=np.dtype(np.int64))
    inverse = call.reshape(call.emit("subtract_scalar", runs, scalar=1), x.shape)
    ends = call.concatenate([call.emit("slice_axis", places, axis=0, begin=1, end=None), call.sizes([size])], 0)
    return [call.emit("index", flat, places, axes=(0,)), inverse, call.emit("subtract", ends, places)]


@aten("bincount")
def _bincount(call: Call, x: Value, weights: Value | None = None, minlength: int = 0) -> Value:
    inputs = (x,) if weights is None else (x, weights)
    return call.emit("bincount", *inputs, minlength=minlength, has_weights=weights is not None)


@aten("repeat_interleave.Tensor")
def _repeat_interleave(call: Call, repeats: Value, **_: Any) -> Value:
    """Each index as often as its number says."""
    counts = call.numbers_of(repeats, "how often each element is repeated")
    return known(np.repeat(np.arange(len(counts)), [int(n) for n in counts]))


# ---- bags of embeddings


@aten("_embedding_bag", "_embedding_bag_forward_only")
def _embedding_bag(
    call: Call,
    weight: Value,
    indices: Value,
    offsets: Value,
    scale_grad: bool = False,
    mode: int = 0,
    sparse: bool = False,
    weights: Value | None = None,
    include_last_offset: bool = False,
    padding_idx: int = -1,
) -> list[Value | None]:
    """Sums, means or maxima of the rows between one offset and the next; rows of the padding do not count."""
    if any(call.wants(i) for i in (1, 2, 3)):
        call.refuse("results beside the first one are not supported")
    count, width = indices.dim(0), weight.dim(1)
    bags = offsets.dim(0) - (1 if include_last_offset else 0)
    starts = call.cast(call.emit("slice_axis", offsets, axis=0, begin=0, end=bags), np.int64)
    places = call.emit("arange", start=0, stop=count, dtype=np.dtype(np.int64))
    begun = call.emit("greater_equal", call.reshape(places, (count, 1)), call.reshape(starts, (1, bags)))
    bag = call.emit("subtract_scalar", call.emit("sum", call.cast(begun, np.int64), axis=(1,)), scalar=1)
    bag = call.reshape(bag, (count, 1))
    rows = _embedding(call, weight, indices)
    if weights is not None:
        rows = call.emit("multiply", rows, call.reshape(weights, (count, 1)))
    counted = None
    if padding_idx >= 0:
        counted = call.reshape(call.emit("not_equal_scalar", indices, scalar=padding_idx), (count, 1))
        rows = call.emit("where", counted, rows, call.like(-np.inf if mode == 2 else 0, rows))
    first = call.filled((bags, width), -np.inf if mode == 2 else 0, rows.dtype)
    made = call.emit("scatter_points", first, bag, rows, reduction="max" if mode == 2 else "add")
    if mode == 0:
        return [made]
    if mode == 2:
        return [call.emit("where", call.emit("isinf", made), call.like(0, made), made)]
    ones = call.filled((count, 1), 1, rows.dtype) if counted is None else call.cast(counted, rows.dtype)
    sizes = call.emit("scatter_points", call.filled((bags, 1), 0, rows.dtype), bag, ones, reduction="add")
    return [call.emit("true_divide", made, call.emit("maximum_scalar", sizes, scalar=1.0))]
