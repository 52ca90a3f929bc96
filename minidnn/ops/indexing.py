"""Operators that pick elements by index, or compare with indices: take, embedding, one_hot, pick, topk, ..."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from minidnn.errors import OpError, ShapeError, TypeMismatchError
from minidnn.ops.checks import DTYPES, FLOATS, INTEGERS, normalize_axis, want_filled, want_integer, want_min_rank
from minidnn.ops.checks import want_shape as _want_shape
from minidnn.ops.composed import Operand, expansion_of
from minidnn.ops.elementwise import BOOL
from minidnn.ops.registry import Attr, Attrs, Op, TensorType, register
from minidnn.ops.traits import ALWAYS, IF_FIRST

__all__: list[str] = []

Array = np.ndarray[Any, Any]


def _want_indices(op: str, name: str, t: TensorType) -> None:
    # MXNet's indices are often float32.
    if t.dtype == BOOL or t.dtype not in DTYPES:
        raise TypeMismatchError(f"{op}: {name} must be integers (or whole floats), got {t}")


def _bounded(indices: Array, size: int, mode: str) -> Array:
    """Integer positions inside ``0..size-1``: clipped to it, or counted around it."""
    if indices.dtype not in INTEGERS:
        # nan has no place in an integer; it becomes 0.
        limit = float(2**62)
        indices = np.clip(np.nan_to_num(np.floor(indices), posinf=limit, neginf=-limit), -limit, limit).astype(np.int64)
    return indices % size if mode == "wrap" else np.clip(indices, 0, size - 1)


def _infer_take(attrs: Attrs, types: Sequence[TensorType]) -> list[TensorType]:
    op, (data, indices) = "take", types
    want_min_rank(op, "a", data, 1)
    axis = normalize_axis(op, attrs.axis, data.ndim)
    _want_indices(op, "indices", indices)
    if data.shape[axis] == 0 and indices.size:
        raise ShapeError(f"{op}: nothing can be taken from axis {axis} of size 0: {data}")
    return [TensorType(data.shape[:axis] + indices.shape + data.shape[axis + 1 :], data.dtype)]


def _take(attrs: Attrs, a: Array, indices: Array) -> Array:
    size = max(a.shape[attrs.axis], 1)
    return np.take(a, _bounded(indices, size, attrs.mode).astype(np.int64), attrs.axis)


register(
    Op(
        "take",
        _infer_take,
        _take,
        ("a", "indices"),
        attrs=(Attr("axis", "int", 0), Attr("mode", "str", "clip", choices=("clip", "wrap"))),
        mxnet=("take", "_npi_take"),
        nonnegative=IF_FIRST,
    )
)


def _infer_embedding(attrs: Attrs, types: Sequence[TensorType]) -> list[TensorType]:
    op, (data, weight) = "embedding", types
    _want_indices(op, "data", data)
    if weight.dtype not in FLOATS | {np.dtype(np.int8)}:
        raise TypeMismatchError(f"{op}: weight must be float16, float32, float64 or int8, got {weight}")
    _want_shape(op, "weight", weight, (attrs.input_dim, attrs.output_dim), "input_dim, output_dim")
    return [TensorType((*data.shape, attrs.output_dim), weight.dtype)]


register(
    Op(
        "embedding",
        _infer_embedding,
        lambda attrs, data, weight: weight[_bounded(data, attrs.input_dim, "clip").astype(np.int64)],
        ("data", "weight"),
        attrs=(
            Attr("input_dim", "int", low=1),
            Attr("output_dim", "int", low=1),
            Attr("dtype", "dtype", np.dtype(np.float32)),
            Attr("sparse_grad", "bool", False),
        ),
        parameters=frozenset({"weight"}),
        infer_parameters=lambda attrs, data: {"weight": (attrs.input_dim, attrs.output_dim)},
        mxnet=("Embedding", "_npx_embedding"),
        table="weight",
    )
)


def _infer_one_hot(attrs: Attrs, types: Sequence[TensorType]) -> list[TensorType]:
    _want_indices("one_hot", "data", types[0])
    if attrs.dtype not in DTYPES:
        raise TypeMismatchError(f"one_hot: dtype must be bool, integer or float, got {attrs.dtype}")
    return [TensorType((*types[0].shape, attrs.depth), attrs.dtype)]


def _one_hot(attrs: Attrs, data: Array) -> Array:
    """Positions outside ``0..depth-1`` give a row without the `on_value`."""
    hit = np.expand_dims(np.trunc(data), -1) == np.arange(attrs.depth)
    return np.asarray(np.where(hit, attrs.on_value, attrs.off_value))


register(
    Op(
        "one_hot",
        _infer_one_hot,
        _one_hot,
        ("data",),
        attrs=(
            Attr("depth", "int", low=0),
            Attr("on_value", "float", 1.0),
            Attr("off_value", "float", 0.0),
            Attr("dtype", "dtype", np.dtype(np.float32)),
        ),
        mxnet=("one_hot", "_npx_one_hot"),
        nonnegative=lambda attrs, inputs: attrs.on_value >= 0 and attrs.off_value >= 0,
    )
)


def _infer_pick(attrs: Attrs, types: Sequence[TensorType]) -> list[TensorType]:
    op, (data, index) = "pick", types
    want_min_rank(op, "data", data, 1)
    _want_indices(op, "index", index)
    axis = normalize_axis(op, attrs.axis, data.ndim)
    dropped = data.shape[:axis] + data.shape[axis + 1 :]
    if 0 not in dropped:
        want_filled(op, "data", data, [axis])
    kept = (*data.shape[:axis], 1, *data.shape[axis + 1 :])
    if index.shape not in (dropped, kept):
        raise ShapeError(f"{op}: index must have shape {dropped} or {kept} for data {data.shape}, got {index.shape}")
    return [TensorType(kept if attrs.keepdims else dropped, data.dtype)]


def _pick(attrs: Attrs, data: Array, index: Array) -> Array:
    axis = attrs.axis % data.ndim
    kept = (*data.shape[:axis], 1, *data.shape[axis + 1 :])
    position = _bounded(index.reshape(kept), data.shape[axis], attrs.mode).astype(np.int64)
    out = np.take_along_axis(data, position, axis)
    return out if attrs.keepdims else np.squeeze(out, axis)


register(
    Op(
        "pick",
        _infer_pick,
        _pick,
        ("data", "index"),
        attrs=(
            Attr("axis", "int", -1),
            Attr("mode", "str", "clip", choices=("clip", "wrap")),
            Attr("keepdims", "bool", False),
        ),
        mxnet=("pick", "_npx_pick"),
        nonnegative=IF_FIRST,
    )
)


def _infer_gather_nd(attrs: Attrs, types: Sequence[TensorType]) -> list[TensorType]:
    op, (data, indices) = "gather_nd", types
    want_min_rank(op, "indices", indices, 1)
    _want_indices(op, "indices", indices)
    depth = indices.shape[0]
    if not 1 <= depth <= data.ndim:
        raise ShapeError(f"{op}: indices must have 1..{data.ndim} rows, one per indexed axis of {data}, got {indices}")
    return [TensorType(indices.shape[1:] + data.shape[depth:], data.dtype)]


def _gather_nd(attrs: Attrs, data: Array, indices: Array) -> Array:
    """Row i of `indices` is the position along axis i; negative ones count from the end.

    Raises:
        OpError: a position is out of range.
    """
    rows = tuple(np.trunc(indices).astype(np.int64))
    for axis, (row, size) in enumerate(zip(rows, data.shape, strict=False)):
        if row.size and (row.min() < -size or row.max() >= size):
            came = f"{row.min()}..{row.max()}"
            raise OpError(f"gather_nd: row {axis} of indices must lie in [{-size}, {size}), got {came}")
    return np.asarray(data[rows])


register(
    Op(
        "gather_nd",
        _infer_gather_nd,
        _gather_nd,
        ("data", "indices"),
        mxnet=("gather_nd", "_npx_gather_nd", "_npi_gather_nd"),
        nonnegative=IF_FIRST,
    )
)


def _infer_topk(attrs: Attrs, types: Sequence[TensorType]) -> list[TensorType]:
    op, data = "topk", types[0]
    want_min_rank(op, "data", data, 1)
    if attrs.dtype not in DTYPES or attrs.dtype == BOOL:
        raise TypeMismatchError(f"{op}: dtype must be integer or float, got {attrs.dtype}")
    size = data.size if attrs.axis is None else data.shape[normalize_axis(op, attrs.axis, data.ndim)]
    k = attrs.k or size
    if k > size:
        raise ShapeError(f"{op}: k must be at most the {size} elements of axis {attrs.axis}, got {k}; data is {data}")
    if attrs.axis is None:
        shape: tuple[int, ...] = (k,)
    else:
        axis = attrs.axis % data.ndim
        shape = (*data.shape[:axis], k, *data.shape[axis + 1 :])
    value, indices = TensorType(shape, data.dtype), TensorType(shape, attrs.dtype)
    if attrs.ret_typ == "mask":
        return [data]
    return {"value": [value], "indices": [indices], "both": [value, indices]}[attrs.ret_typ]


def _topk(attrs: Attrs, data: Array) -> Any:
    """The k largest (or smallest) elements in order; among equals the first come first."""
    x = data.reshape(-1) if attrs.axis is None else data
    axis = 0 if attrs.axis is None else attrs.axis % data.ndim
    if attrs.is_ascend:
        order = np.argsort(x, axis=axis, kind="stable")
    else:
        # Sorting the flipped array and flipping back keeps equal elements in their order.
        order = x.shape[axis] - 1 - np.flip(np.argsort(np.flip(x, axis), axis=axis, kind="stable"), axis)
    order = np.take(order, np.arange(attrs.k or x.shape[axis]), axis)
    if attrs.ret_typ == "mask":
        mask = np.zeros(x.shape, data.dtype)
        np.put_along_axis(mask, order, 1, axis)
        return mask.reshape(data.shape)
    value = np.take_along_axis(x, order, axis)
    return {"value": value, "indices": order, "both": (value, order)}[attrs.ret_typ]


register(
    Op(
        "topk",
        _infer_topk,
        _topk,
        ("data",),
        attrs=(
            Attr("axis", "int", -1, optional=True),
            Attr("k", "int", 1, low=0),
            Attr("ret_typ", "str", "indices", choices=("value", "indices", "mask", "both")),
            Attr("is_ascend", "bool", False),
            Attr("dtype", "dtype", np.dtype(np.float32)),
        ),
        mxnet=("topk", "_npx_topk"),
        outputs=lambda attrs: 2 if attrs.ret_typ == "both" else 1,
    )
)


def _infer_sequence_mask(attrs: Attrs, types: Sequence[TensorType]) -> list[TensorType]:
    op, data = "sequence_mask", types[0]
    want_min_rank(op, "data", data, 2)
    if attrs.use_sequence_length:
        _want_indices(op, "sequence_length", types[1])
        batch = data.shape[1 - attrs.axis]
        _want_shape(op, "sequence_length", types[1], (batch,), f"one number for each sequence of data {data.shape}")
    return [data]


def _sequence_mask(attrs: Attrs, data: Array, length: Array | None = None) -> Array:
    if length is None:
        return data
    steps = np.arange(data.shape[attrs.axis])
    keep = steps[:, None] < length[None, :] if attrs.axis == 0 else steps[None, :] < length[:, None]
    return np.where(keep.reshape(*keep.shape, *(1,) * (data.ndim - 2)), data, data.dtype.type(attrs.value))


def _compose_sequence_mask(attrs: Attrs, data: Operand, length: Operand | None = None) -> Operand:
    if length is None:
        return data.apply("identity")
    steps, batch, rest = data.shape[attrs.axis], data.shape[1 - attrs.axis], (1,) * (data.ndim - 2)
    along, across = ((steps, 1), (1, batch)) if attrs.axis == 0 else ((1, steps), (batch, 1))
    keep = data.count(steps).reshape(*along, *rest).apply("less", length.reshape(*across, *rest))
    return keep.apply("where", data, data.full(attrs.value))


register(
    Op(
        "sequence_mask",
        _infer_sequence_mask,
        _sequence_mask,
        lambda attrs: ("data", "sequence_length") if attrs.use_sequence_length else ("data",),
        attrs=(
            Attr("use_sequence_length", "bool", False),
            Attr("value", "float", 0.0),
            Attr("axis", "int", 0, choices=(0, 1)),
        ),
        mxnet=("SequenceMask", "_npx_sequence_mask"),
        nonnegative=lambda attrs, inputs: inputs[0] and (attrs.value >= 0 or not attrs.use_sequence_length),
        expansion=expansion_of(_compose_sequence_mask),
    )
)


def _infer_sequence_reverse(attrs: Attrs, types: Sequence[TensorType]) -> list[TensorType]:
    op, data = "sequence_reverse", types[0]
    want_min_rank(op, "data", data, 2)
    if attrs.use_sequence_length:
        _want_indices(op, "sequence_length", types[1])
        batch = (data.shape[1],)
        _want_shape(op, "sequence_length", types[1], batch, f"one number for each sequence of data {data.shape}")
    return [data]


def _sequence_reverse(attrs: Attrs, data: Array, length: Array | None = None) -> Array:
    if length is None:
        return data[::-1]
    steps = np.arange(len(data))[:, None]
    ends = _bounded(length, len(data) + 1, "clip").astype(np.int64)[None, :]
    source = np.where(steps < ends, ends - 1 - steps, steps)
    return np.asarray(data[source, np.arange(data.shape[1])])


def _compose_sequence_reverse(attrs: Attrs, data: Operand, length: Operand | None = None) -> Operand:
    if length is None:
        return data.apply("flip", axis=(0,))
    steps, batch = data.shape[:2]
    if length.type.dtype not in INTEGERS:
        # nan has no place in an integer; it becomes 0.
        length = length.apply("equal", length).apply("where", length, length.full(0)).apply("floor")
    ends = length.apply("clip", a_min=0, a_max=steps).cast(np.int64).reshape(1, batch)
    places = data.count(steps).reshape(steps, 1)
    mirrored = ends.apply("subtract", places).apply("subtract_scalar", scalar=1, is_int=True)
    source = places.apply("less", ends).apply("where", mirrored, places)
    return data.apply("index", source, data.count(batch).reshape(1, batch), axes=(0, 1))


register(
    Op(
        "sequence_reverse",
        _infer_sequence_reverse,
        _sequence_reverse,
        lambda attrs: ("data", "sequence_length") if attrs.use_sequence_length else ("data",),
        attrs=(Attr("use_sequence_length", "bool", False), Attr("axis", "int", 0, choices=(0,))),
        mxnet=("SequenceReverse", "_npx_sequence_reverse"),
        nonnegative=IF_FIRST,
        expansion=expansion_of(_compose_sequence_reverse),
    )
)


def _infer_arange_like(attrs: Attrs, types: Sequence[TensorType]) -> list[TensorType]:
    op, data = "arange_like", types[0]
    if attrs.axis is None:
        return [data]
    return [TensorType((data.shape[normalize_axis(op, attrs.axis, data.ndim)],), data.dtype)]


def _arange_like(attrs: Attrs, data: Array) -> Array:
    shape = _infer_arange_like(attrs, [TensorType.of(data)])[0].shape
    count = int(np.prod(shape, dtype=np.int64))
    return np.asarray(attrs.start + np.arange(count) // attrs.repeat * attrs.step).reshape(shape)


register(
    Op(
        "arange_like",
        _infer_arange_like,
        _arange_like,
        ("data",),
        attrs=(
            Attr("start", "float", 0.0),
            Attr("step", "float", 1.0),
            Attr("repeat", "int", 1, low=1),
            Attr("axis", "int", None),
        ),
        mxnet=("_contrib_arange_like", "_npx_arange_like"),
        nonnegative=lambda attrs, inputs: attrs.start >= 0 and attrs.step >= 0,
    )
)


def _infer_shape_array(attrs: Attrs, types: Sequence[TensorType]) -> list[TensorType]:
    return [TensorType((types[0].ndim,), np.dtype(np.int64))]


register(
    Op(
        "shape_array",
        _infer_shape_array,
        lambda attrs, data: np.asarray(data.shape, np.int64),
        ("data",),
        mxnet=("shape_array", "_npx_shape_array"),
        nonnegative=ALWAYS,
    )
)


def _infer_unravel_index(attrs: Attrs, types: Sequence[TensorType]) -> list[TensorType]:
    want_integer("unravel_index", "indices", types[0])
    if None in attrs.shape or not attrs.shape:
        raise OpError(f"unravel_index: shape must be one or more integers, got {attrs.shape}")
    return [TensorType(types[0].shape, np.dtype(np.int64))] * len(attrs.shape)


register(
    Op(
        "unravel_index",
        _infer_unravel_index,
        lambda attrs, x: tuple(np.unravel_index(x, attrs.shape, attrs.order)),
        ("data",),
        attrs=(Attr("shape", "ints", low=0), Attr("order", "str", "C", choices=("C", "F"))),
        outputs=lambda attrs: len(attrs.shape),
        nonnegative=ALWAYS,
    )
)
