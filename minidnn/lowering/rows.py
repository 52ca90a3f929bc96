"""Softmax, log-softmax and layer normalization along any axis."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from minidnn.ir.graph import Node
from minidnn.lowering.builder import Builder
from minidnn.lowering.copy import lower_copy
from minidnn.lowering.tiling import PARTS
from minidnn.lowering.values import CHANNELS_LAST, PLAIN, Value
from minidnn.ops.registry import TensorType
from minidnn.plan.program import Argument, Cost, Kernel
from minidnn_kernels.epilogue import number_word
from minidnn_kernels.rows import EXTRA, ROWS_ARGUMENTS, RowSpec

__all__ = ["lower_layer_norm", "lower_softmax"]

_PART_ELEMENTS = 8 * 1024
# Arithmetic operations an element costs, for the profiler: a polynomial exponential and two passes.
_ELEMENT_OPERATIONS = 30


def lower_softmax(
    builder: Builder, node: Node, inputs: Sequence[Value], types: Sequence[TensorType]
) -> list[Value] | None:
    """``softmax`` and ``log_softmax`` of float32, without lengths."""
    data = inputs[0]
    if len(inputs) > 1 or data.array is not None or {data.type.dtype, types[0].dtype} != {np.dtype(np.float32)}:
        return None
    scale = 1.0 if node.attrs.temperature is None else 1.0 / node.attrs.temperature
    return [_lower(builder, node, data, EXTRA.fill(number=number_word(scale), gamma=0, beta=0))]


def lower_layer_norm(
    builder: Builder, node: Node, inputs: Sequence[Value], types: Sequence[TensorType]
) -> list[Value] | None:
    """``layer_norm`` of float32."""
    if inputs[0].array is not None or any(v.type.dtype != np.float32 for v in inputs):
        return None
    data, gamma, beta = inputs
    number = number_word(node.attrs.eps)
    extra = EXTRA.fill(number=number, gamma=builder.address(gamma), beta=builder.address(beta))
    return [_lower(builder, node, data, extra)]


def _lower(builder: Builder, node: Node, data: Value, extra: list[Argument]) -> Value:
    ndim = data.type.ndim
    axis = node.attrs.axis % ndim
    if axis == ndim - 1:
        source = builder.as_layout(data, PLAIN)
    elif axis == 1:
        source = builder.as_layout(data, CHANNELS_LAST)
    else:
        # No layout has this axis innermost: swap it with the last one, there and back.
        return _swapped(builder, node, data, extra, axis)
    result = builder.new(data.type, source.layout)
    _add_step(builder, node, source, result, data.shape[axis], extra)
    return result


def _swapped(builder: Builder, node: Node, data: Value, extra: list[Argument], axis: int) -> Value:
    plain = builder.as_layout(data, PLAIN)
    order = list(range(data.type.ndim))
    order[axis], order[-1] = order[-1], order[axis]
    shape = tuple(data.shape[d] for d in order)
    moved = builder.new(TensorType(shape, data.type.dtype))
    strides = tuple(plain.strides[d] for d in order)
    lower_copy(builder, "reorder", plain, strides, moved.address, moved.strides, shape)
    computed = builder.new(moved.type)
    _add_step(builder, node, moved, computed, shape[-1], extra)
    result = builder.new(data.type)
    back = tuple(result.strides[d] for d in order)
    lower_copy(builder, "reorder", computed, computed.strides, result.address, back, shape)
    return result


def _add_step(builder: Builder, node: Node, source: Value, target: Value, count: int, extra: list[Argument]) -> None:
    rows = math.prod(source.shape) // count
    row = ROWS_ARGUMENTS.fill(
        kernel=Kernel(RowSpec(node.op_name)),
        source=builder.address(source),
        target=target.address,
        rows=rows,
        count=count,
        extra=extra,
    )
    parts = max(1, min(PARTS, rows, source.type.size // _PART_ELEMENTS))
    cost = Cost(_ELEMENT_OPERATIONS * source.type.size, 2 * source.nbytes)
    builder.native(node.name, "rows_loop", row, parts, cost)
