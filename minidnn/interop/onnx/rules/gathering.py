"""Gathers, scatters, and results whose size depends on values."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from minidnn.interop.onnx.call import Call, rule
from minidnn.interop.onnx.values import Value

__all__: list[str] = []


def _wrapped(call: Call, indices: Value, size: Any) -> Value:
    """Indices counted from the front."""
    if indices.is_known and not indices.is_sized and indices.array is not None and (indices.array >= 0).all():
        return indices
    wide = call.cast(indices, np.int64)
    shifted = call.emit("add", wide, call.reshape(call.sizes([size]), ()))
    return call.emit("where", call.emit("less_scalar", wide, scalar=0), shifted, wide)


@rule("Gather")
def _gather(call: Call) -> Value:
    x, indices = call[0], call[1]
    axis = call.axis(call.integer("axis", 0), x.ndim)
    if indices.dtype.kind not in "iu":
        call.fail(f"indices must be integers, got {indices.element}")
    if indices.is_sized:
        indices = call.builder.fixed(indices, "indices")
    if indices.array is not None and not indices.is_sized and indices.array.ndim == 0:
        return _one_row(call, x, axis, int(indices.array))
    return call.emit("index", x, indices, axes=(axis,))


def _one_row(call: Call, x: Value, axis: int, index: int) -> Value:
    """A single row is a view."""
    part = call.emit("slice_axis", x, axis=axis, begin=index, end=index + 1 if index != -1 else None)
    if part._type.shape[axis] != 1:
        call.misfit(f"index {index} is out of bounds for axis {axis} of size {x.dim(axis)}")
    return call.emit("squeeze", part, axis=(axis,))


@rule("GatherElements")
def _gather_elements(call: Call) -> Value:
    x, indices = call[0], call[1]
    axis = call.axis(call.integer("axis", 0), x.ndim)
    if indices.ndim != x.ndim:
        call.fail(f"indices must have {x.ndim} dimensions like the data, got {indices.ndim}")
    shape = indices.shape
    if any(i != axis and n != m for i, (n, m) in enumerate(zip(x.shape, shape, strict=True))):
        end = tuple(None if i == axis else n for i, n in enumerate(shape))
        x = call.emit("slice", x, begin=(None,) * x.ndim, end=end)
    return call.emit("take_along_axis", x, indices, axis=axis)


@rule("GatherND")
def _gather_nd(call: Call) -> Value:
    """One array of indices for each axis that is indexed; samples of a batch index themselves."""
    x, indices, batch = call[0], call[1], call.integer("batch_dims", 0)
    depth = int(indices.dim(-1))
    if batch + depth > x.ndim or not 0 <= batch < indices.ndim:
        call.misfit(f"{depth} indices and {batch} dimensions of batches do not fit data of {x.ndim} dimensions")
    rank = indices.ndim - 1
    parts = []
    for i in range(batch):
        places = call.emit("arange", start=0, stop=x.dim(i), dtype=np.dtype(np.int64))
        parts.append(call.reshape(places, [x.dim(i) if axis == i else 1 for axis in range(rank)]))
    for i in range(depth):
        part = call.emit("slice_axis", indices, axis=rank, begin=i, end=i + 1)
        parts.append(call.cast(call.emit("squeeze", part, axis=(rank,)), np.int64))
    return call.emit("index", x, *parts, axes=tuple(range(batch + depth)))


_REDUCTIONS = ("none", "add", "mul", "max", "min")


@rule("ScatterElements", "Scatter")
def _scatter_elements(call: Call) -> Value:
    axis = call.axis(call.integer("axis", 0), call[0].ndim)
    how = call.text("reduction", "none", _REDUCTIONS)
    return call.emit("scatter_elements", call[0], call.cast(call[1], np.int64), call[2], axis=axis, reduction=how)


@rule("ScatterND")
def _scatter_nd(call: Call) -> Value:
    how = call.text("reduction", "none", _REDUCTIONS)
    return call.emit("scatter_points", call[0], call.cast(call[1], np.int64), call[2], reduction=how)


@rule("TensorScatter")
def _tensor_scatter(call: Call) -> Value:
    """Writes a stretch of a cache: from a position of its own for each sample, around its end where it is a ring."""
    past, update = call[0], call[1]
    axis = call.axis(call.integer("axis", -2), past.ndim)
    ring = call.text("mode", "linear", ("linear", "circular")) == "circular"
    batch, length, room = past.dim(0), update.dim(axis), past.dim(axis)
    places = call.emit("arange", start=0, stop=length, dtype=np.dtype(np.int64))
    if call.get(2) is not None:
        places = call.emit("add", call.reshape(places, (1, length)), call.reshape(call[2], (batch, 1)))
    else:
        places = call.emit("broadcast_to", call.reshape(places, (1, length)), shape=(batch, length))
    if ring:
        places = call.emit("mod", places, call.sizes([room]))
    shape = [1] * past.ndim
    shape[0], shape[axis] = batch, length
    everywhere = call.emit("broadcast_to", call.reshape(places, shape), shape=tuple(update.shape))
    return call.emit("scatter_elements", past, everywhere, update, axis=axis, reduction="none")


@rule("OneHot")
def _one_hot(call: Call) -> Value:
    indices, values = call[0], call[2]
    depth = call.number(1, "depth")
    depth = int(depth) if isinstance(depth, float) else depth
    axis = call.axis(call.integer("axis", -1), indices.ndim + 1)
    places = call.emit("arange", start=0, stop=depth, dtype=np.dtype(np.int64))
    shape = [1] * (indices.ndim + 1)
    shape[axis] = depth
    wrapped = _wrapped(call, call.cast(indices, np.int64), depth)
    hits = call.emit("equal", call.reshape(places, shape), call.expand_dims(wrapped, (axis,)))
    off, on = (call.emit("slice_axis", values, axis=0, begin=i, end=i + 1) for i in (0, 1))
    return call.emit("where", hits, on, off)


@rule("NonZero")
def _non_zero(call: Call) -> Value:
    x = call[0]
    if x.ndim == 0:
        x = call.reshape(x, (1,))
        return call.emit("transpose", call.emit("argwhere", x), axes=(1, 0))
    return call.emit("transpose", call.emit("argwhere", x), axes=(1, 0))


@rule("Compress")
def _compress(call: Call) -> Value:
    x, axis = call[0], call.integer("axis", None)
    if axis is None:
        x, axis = call.reshape(x, (math.prod(x.shape),)), 0
    axis = call.axis(axis, x.ndim)
    places = call.emit("argwhere", call[1])
    return call.emit("index", x, call.reshape(places, (-1,)), axes=(axis,))


@rule("Unique")
def _unique(call: Call) -> list[Value]:
    x, axis, is_sorted = call[0], call.integer("axis", None), call.flag("sorted", True)
    axis = None if axis is None else call.axis(axis, x.ndim)
    values, first, inverse, counts = call.emit_all("unique", x, axis=axis)
    if is_sorted:
        return [values, first, inverse, counts]
    # In order of their first places.
    order = call.emit("argsort", first)
    order = call.cast(order, np.int64)
    rank = call.cast(call.emit("argsort", order), np.int64)
    along = 0 if axis is None else axis
    return [
        call.emit("index", values, order, axes=(along,)),
        call.emit("index", first, order, axes=(0,)),
        call.emit("index", rank, inverse, axes=(0,)),
        call.emit("index", counts, order, axes=(0,)),
    ]


@rule("ReverseSequence")
def _reverse_sequence(call: Call) -> Value:
    x, lengths = call[0], call[1]
    time, batch = call.integer("time_axis", 0), call.integer("batch_axis", 1)
    if {time, batch} != {0, 1}:
        call.fail(f"time_axis and batch_axis must be 0 and 1, got {time} and {batch}")
    size = x.dim(time)
    t = call.emit("arange", start=0, stop=size, dtype=np.dtype(np.int64))
    t = call.reshape(t, (size, 1) if time == 0 else (1, size))
    length = call.reshape(call.cast(lengths, np.int64), (1, x.dim(1)) if time == 0 else (x.dim(0), 1))
    back = call.emit("subtract_scalar", call.emit("subtract", length, t), scalar=1)
    place = call.emit("where", call.emit("less", t, length), back, t)
    place = call.emit("broadcast_to", place, shape=tuple(x.shape[:2]))
    place = call.reshape(place, (*x.shape[:2], *(1,) * (x.ndim - 2)))
    return call.emit("take_along_axis", x, place, axis=time)
