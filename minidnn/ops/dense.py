"""Matrix products: fully_connected, batch_dot, dot, matmul."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from minidnn.errors import ShapeError
from minidnn.ops.checks import FLOATS, broadcast_shapes, want_dtype, want_filled, want_float, want_min_rank, want_shape
from minidnn.ops.elementwise import want_supported
from minidnn.ops.registry import Attr, Attrs, Op, TensorType, register
from minidnn.ops.traits import AnchorTraits

__all__: list[str] = []

Array = np.ndarray[Any, Any]


def _widened(*arrays: Array) -> list[Array]:
    """Floats in at least float32; integers as they are."""
    dtype = np.result_type(np.float32, *arrays)
    if arrays[0].dtype not in FLOATS:
        return list(arrays)
    return [a.astype(dtype, copy=False) for a in arrays]


def _dense_shapes(attrs: Attrs, data: TensorType) -> dict[str, tuple[int, ...]]:
    want_min_rank("fully_connected", "data", data, 1)
    features = math.prod(data.shape[1:]) if attrs.flatten else data.shape[-1]
    shapes: dict[str, tuple[int, ...]] = {"weight": (attrs.num_hidden, features)}
    return shapes if attrs.no_bias else {**shapes, "bias": (attrs.num_hidden,)}


def _infer_dense(attrs: Attrs, types: Sequence[TensorType]) -> list[TensorType]:
    op, data = "fully_connected", types[0]
    want_min_rank(op, "data", data, 1)
    want_filled(op, "data", data, range(1, data.ndim) if attrs.flatten else [data.ndim - 1])
    want_float(op, "data", data)
    shapes = _dense_shapes(attrs, data)
    for (name, shape), t in zip(shapes.items(), types[1:], strict=True):
        want_dtype(op, name, t, data.dtype, "data")
        given = f"from data {data.shape}, num_hidden={attrs.num_hidden}, flatten={attrs.flatten}"
        want_shape(op, name, t, shape, given)
    lead = data.shape[:1] if attrs.flatten else data.shape[:-1]
    return [TensorType((*lead, attrs.num_hidden), data.dtype)]


def _dense(attrs: Attrs, data: Array, weight: Array, bias: Array | None = None) -> Array:
    x, w = _widened(data, weight)
    out = (x.reshape(len(x), w.shape[1]) if attrs.flatten else x) @ w.T
    return out if bias is None else out + bias.astype(out.dtype, copy=False)


register(
    Op(
        "fully_connected",
        _infer_dense,
        _dense,
        lambda attrs: ("data", "weight") if attrs.no_bias else ("data", "weight", "bias"),
        attrs=(Attr("num_hidden", "int", low=1), Attr("no_bias", "bool", False), Attr("flatten", "bool", True)),
        kind="anchor",
        parameters=frozenset({"weight", "bias"}),
        infer_parameters=_dense_shapes,
        mxnet=("FullyConnected", "_npx_fully_connected"),
        anchor=AnchorTraits(
            "dense",
            output_rank=lambda attrs: 2 if attrs.flatten else None,
            integer="quantized_fully_connected",
            bfloat16="fully_connected_bfloat16_weight",
            eltwise_hint="with_eltwise",
        ),
    )
)


def _infer_by_int8_weight(attrs: Attrs, types: Sequence[TensorType]) -> list[TensorType]:
    op, (data, weight, scale, *bias) = "fully_connected_int8_weight", types
    want_dtype(op, "weight", weight, np.dtype(np.int8), "quantized weights")
    want_dtype(op, "scale", scale, data.dtype, "data")
    want_shape(op, "scale", scale, (attrs.num_hidden,), "one number for each unit")
    return _infer_dense(attrs, [data, TensorType(weight.shape, data.dtype), *bias])


def _by_int8_weight(attrs: Attrs, data: Array, weight: Array, scale: Array, bias: Array | None = None) -> Array:
    x = data.astype(np.float64)
    out = (x.reshape(len(x), weight.shape[1]) if attrs.flatten else x) @ weight.T.astype(np.float64) * scale
    return np.asarray(out if bias is None else out + bias)


register(
    Op(
        "fully_connected_int8_weight",
        _infer_by_int8_weight,
        _by_int8_weight,
        lambda attrs: ("data", "weight", "scale", *(() if attrs.no_bias else ("bias",))),
        attrs=(Attr("num_hidden", "int", low=1), Attr("no_bias", "bool", False), Attr("flatten", "bool", True)),
        kind="anchor",
        parameters=frozenset({"weight", "scale", "bias"}),
        anchor=AnchorTraits("dense", output_rank=lambda attrs: 2 if attrs.flatten else None),
    )
)


def _want_factors(op: str, types: Sequence[TensorType], integers: bool = False) -> None:
    """Two arrays of one dtype: a float, or where `integers` may be multiplied, any."""
    for name, t in zip(("lhs", "rhs"), types, strict=True):
        if not integers:
            want_float(op, name, t)
    if integers:
        want_supported(op, types)
    want_dtype(op, "rhs", types[1], types[0].dtype, "lhs")


def _want_inner(op: str, a: TensorType, b: TensorType, inner_a: int, inner_b: int) -> None:
    if inner_a != inner_b:
        raise ShapeError(f"{op}: the summed dimensions differ, {inner_a} and {inner_b}, of shapes {a.shape}, {b.shape}")


def _infer_batch_dot(attrs: Attrs, types: Sequence[TensorType]) -> list[TensorType]:
    op, (a, b) = "batch_dot", types
    for name, t in (("lhs", a), ("rhs", b)):
        want_min_rank(op, name, t, 3)
    _want_factors(op, types)
    if a.shape[:-2] != b.shape[:-2]:
        raise ShapeError(f"{op}: the batch dimensions must be equal, got shapes {a.shape} and {b.shape}")
    rows, inner_a = a.shape[:-3:-1] if attrs.transpose_a else a.shape[-2:]
    inner_b, columns = b.shape[:-3:-1] if attrs.transpose_b else b.shape[-2:]
    _want_inner(op, a, b, inner_a, inner_b)
    return [TensorType((*a.shape[:-2], rows, columns), a.dtype)]


def _batch_dot(attrs: Attrs, a: Array, b: Array) -> Array:
    a, b = _widened(a, b)
    return (np.swapaxes(a, -1, -2) if attrs.transpose_a else a) @ (np.swapaxes(b, -1, -2) if attrs.transpose_b else b)


register(
    Op(
        "batch_dot",
        _infer_batch_dot,
        _batch_dot,
        ("lhs", "rhs"),
        attrs=(Attr("transpose_a", "bool", False), Attr("transpose_b", "bool", False)),
        kind="anchor",
        mxnet=("batch_dot", "_npx_batch_dot"),
        anchor=AnchorTraits("matmul", factors=2, integer="quantized_batch_dot"),
    )
)


def _infer_matmul(attrs: Attrs, types: Sequence[TensorType]) -> list[TensorType]:
    """NumPy's rules: a vector counts as a row on the left, as a column on the right, and vanishes again."""
    op, (a, b) = "matmul", types
    for name, t in (("lhs", a), ("rhs", b)):
        want_min_rank(op, name, t, 1)
    _want_factors(op, types, integers=True)
    left = a.shape if a.ndim > 1 else (1, *a.shape)
    right = b.shape if b.ndim > 1 else (*b.shape, 1)
    _want_inner(op, a, b, left[-1], right[-2])
    batch = broadcast_shapes(op, [TensorType(left[:-2], a.dtype), TensorType(right[:-2], b.dtype)])
    rows = () if a.ndim == 1 else (left[-2],)
    columns = () if b.ndim == 1 else (right[-1],)
    return [TensorType((*batch, *rows, *columns), a.dtype)]


register(
    Op(
        "matmul",
        _infer_matmul,
        lambda attrs, a, b: np.matmul(*_widened(a, b)),
        ("lhs", "rhs"),
        kind="anchor",
        mxnet=("_npi_matmul",),
        anchor=AnchorTraits("matmul", factors=2),
    )
)


def _infer_dot(attrs: Attrs, types: Sequence[TensorType]) -> list[TensorType]:
    """NumPy's dot: the last axis of lhs with the last but one of rhs, all other axes side by side."""
    op, (a, b) = "dot", types
    _want_factors(op, types, integers=True)
    if not a.shape or not b.shape:
        return [TensorType(a.shape + b.shape, a.dtype)]
    axis = max(b.ndim - 2, 0)
    _want_inner(op, a, b, a.shape[-1], b.shape[axis])
    return [TensorType(a.shape[:-1] + b.shape[:axis] + b.shape[axis + 1 :], a.dtype)]


register(
    Op(
        "dot",
        _infer_dot,
        lambda attrs, a, b: np.dot(*_widened(a, b)),
        ("lhs", "rhs"),
        kind="anchor",
        mxnet=("_np_dot", "_npi_dot"),
        anchor=AnchorTraits("matmul", factors=2),
    )
)
