"""Normalizations over pictures: means and variances by reductions, and what they do to elements."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from minidnn.ir.graph import Entry, Node
from minidnn.lowering.builder import Builder
from minidnn.lowering.copy import lower_copy
from minidnn.lowering.expressions import apply, compute
from minidnn.lowering.reductions import Reduction, add_reduction
from minidnn.lowering.values import CHANNELS_LAST, PLAIN, Value
from minidnn.ops.registry import TensorType

__all__ = ["lower_group_norm", "lower_l2_normalization"]

_FLOAT = np.dtype(np.float32)


def lower_group_norm(
    builder: Builder, node: Node, inputs: Sequence[Value], types: Sequence[TensorType]
) -> list[Value] | None:
    """``group_norm``, and ``instance_norm``, where each channel is a group, of float32.

    A mean and a factor for each channel are what is taken from and multiplied with its elements.
    """
    data, gamma, beta = inputs
    if data.array is not None or any(v.type.dtype != _FLOAT for v in inputs):
        return None
    batch, channels, *spatial = data.shape
    pixels = math.prod(spatial)
    groups = channels if node.op_name == "instance_norm" else node.attrs.num_groups
    each = channels // groups
    data = builder.as_layout(data, data.layout)
    grouped: tuple[int, ...]
    if data.layout == CHANNELS_LAST:
        grouped, axes = (batch, pixels, groups, each), frozenset({1, 3})
        whole, small = (batch, pixels, channels), (batch, 1, channels)
    else:
        grouped, axes = (batch, groups, each * pixels), frozenset({2})
        whole, small = (batch, channels, pixels), (batch, channels, 1)
    address = builder.address(data)
    rows = Value(TensorType(grouped, _FLOAT), address)
    moments = [
        _for_channels(
            builder, add_reduction(builder, node.name, Reduction(kind, axes), rows, _type(batch, groups)), each
        )
        for kind in ("mean", "var")
    ]
    along = small[1:]
    weights = [_reshaped(builder, v, (1, *along)) for v in (gamma, beta)]
    mean, var = (_reshaped(builder, v, small) for v in moments)
    factor = compute(
        builder,
        node.name,
        {"var": var, "gamma": weights[0]},
        lambda var, gamma: apply("multiply", _inverse_root(var, node.attrs.eps), gamma),
        TensorType(small, _FLOAT),
    )
    if factor is None:
        return None
    made = compute(
        builder,
        node.name,
        {"x": Value(TensorType(whole, _FLOAT), address), "mean": mean, "factor": factor, "beta": weights[1]},
        lambda x, mean, factor, beta: apply("add", apply("multiply", apply("subtract", x, mean), factor), beta),
        TensorType(whole, _FLOAT),
    )
    return None if made is None else [Value(types[0], made.address, data.layout)]


def _type(*shape: int) -> TensorType:
    return TensorType(shape, _FLOAT)


def _inverse_root(x: Entry, eps: float) -> Entry:
    return apply("rsqrt", apply("add_scalar", x, scalar=eps))


def _reshaped(builder: Builder, value: Value, shape: tuple[int, ...]) -> Value:
    if value.array is not None:
        return builder.parameter(value.array.reshape(shape))
    return Value(TensorType(shape, value.type.dtype), builder.address(value))


def _for_channels(builder: Builder, value: Value | None, each: int) -> Value:
    """A number for each group as one for each of its channels."""
    assert value is not None, "there are kernels for moments of float32"
    if each == 1:
        return value
    batch, groups = value.shape
    result = builder.new(_type(batch, groups, each))
    lower_copy(builder, "repeat", value, (*value.strides, 0), result.address, result.strides, result.shape)
    return result


def lower_l2_normalization(
    builder: Builder, node: Node, inputs: Sequence[Value], types: Sequence[TensorType]
) -> list[Value] | None:
    """``l2_normalization`` of float32."""
    data, mode = inputs[0], node.attrs.mode
    if data.array is not None or data.type.dtype != _FLOAT:
        return None
    ndim = data.type.ndim
    axes = {"instance": range(1, ndim), "channel": (1,), "spatial": range(2, ndim)}[mode]
    kept = tuple(1 if d in axes else n for d, n in enumerate(data.shape))
    data = builder.as_layout(data, data.layout)
    total = add_reduction(builder, node.name, Reduction("norm", frozenset(axes)), data, TensorType(kept, _FLOAT))
    if total is None:
        return None
    made = compute(
        builder,
        node.name,
        {"x": data, "total": builder.as_layout(total, PLAIN)},
        lambda x, total: apply("multiply", x, _inverse_root(total, node.attrs.eps)),
        types[0],
    )
    return None if made is None else [made]
