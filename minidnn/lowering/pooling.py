"""Pooling over windows or whole images, and reductions that are the same thing."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from minidnn.ir.graph import Entry, Node
from minidnn.lowering.builder import Builder
from minidnn.lowering.geometry import TABLES, Window, tap_pixels
from minidnn.lowering.tiling import PARTS
from minidnn.lowering.values import CHANNELS_LAST, PLAIN, Array, Value
from minidnn.ops.registry import Attrs, TensorType, get_op
from minidnn.plan.program import Cost, Kernel
from minidnn_kernels.element_type import FLOAT32, INT8, UINT8, element_type_of
from minidnn_kernels.epilogue import number_word
from minidnn_kernels.pooling import GLOBAL_POOL_ARGUMENTS, MAX_TAPS, POOL_ARGUMENTS, STRIDED, PoolSpec

__all__ = ["lower_dequantized_pooling", "lower_pooling", "lower_reduction"]

_PART_ELEMENTS = 32 * 1024


def lower_pooling(
    builder: Builder, node: Node, inputs: Sequence[Value], types: Sequence[TensorType]
) -> list[Value] | None:
    """Maximum, average and sum over windows of one to three dimensions, or over the whole image."""
    if inputs[0].type.dtype != types[0].dtype or (node.attrs.pool_type != "max" and types[0].dtype != np.float32):
        return None
    value = add_pooling(builder, node.name, node.attrs, inputs[0], types[0])
    return None if value is None else [value]


def lower_dequantized_pooling(
    builder: Builder, name: str, nodes: Sequence[Node], outside: Mapping[Entry, Value]
) -> Value | None:
    """A dequantization and the average pooling of what it gives, in one step: None if `nodes` are not that."""
    if [n.op_name for n in nodes] != ["dequantize", "pooling"] or nodes[1].inputs != (nodes[0][0],):
        return None
    dequantize, pooling = nodes
    if dequantize.attrs.per_channel or pooling.attrs.pool_type == "max":
        return None
    scale = outside[dequantize.inputs[1]].array
    if scale is None:
        return None
    data = outside[dequantize.inputs[0]]
    type = pooling.infer_types([TensorType(data.shape, np.dtype(np.float32))])[0]
    return add_pooling(builder, name, pooling.attrs, data, type, float(scale.reshape(-1)[0]))


def add_pooling(
    builder: Builder, name: str, a: Attrs, data: Value, type: TensorType, scale: float = 1.0
) -> Value | None:
    """A pooling step over float32 or 8-bit data; `scale` multiplies averages and sums."""
    kind = element_type_of(data.type.dtype)
    if kind not in (FLOAT32, INT8, UINT8) or data.array is not None:
        return None
    images, channels, *spatial = data.shape
    source = builder.as_layout(data, CHANNELS_LAST)
    result = builder.new(type, CHANNELS_LAST)
    if a.global_pool:
        pixels = math.prod(spatial)
        factor = scale / pixels if a.pool_type == "avg" else scale
        shape = (images, pixels, channels)
        _add_whole(builder, name, source, result, shape, a.pool_type, factor)
        return result
    window = Window(tuple(spatial), type.shape[2:], a.kernel, a.stride, (1,) * len(spatial), a.pad)
    if window.taps > MAX_TAPS:
        return None
    pixels = window.pixels
    block = max(1, min(pixels, _PART_ELEMENTS // (channels * window.taps) + 1))
    block = max(block, -(-pixels * images // PARTS))
    block = min(block, pixels)
    blocks = -(-pixels // block)
    row = POOL_ARGUMENTS.fill(
        kernel=Kernel(PoolSpec("max" if a.pool_type == "max" else "sum", data=kind.name)),
        source=builder.address(source),
        target=result.address,
        image_pitch=math.prod(spatial) * channels * kind.bytes,
        pixel_pitch=channels * kind.bytes,
        target_pitch=channels * type.dtype.itemsize,
        table=builder.table(_taps(window)),
        taps=window.taps,
        pixels=pixels,
        block=block,
        blocks=blocks,
        factors=builder.constant(_factors(a, window, scale)),
        channels=channels,
    )
    cost = Cost(images * pixels * window.taps * channels, data.nbytes + result.nbytes)
    builder.native(name, "pool_loop", row, images * blocks, cost)
    return result


def _taps(window: Window) -> Array:
    (table,) = TABLES.share(("taps", window), (), lambda: (tap_pixels(window),))
    return table


def _factors(attrs: Attrs, window: Window, scale: float) -> Array:
    """What each output pixel's sum is multiplied by, float32 [pixels].

    Which elements an average counts is for the operator to say: its reference averages an image of ones,
    and that, over the number of ones a window sees, is the factor.
    """
    if attrs.pool_type != "avg":
        return np.full(window.pixels, scale, np.float32)
    average = get_op("pooling").reference(attrs, np.ones((1, 1, *window.input), np.float64))
    factors: Array = (scale * average.reshape(-1) / (_taps(window) >= 0).sum(1)).astype(np.float32)
    return factors


def _add_whole(
    builder: Builder,
    name: str,
    source: Value,
    target: Value,
    shape: tuple[int, int, int],
    operation: str,
    factor: float,
) -> None:
    """A step that reduces the middle dimension of (images, pixels, channels)."""
    images, pixels, channels = shape
    lanes = builder.isa.lanes
    kind, target_item = element_type_of(source.type.dtype), target.type.dtype.itemsize
    assert kind is not None
    extra = np.array(STRIDED.fill(factor=number_word(factor), pixel_pitch=channels * kind.bytes), np.int64)
    blocks = max(1, min(PARTS // images, images * pixels * channels // _PART_ELEMENTS, -(-channels // lanes)))
    share = -(-channels // blocks)
    block = -(-share // lanes) * lanes
    blocks = -(-channels // block)
    row = GLOBAL_POOL_ARGUMENTS.fill(
        kernel=Kernel(PoolSpec("max" if operation == "max" else "sum", True, kind.name)),
        source=builder.address(source),
        target=target.address,
        image_pitch=pixels * channels * kind.bytes,
        target_pitch=channels * target_item,
        pixels=pixels,
        block=block,
        blocks=blocks,
        extra=builder.constant(extra),
        channels=channels,
        item=kind.bytes,
        target_item=target_item,
    )
    cost = Cost(images * pixels * channels, source.nbytes + target.nbytes)
    builder.native(name, "global_pool_loop", row, images * blocks, cost)


def lower_reduction(
    builder: Builder, node: Node, inputs: Sequence[Value], types: Sequence[TensorType]
) -> list[Value] | None:
    """Sum, mean and maximum over dimensions that lie together in memory and are not the innermost."""
    data = inputs[0]
    if data.type.dtype != np.float32 or types[0].dtype != np.float32 or data.array is not None:
        return None
    ndim = data.type.ndim
    axes = sorted(range(ndim) if node.attrs.axis is None else {a % ndim for a in node.attrs.axis})
    spatial = list(range(2, ndim))
    if ndim > 2 and axes == spatial:
        shape = (data.shape[0], math.prod(data.shape[2:]), data.shape[1])
        source = builder.as_layout(data, CHANNELS_LAST)
    elif axes and axes == list(range(axes[0], axes[-1] + 1)) and axes[-1] < ndim - 1:
        source = builder.as_layout(data, PLAIN)
        shape = (
            math.prod(data.shape[: axes[0]]),
            math.prod(data.shape[axes[0] : axes[-1] + 1]),
            math.prod(data.shape[axes[-1] + 1 :]),
        )
    else:
        return None
    operation = {"sum": "sum", "mean": "avg", "max": "max"}[node.op_name]
    factor = 1.0 / shape[1] if operation == "avg" else 1.0
    # What is left is in C order either way: of (N, C, spatial) only N and C, of the others all but the middle.
    result = builder.new(types[0], PLAIN)
    _add_whole(builder, node.name, source, result, shape, operation, factor)
    return [result]
