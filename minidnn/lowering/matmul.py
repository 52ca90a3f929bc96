"""Convolution and dense layers on the tile: shapes to arguments, weights to panels, batch norm into weights."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from minidnn.lowering.algorithms import lower_product
from minidnn.lowering.anchor import Anchor, Weights, fold, make_epilogue
from minidnn.lowering.builder import Builder
from minidnn.lowering.copy import lower_copy
from minidnn.lowering.gather import broadcast_to
from minidnn.lowering.geometry import Window
from minidnn.lowering.matmul_step import Panels, Shape, add_matmul_step
from minidnn.lowering.tiling import Tiling, choose_tiling
from minidnn.lowering.values import CHANNELS_LAST, PLAIN, Array, Value
from minidnn.lowering.weight_store import Origin
from minidnn.ops.registry import TensorType
from minidnn_kernels.element_type import FLOAT32, INT8, INT32, UINT8, UINT16, element_type_of

__all__ = [
    "absorb_padding",
    "lower_batch_dot",
    "lower_by_int8_weight",
    "lower_convolution",
    "lower_dot",
    "lower_fully_connected",
    "lower_matmul",
    "lower_window",
]


def lower_convolution(builder: Builder, anchor: Anchor) -> Value | None:
    """A convolution with its epilogue as one step, of float32 or of 8-bit integers; None where no kernel fits.

    Weights of float32 data may be bfloat16.
    """
    known = _known_parameters(anchor)
    if known is None:
        return None
    weight, bias = known
    a, groups = anchor.attrs, anchor.attrs.num_group
    anchor, pad = absorb_padding(anchor)
    window = Window(anchor.inputs[0].shape[2:], anchor.type.shape[2:], a.kernel, a.stride, a.dilate, pad)
    filters, depth = weight.shape[:2]
    matrix = weight.reshape(groups, filters // groups, depth, window.taps).transpose(0, 3, 2, 1)
    return lower_window(builder, anchor, _weights(anchor, matrix, bias, 1), window)


def lower_window(builder: Builder, anchor: Anchor, weights: Weights, window: Window) -> Value | None:
    """A window that slides over the anchor's first input, by the fastest algorithm; None where no kernel fits."""
    return lower_product(builder, anchor, weights, window, anchor.inputs[0].shape[0], CHANNELS_LAST)


def _known_parameters(anchor: Anchor) -> tuple[Array, Array | None] | None:
    """The weights and the bias, if there is one, where they are known and kernels have their types."""
    weight = anchor.inputs[1].array
    bias = None if anchor.attrs.no_bias else anchor.inputs[2].array
    if weight is None or not weight.dtype.isnative or (bias is None and not anchor.attrs.no_bias):
        return None
    types = element_type_of(anchor.inputs[0].type.dtype), element_type_of(weight.dtype)
    known = ((FLOAT32, FLOAT32), (FLOAT32, UINT16), (INT8, INT8), (UINT8, INT8))
    return (weight, bias) if types in known else None


def _weights(anchor: Anchor, matrix: Array, bias: Array | None, channel_axis: int) -> Weights:
    """The bias of float32 is the epilogue's, and batch norm is folded; that of integers is what sums start from."""
    origin = Origin.of("outputs first", anchor.inputs[1].array, bias)
    if anchor.inputs[0].type.dtype == FLOAT32.dtype:
        return fold(anchor, matrix, bias, channel_axis, origin)
    start = np.zeros(matrix.shape[0] * matrix.shape[3], INT32.dtype) if bias is None else bias
    return Weights(matrix, None, anchor.following, anchor.entry, start, origin)


def absorb_padding(anchor: Anchor) -> tuple[Anchor, tuple[int, ...]]:
    """The convolution of what is inside zero padding, and the padding at the low ends of its dimensions.

    Padding need not be the same at both ends: what lies beyond the input at the high end follows from the
    shapes.
    """
    padded = anchor.inputs[0].padded
    own: tuple[int, ...] = anchor.attrs.pad
    if padded is None or padded.fill or padded.source.shape[:2] != anchor.inputs[0].shape[:2]:
        return anchor, own
    pad = tuple(a + b for a, b in zip(own, padded.low[2:], strict=True))
    return replace(anchor, inputs=(padded.source, *anchor.inputs[1:])), pad


def lower_fully_connected(builder: Builder, anchor: Anchor) -> Value | None:
    """A dense layer with its epilogue as one step, of float32 or of 8-bit integers; None where no kernel fits.

    Weights of float32 data may be bfloat16.
    """
    known = _known_parameters(anchor)
    if known is None:
        return None
    weight, bias = known
    units, depth = weight.shape
    rows = anchor.type.size // units
    window = Window((rows,), (rows,), (1,), (1,), (1,), (0,))
    matrix = weight.reshape(1, units, depth, 1).transpose(0, 3, 2, 1)
    weights = _weights(anchor, matrix, bias, anchor.type.ndim - 1)
    return lower_product(builder, anchor, weights, window, 1, PLAIN)


def lower_by_int8_weight(builder: Builder, anchor: Anchor) -> Value | None:
    """A dense layer of float32 data by int8 weights, with its epilogue, as one step."""
    data, weight, scale, *bias = anchor.inputs
    arrays = [value.array for value in (weight, scale, *bias)]
    known = [array for array in arrays if array is not None]
    if data.type.dtype != FLOAT32.dtype or len(known) < len(arrays):
        return None
    units, depth = weight.shape
    rows = anchor.type.size // units
    window = Window((rows,), (rows,), (1,), (1,), (1,), (0,))
    matrix = known[0].reshape(1, units, depth, 1).transpose(0, 3, 2, 1)
    own_bias = known[2] if bias else None
    origin = Origin.of("outputs first, by float32", *known)
    weights = Weights(matrix, own_bias, anchor.following, anchor.entry, origin=origin, channel=known[1])
    return lower_product(builder, anchor, weights, window, 1, PLAIN)


def lower_batch_dot(builder: Builder, anchor: Anchor) -> Value | None:
    """``batch_dot``: (B, M, K) by (B, K, N), either transposed by attribute."""
    a = anchor.attrs
    return _lower_product(builder, anchor, a.transpose_a, a.transpose_b)


def lower_matmul(builder: Builder, anchor: Anchor) -> Value | None:
    """``matmul`` of matrices, and of stacks of them whose leading dimensions broadcast."""
    return _lower_product(builder, anchor, False, False)


def lower_dot(builder: Builder, anchor: Anchor) -> Value | None:
    """``dot`` with a single matrix on the right."""
    if math.prod(anchor.inputs[1].shape[:-2]) != 1:
        return None
    return _lower_product(builder, anchor, False, False)


def _lower_product(builder: Builder, anchor: Anchor, transpose_a: bool, transpose_b: bool) -> Value | None:
    """A product of two tensors. The right one is packed into panels on the way, or now if it is a known matrix."""
    left, right = anchor.inputs
    if {left.type.dtype, right.type.dtype} != {np.dtype(np.float32)} or min(left.type.ndim, right.type.ndim) < 2:
        return None
    if math.prod(right.shape[:-2]) == 1 and not transpose_a and not transpose_b:
        # One matrix for all rows of the left operand, however many dimensions they fill.
        right, images, rows = _as_matrix(builder, right), 1, math.prod(left.shape[:-1])
    else:
        front = anchor.type.shape[:-2]
        left, right = (_spread_over(builder, anchor.name, v, front) for v in (left, right))
        images, rows = math.prod(front), anchor.type.shape[-2]
    if left.array is not None:
        left = Value(left.type, builder.address(left))
    columns = anchor.type.shape[-1]
    depth = left.shape[-2] if transpose_a else left.shape[-1]
    if right.type.ndim == 2 and right.array is not None:
        window = Window((rows,), (rows,), (1,), (1,), (1,), (0,))
        matrix, origin = right.array.reshape(1, 1, depth, columns), Origin.of("inputs first", right.array)
        weights = fold(anchor, matrix, None, anchor.type.ndim - 1, origin)
        return lower_product(builder, anchor, weights, window, 1, PLAIN)
    bound = make_epilogue(
        builder, anchor, Weights(None, None, anchor.following, anchor.entry), PLAIN, anchor.type.ndim - 1
    )
    if bound is None:
        return None
    made = anchor.type.shape if anchor.usual is None else anchor.usual
    usual = (math.prod(made[:-1]) if images == 1 else made[-2], made[-1]) if builder.varies else None
    tiling = choose_tiling(builder.isa, images, rows, 1, depth, 1, columns, usual=usual)
    source = builder.as_layout(left, PLAIN)
    if transpose_a:
        source = _swapped(builder, anchor.name, source)
    panels = _pack_panels(builder, anchor.name, right, images, (depth, columns), tiling, transpose_b)
    window = Window((rows,), (rows,), (1,), (1,), (1,), (0,))
    shape = Shape(images, 1, 1, depth, columns, depth)
    return add_matmul_step(builder, anchor, bound, tiling, source, panels, window, shape, PLAIN)


def _as_matrix(builder: Builder, value: Value) -> Value:
    """A tensor whose leading dimensions have one element each as a matrix."""
    if value.type.ndim == 2:
        return value
    type = TensorType(value.shape[-2:], value.type.dtype)
    if value.array is not None:
        return replace(value, type=type, array=value.array.reshape(type.shape))
    return Value(type, builder.address(builder.as_layout(value, PLAIN)))


def _spread_over(builder: Builder, name: str, value: Value, front: tuple[int, ...]) -> Value:
    """A stack of matrices with these leading dimensions: itself, or a copy."""
    shape = (*front, *value.shape[-2:])
    return value if value.shape == shape else broadcast_to(builder, name, builder.as_layout(value, PLAIN), shape)


def _swapped(builder: Builder, name: str, value: Value) -> Value:
    """The last two dimensions swapped, in memory."""
    shape = (*value.shape[:-2], value.shape[-1], value.shape[-2])
    result = builder.new(TensorType(shape, value.type.dtype))
    strides = (*value.strides[:-2], value.strides[-1], value.strides[-2])
    lower_copy(builder, name, value, strides, result.address, result.strides, shape)
    return result


def _pack_panels(
    builder: Builder,
    name: str,
    value: Value,
    images: int,
    matrix: tuple[int, int],
    tiling: Tiling,
    transposed: bool,
) -> Panels:
    """Panels of a tensor that a run computes: a copy of the whole ones, and one of what is left.

    Columns that do not exist are not written: what the tile computes from them is not stored.
    """
    depth, columns = matrix
    width = tiling.vectors * builder.isa.lanes
    count, whole = -(-columns // width), columns // width
    item = value.type.dtype.itemsize
    pitch = depth * width * item
    target = builder.temporary(images * count * pitch)
    source = builder.as_layout(value, PLAIN)
    row, column = (item, depth * item) if transposed else (columns * item, item)
    outer = depth * columns * item
    if whole:
        lower_copy(
            builder,
            name,
            source,
            (outer, width * column, row, column),
            target,
            (count * pitch, pitch, width * item, item),
            (images, whole, depth, width),
        )
    if whole < count:
        lower_copy(
            builder,
            name,
            source,
            (outer, row, column),
            target + whole * pitch,
            (count * pitch, width * item, item),
            (images, depth, columns - whole * width),
            whole * width * column,
        )
    return Panels(target, pitch, 0, count * pitch, depth)
