"""Operators that move data: a new name for the same memory, and one strided copy where a reader needs an order.

What such an operator does to strides is asked of its own reference: run on an array of the right shape and
strides, NumPy gives a view, and the view's offset and strides say it all. So there is one rule for transpose,
slice, split, flip, broadcast, expand_dims and every operator like them.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from minidnn.ir.graph import Node
from minidnn.lowering.builder import Builder
from minidnn.lowering.copy import lower_copy
from minidnn.lowering.values import CHANNELS_LAST, PLAIN, Array, Value, View, physical_order, strides_of
from minidnn.ops.registry import TensorType

__all__ = ["lower_concatenate", "lower_stack", "lower_view", "lower_view_bits"]


def lower_view(
    builder: Builder, node: Node, inputs: Sequence[Value], types: Sequence[TensorType]
) -> list[Value] | None:
    """Outputs as views of the first input; None if the reference does not give a view."""
    assert node.op is not None
    value = inputs[0]
    if value.array is not None:
        return _known_views(builder, node, inputs)
    layouts = dict.fromkeys((_AS_IT_IS, PLAIN) if value.view is not None else (value.layout, PLAIN))
    for layout in layouts:
        memory, stand_in = _stand_in(value, layout)
        others = [np.empty(v.shape, v.type.dtype) for v in inputs[1:]]
        results = node.op.reference(node.attrs, stand_in, *others)
        views = results if isinstance(results, tuple) else (results,)
        # A dropout of integers gives floats, though its reference leaves that to who calls it.
        same = all(v.dtype == stand_in.dtype == t.dtype for v, t in zip(views, types, strict=True))
        if same and all(np.may_share_memory(v, memory) for v in views):
            view = value.view if layout == _AS_IT_IS else None
            source = builder.as_layout(value, layout) if view is None else view.source
            return [_placed(builder, node, source, memory, v, t) for v, t in zip(views, types, strict=True)]
    return None


def lower_view_bits(
    builder: Builder, node: Node, inputs: Sequence[Value], types: Sequence[TensorType]
) -> list[Value] | None:
    """``view_bits``: the same memory."""
    if inputs[0].array is not None:
        return None
    return [Value(types[0], builder.address(builder.as_layout(inputs[0], PLAIN)))]


def _known_views(builder: Builder, node: Node, inputs: Sequence[Value]) -> list[Value] | None:
    """Views of numbers that are known, and too large to be copied ahead."""
    assert node.op is not None
    array = inputs[0].array
    assert array is not None
    others = [np.broadcast_to(np.empty((), v.type.dtype), v.shape) for v in inputs[1:]]
    results = node.op.reference(node.attrs, array, *others)
    views = results if isinstance(results, tuple) else (results,)
    return [builder.parameter(v) for v in views] if all(np.may_share_memory(v, array) for v in views) else None


# Of a view, beside the layouts: as the other tensor's memory has it.
_AS_IT_IS = "view"


def _stand_in(value: Value, layout: str) -> tuple[Array, Array]:
    """Memory, and in it an array of the value's shape and strides; its numbers are never looked at."""
    if layout == _AS_IT_IS:
        view = value.view
        assert view is not None
        memory = np.empty(view.source.nbytes, np.uint8)
        return memory, np.ndarray(value.shape, value.type.dtype, memory.data, view.offset, view.strides)
    order = physical_order(len(value.shape), layout)
    memory = np.empty(tuple(value.shape[d] for d in order), value.type.dtype)
    return memory, memory.transpose(np.argsort(order))


def _placed(builder: Builder, node: Node, source: Value, memory: Array, view: Array, type: TensorType) -> Value:
    offset = view.ctypes.data - memory.ctypes.data
    item = type.dtype.itemsize
    view = view.reshape(type.shape) if view.shape != type.shape else view
    address = builder.address(source) + offset
    for layout in (PLAIN, CHANNELS_LAST) if len(type.shape) > 2 else (PLAIN,):
        wanted = strides_of(type.shape, item, layout)
        if all(n == 1 or a == b for n, a, b in zip(type.shape, view.strides, wanted, strict=True)):
            return Value(type, address, layout)
    return Value(type, address, PLAIN, view=View(source, offset, view.strides, node.name))


def lower_concatenate(
    builder: Builder, node: Node, inputs: Sequence[Value], types: Sequence[TensorType]
) -> list[Value] | None:
    """Each input is copied to its place; channels-last inputs stay so."""
    if any(v.type.dtype != types[0].dtype for v in inputs):
        return None
    type, axis = types[0], node.attrs.axis % types[0].ndim
    layout = CHANNELS_LAST if any(v.layout == CHANNELS_LAST for v in inputs) else PLAIN
    result = builder.new(type, layout)
    offset = 0
    for value in inputs:
        source = builder.as_layout(value, layout)
        target = result.address + offset
        lower_copy(builder, node.name, source, source.strides, target, result.strides, source.shape)
        offset += value.shape[axis] * result.strides[axis]
    return [result]


def lower_stack(
    builder: Builder, node: Node, inputs: Sequence[Value], types: Sequence[TensorType]
) -> list[Value] | None:
    """Each input is copied to its place along the new axis."""
    if any(v.type.dtype != types[0].dtype for v in inputs):
        return None
    type, axis = types[0], node.attrs.axis % types[0].ndim
    result = builder.new(type, PLAIN)
    strides = (*result.strides[:axis], *result.strides[axis + 1 :])
    for number, value in enumerate(inputs):
        source = builder.as_layout(value, PLAIN)
        target = result.address + number * result.strides[axis]
        lower_copy(builder, node.name, source, source.strides, target, strides, source.shape)
    return [result]
