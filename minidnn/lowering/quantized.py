"""Int8 convolution, dense layers and products: the same loops and tiles as float32, other panels."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from minidnn.lowering.anchor import Anchor, Weights, make_tail
from minidnn.lowering.builder import Builder
from minidnn.lowering.copy import lower_copy
from minidnn.lowering.depthwise import lower_depthwise
from minidnn.lowering.elementwise import add_rows_step
from minidnn.lowering.geometry import Window
from minidnn.lowering.matmul import absorb_padding, known_product, lower_batch_dot
from minidnn.lowering.matmul_step import Panels, add_matmul_step
from minidnn.lowering.memory import TEMPORARY
from minidnn.lowering.tiling import choose_tiling
from minidnn.lowering.values import CHANNELS_LAST, PLAIN, Array, Value
from minidnn.lowering.winograd import lower_winograd
from minidnn.ops.registry import TensorType
from minidnn.plan.program import Cost, Kernel
from minidnn_kernels.dot import best_dot
from minidnn_kernels.element_type import FLOAT32, INT8, UINT8, element_type_of
from minidnn_kernels.elementwise import ElementwiseSpec
from minidnn_kernels.epilogue import Epilogue, tensor_kind
from minidnn_kernels.matmul import MAX_POINTERS, pack_integer_panels

__all__ = ["lower_quantized_batch_dot", "lower_quantized_convolution", "lower_quantized_fully_connected"]


def lower_quantized_convolution(builder: Builder, anchor: Anchor) -> Value | None:
    """An int8 convolution with its tail as one step; None where no kernel fits."""
    known = _known_weights(anchor)
    if known is None:
        return None
    weight, bias = known
    a, groups = anchor.attrs, anchor.attrs.num_group
    anchor, pad = absorb_padding(anchor)
    data = anchor.inputs[0]
    window = Window(data.shape[2:], anchor.type.shape[2:], a.kernel, a.stride, a.dilate, pad)
    filters, depth = weight.shape[:2]
    matrix = weight.reshape(groups, filters // groups, depth, window.taps).transpose(0, 3, 2, 1)
    weights = Weights(matrix, bias, anchor.tail, anchor.entry)
    if depth == 1 and filters == groups and groups > 1:
        value = builder.attempt(lambda: lower_depthwise(builder, anchor, weights, window))
        if value is not None:
            return value
    value = builder.attempt(lambda: lower_winograd(builder, anchor, weights, window))
    if value is not None:
        return value
    return _lower(builder, anchor, weights, window, data.shape[0], CHANNELS_LAST)


def lower_quantized_fully_connected(builder: Builder, anchor: Anchor) -> Value | None:
    """An int8 dense layer with its tail as one step; None where no kernel fits."""
    known = _known_weights(anchor)
    if known is None:
        return None
    weight, bias = known
    units, depth = weight.shape
    rows = anchor.type.size // units
    window = Window((rows,), (rows,), (1,), (1,), (1,), (0,))
    matrix = weight.reshape(1, units, depth, 1).transpose(0, 3, 2, 1)
    return _lower(builder, anchor, Weights(matrix, bias, anchor.tail, anchor.entry), window, 1, PLAIN)


def lower_quantized_batch_dot(builder: Builder, anchor: Anchor) -> Value | None:
    """An int8 ``batch_dot`` with its tail, by the kernel of float32; None where that would not be exact.

    Both factors are computed by the run, so nothing can be packed ahead, and there is nothing to gain from int8.
    Float32 holds all integers up to 2^24: with fewer products in a sum every step of it is exact.
    """
    left, right = anchor.inputs
    depth = left.shape[-2] if anchor.attrs.transpose_a else left.shape[-1]
    dtypes = [value.type.dtype for value in (left, right)]
    if not anchor.tail or any(dtype not in (np.int8, np.uint8) for dtype in dtypes):
        return None
    # The largest number of a type is the least one of int8 without its sign.
    if depth * math.prod(max(-np.iinfo(dtype).min, np.iinfo(dtype).max) for dtype in dtypes) > 2**24:
        return None
    factors = tuple(_as_float(builder, anchor.name, value) for value in (left, right))
    return lower_batch_dot(builder, replace(anchor, inputs=factors))


def _as_float(builder: Builder, name: str, value: Value) -> Value:
    """An 8-bit tensor's numbers as float32."""
    source = builder.as_layout(value, PLAIN)
    result = builder.new(TensorType(value.shape, np.dtype(np.float32)))
    type = element_type_of(value.type.dtype)
    assert type is not None
    kernel = Kernel(ElementwiseSpec(Epilogue((), (tensor_kind(type),))))
    cost = Cost(0, source.nbytes + result.nbytes)
    add_rows_step(builder, name, kernel, [result, source], (value.type.size,), [(FLOAT32.bytes,), (type.bytes,)], cost)
    return result


def _known_weights(anchor: Anchor) -> tuple[Array, Array] | None:
    """Int8 weights and int32 bias (zeros if there is none), if they are known and the data is 8 bits wide."""
    weight = anchor.inputs[1].array
    if weight is None or weight.dtype != np.int8 or element_type_of(anchor.inputs[0].type.dtype) not in (INT8, UINT8):
        return None
    if anchor.attrs.no_bias:
        return weight, np.zeros(weight.shape[0], np.int32)
    bias = anchor.inputs[2].array
    return None if bias is None else (weight, bias)


def _lower(
    builder: Builder, anchor: Anchor, weights: Weights, window: Window, images: int, layout: str
) -> Value | None:
    assert weights.matrix is not None and weights.bias is not None
    channel_axis = 1 if layout == CHANNELS_LAST else anchor.type.ndim - 1
    tail = make_tail(builder, anchor, replace(weights, bias=None), layout, channel_axis)
    if tail is None or window.taps > MAX_POINTERS:
        return None
    isa, data = builder.isa, anchor.inputs[0]
    source, matrix, window, shape = known_product(builder, data, weights.matrix, window, images, layout)
    groups, taps, depth, columns = matrix.shape
    type = element_type_of(data.type.dtype)
    assert type is not None
    name = best_dot(isa, type.name, matrix)
    dot = type.dot(isa, name)
    tiling = choose_tiling(isa, images, window.pixels, taps, -(-depth // dot.group), groups, columns, dot.fits)
    width = tiling.vectors * isa.lanes
    packed, steps = pack_integer_panels(matrix, weights.bias.reshape(groups, columns), width, dot, isa.lanes)
    count, pitch = packed.shape[1:]
    panels = Panels(builder.constant(packed), count, pitch, count * pitch, 0, steps)
    source = _with_room(builder, source, dot.row_bytes(steps) > depth)
    return add_matmul_step(builder, anchor, tail, tiling, source, panels, window, shape, layout, name)


def _with_room(builder: Builder, value: Value, needed: bool) -> Value:
    """The value in the arena, which has room behind it: a step reads whole groups, the last maybe beyond the end."""
    if not needed or value.address.buffer.kind == TEMPORARY:
        return value
    result = builder.new(value.type, value.layout)
    lower_copy(builder, "copy", value, value.strides, result.address, result.strides, value.shape)
    return result
