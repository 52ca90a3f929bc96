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
from minidnn_kernels.element_type import BOOL, FLOAT32
from minidnn_kernels.epilogue import number_word
from minidnn_kernels.rows import EXTRA, ROWS_ARGUMENTS, RowSpec

__all__ = ["lower_layer_norm", "lower_masked_softmax", "lower_softmax"]

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


def lower_masked_softmax(
    builder: Builder, node: Node, inputs: Sequence[Value], types: Sequence[TensorType]
) -> list[Value] | None:
    """``masked_softmax`` and ``masked_log_softmax`` of float32."""
    data, mask = inputs
    if data.array is not None or data.type.dtype != np.float32:
        return None
    scale = 1.0 if node.attrs.temperature is None else 1.0 / node.attrs.temperature
    return [_lower(builder, node, data, EXTRA.fill(number=number_word(scale), gamma=0, beta=0), mask)]


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


def _lower(builder: Builder, node: Node, data: Value, extra: list[Argument], mask: Value | None = None) -> Value:
    ndim = data.type.ndim
    axis = node.attrs.axis % ndim
    # If no layout has this axis innermost, it is swapped with the last one, there and back.
    is_swapped = axis not in (ndim - 1, 1)
    layout = CHANNELS_LAST if axis == 1 and ndim > 2 else PLAIN
    if mask is not None:
        mask = _spread(builder, mask, data.shape, layout)
    source = builder.as_layout(data, layout)
    if is_swapped:
        source = _swapped(builder, source, axis)
        mask = None if mask is None else _swapped(builder, mask, axis)
    result = builder.new(source.type, source.layout)
    _add_step(builder, node, source, result, data.shape[axis], extra, mask)
    return _swapped(builder, result, axis) if is_swapped else result


def _spread(builder: Builder, mask: Value, shape: tuple[int, ...], layout: str) -> Value:
    """The mask with a flag for each element."""
    if mask.shape == shape and mask.array is None:
        return builder.as_layout(mask, layout)
    written = builder.spread(mask, TensorType(shape, mask.type.dtype), layout)
    assert written is not None, "inference has broadcast the mask"
    return written


def _swapped(builder: Builder, value: Value, axis: int) -> Value:
    """A copy with an axis and the last one in each other's place."""
    order = list(range(value.type.ndim))
    order[axis], order[-1] = order[-1], order[axis]
    moved = builder.new(TensorType(tuple(value.shape[d] for d in order), value.type.dtype))
    strides = tuple(value.strides[d] for d in order)
    lower_copy(builder, "reorder", value, strides, moved.address, moved.strides, moved.shape)
    return moved


def _add_step(
    builder: Builder,
    node: Node,
    source: Value,
    target: Value,
    count: int,
    extra: list[Argument],
    mask: Value | None = None,
) -> None:
    rows = math.prod(source.shape) // count
    row = ROWS_ARGUMENTS.fill(
        kernel=Kernel(RowSpec(node.op_name)),
        source=builder.address(source),
        target=target.address,
        target_pitch=count * FLOAT32.bytes,
        rows=rows,
        count=count,
        extra=extra,
        mask=0 if mask is None else builder.address(mask),
        mask_pitch=0 if mask is None else count * BOOL.bytes,
    )
    parts = max(1, min(PARTS, rows, source.type.size // _PART_ELEMENTS))
    cost = Cost(_ELEMENT_OPERATIONS * source.type.size, 2 * source.nbytes)
    builder.native(node.name, "rows_loop", row, parts, cost)
