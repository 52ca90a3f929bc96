"""Operators of MXNet 1 that mean others, which ones depending on the types of their inputs."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from minidnn.errors import OpError, ShapeError
from minidnn.ops.checks import normalize_axes, normalize_axis, want_min_rank, want_shape
from minidnn.ops.composed import Operand, register_composed
from minidnn.ops.registry import Attr, Attrs

__all__: list[str] = []


register_composed(
    "full_like",
    lambda attrs, data: data.make(
        "full", shape=data.shape, value=attrs.fill_value, dtype=data.type.dtype if attrs.dtype is None else attrs.dtype
    ),
    ("data",),
    (Attr("fill_value", "float"), Attr("dtype", "dtype", None)),
    mxnet=("_npi_full_like",),
    nonnegative=lambda attrs, inputs: attrs.fill_value >= 0,
)


def _cast_like(attrs: Attrs, data: Operand, like: Operand) -> Operand:
    return data.cast(like.type.dtype) if data.type.dtype != like.type.dtype else data.apply("identity")


register_composed("cast_like", _cast_like, ("data", "like"))

register_composed(
    "size_array",
    lambda attrs, data: data.make("full", shape=(1,), value=data.type.size, dtype=np.dtype(np.int64)),
    ("data",),
    mxnet=("size_array",),
)


def _reduce_others(attrs: Attrs, data: Operand) -> Operand:
    """A reduction along all axes but those of the attribute."""
    kept = normalize_axes("reduce_others", attrs.axis, data.ndim)
    others = tuple(i for i in range(data.ndim) if i not in kept)
    if not others:
        return data.apply("identity")
    return data.apply(attrs.kind, axis=others, keepdims=attrs.keepdims)


register_composed(
    "reduce_others",
    _reduce_others,
    ("data",),
    (
        Attr("kind", "str", choices=("sum", "mean", "prod", "max", "min", "nansum")),
        Attr("axis", "ints"),
        Attr("keepdims", "bool", False),
    ),
)


def _broadcast(data: Operand, shape: Sequence[int]) -> Operand:
    return data.apply("broadcast_to", shape=tuple(shape))


def _broadcast_axis(attrs: Attrs, data: Operand) -> Operand:
    op, shape = "broadcast_axis", list(data.shape)
    if len(attrs.axis) != len(attrs.size):
        raise OpError(f"{op}: axis and size must be of one length, got {attrs.axis} and {attrs.size}")
    for axis, size in zip(attrs.axis, attrs.size, strict=True):
        axis = normalize_axis(op, axis, data.ndim)
        if shape[axis] != 1:
            raise ShapeError(f"{op}: data must have size 1 along axis {axis}, got {data.type}")
        shape[axis] = size
    return _broadcast(data, shape)


register_composed(
    "broadcast_axis",
    _broadcast_axis,
    ("data",),
    (Attr("axis", "ints", ()), Attr("size", "ints", (), low=0)),
    mxnet=("broadcast_axis", "broadcast_axes"),
)


def _broadcast_kept(attrs: Attrs, data: Operand) -> Operand:
    """To a shape in which 0 is the size that there is."""
    if len(attrs.shape) != data.ndim:
        raise ShapeError(f"broadcast_kept: shape must have {data.ndim} numbers, got {attrs.shape}")
    return _broadcast(data, [m or n for n, m in zip(data.shape, attrs.shape, strict=True)])


register_composed("broadcast_kept", _broadcast_kept, ("data",), (Attr("shape", "ints", low=0),))


def _contract(attrs: Attrs, lhs: Operand, rhs: Operand) -> Operand:
    """The last axis of one with the first of the other, the other way round where they are transposed."""
    op = "dot_transposed"
    want_min_rank(op, "lhs", lhs.type, 1)
    want_min_rank(op, "rhs", rhs.type, 1)
    if attrs.transpose_a:
        lhs = lhs.apply("moveaxis", source=(0,), destination=(lhs.ndim - 1,))
    if attrs.transpose_b:
        rhs = rhs.apply("moveaxis", source=(rhs.ndim - 1,), destination=(0,))
    outer, inner = lhs.shape[:-1], rhs.shape[1:]
    common = lhs.shape[-1]
    want_shape(op, "rhs", rhs.type, (common, *inner), "what is summed over")
    rows, columns = lhs.reshape(-1, common), rhs.reshape(common, -1)
    return rows.apply("matmul", columns).reshape(*(outer + inner or (1,)))


register_composed(
    "dot_transposed",
    _contract,
    ("lhs", "rhs"),
    (Attr("transpose_a", "bool", False), Attr("transpose_b", "bool", False)),
)


def _sequence_last(attrs: Attrs, data: Operand, lengths: Operand | None = None) -> Operand:
    op = "sequence_last"
    want_min_rank(op, "data", data.type, 2)
    if attrs.axis == 1:
        data = data.apply("swapaxes", dim1=0, dim2=1)
    time, batch, *rest = data.shape
    if lengths is None:
        return data.cut(0, time - 1, time).apply("squeeze", axis=(0,))
    want_shape(op, "sequence_length", lengths.type, (batch,), "one for each sample")
    index = (lengths - 1).reshape(batch, *(1,) * len(rest)).apply("broadcast_to", shape=(batch, *rest))
    return data.apply("pick", index, axis=0)


register_composed(
    "sequence_last",
    _sequence_last,
    lambda attrs: ("data", "sequence_length") if attrs.use_sequence_length else ("data",),
    (Attr("use_sequence_length", "bool", False), Attr("axis", "int", 0, choices=(0, 1))),
    mxnet=("SequenceLast", "_npx_sequence_last"),
)
