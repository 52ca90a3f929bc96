"""Convolution and dense layers on the tile: shapes to arguments, weights to panels, batch norm into weights."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from minidnn.lowering.anchor import Anchor, Weights, arguments_row, fold, make_tail
from minidnn.lowering.builder import Builder
from minidnn.lowering.depthwise import lower_depthwise
from minidnn.lowering.geometry import Window, pixel_table
from minidnn.lowering.tiling import choose_tiling
from minidnn.lowering.values import CHANNELS_LAST, PLAIN, Value
from minidnn.lowering.winograd import lower_winograd, winograd_pays
from minidnn.runtime.program import Argument, Cost, Kernel
from minidnn_kernels.matmul import MAX_POINTERS, Arguments, pack_panels
from minidnn_kernels.tile import TileSpec

__all__ = ["lower_convolution", "lower_fully_connected"]


def lower_convolution(builder: Builder, anchor: Anchor) -> Value | None:
    """A convolution with its tail as one step; None where no kernel fits (weights not known, not float32)."""
    weight = anchor.inputs[1].array
    bias = None if anchor.attrs.no_bias else anchor.inputs[2].array
    if weight is None or (bias is None and not anchor.attrs.no_bias) or weight.dtype != np.float32:
        return None
    a, groups = anchor.attrs, anchor.attrs.num_group
    anchor, pad = _absorb_padding(anchor)
    data = anchor.inputs[0]
    window = Window(data.shape[2:], anchor.type.shape[2:], a.kernel, a.stride, a.dilate, pad)
    filters, depth = weight.shape[:2]
    matrix = weight.reshape(groups, filters // groups, depth, window.taps).transpose(0, 3, 2, 1)
    folded = fold(anchor, matrix, bias, 1)
    if depth == 1 and filters == groups and groups > 1:
        value = lower_depthwise(builder, anchor, folded, window)
        if value is not None:
            return value
    if winograd_pays(builder.isa, data.shape[0], groups, depth, filters, window):
        value = lower_winograd(builder, anchor, folded, window)
        if value is not None:
            return value
    return _lower(builder, anchor, data, folded, window, data.shape[0], CHANNELS_LAST)


def _absorb_padding(anchor: Anchor) -> tuple[Anchor, tuple[int, ...]]:
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
    """A dense layer with its tail as one step; None where no kernel fits."""
    data, weight = anchor.inputs[0], anchor.inputs[1].array
    bias = None if anchor.attrs.no_bias else anchor.inputs[2].array
    if weight is None or (bias is None and not anchor.attrs.no_bias) or data.type.dtype != np.float32:
        return None
    units, depth = weight.shape
    rows = anchor.type.size // units
    window = Window((rows,), (rows,), (1,), (1,), (1,), (0,))
    matrix = weight.reshape(1, units, depth, 1).transpose(0, 3, 2, 1)
    return _lower(builder, anchor, data, fold(anchor, matrix, bias, anchor.type.ndim - 1), window, 1, PLAIN)


def _lower(
    builder: Builder, anchor: Anchor, data: Value, weights: Weights, window: Window, images: int, layout: str
) -> Value | None:
    groups, taps, depth, columns = weights.matrix.shape
    channel_axis = 1 if layout == CHANNELS_LAST else anchor.type.ndim - 1
    tail = make_tail(builder, anchor, weights, layout, channel_axis)
    if tail is None or taps > MAX_POINTERS:
        return None
    isa = builder.isa
    tiling = choose_tiling(isa, images, window.pixels, taps, depth, groups, columns)
    panel_columns = tiling.vectors * isa.lanes
    packed = pack_panels(weights.matrix, panel_columns)
    source = builder.as_layout(data, layout)
    result = builder.new(anchor.type, layout)
    strips, panels = -(-window.pixels // tiling.rows), packed.shape[1]
    blocks, panel_blocks = -(-strips // tiling.block_strips), -(-panels // tiling.block_panels)
    names = {
        "TILE": Kernel(TileSpec(tiling.rows, tiling.vectors, tail.epilogue)),
        "TAIL_TILE": Kernel(TileSpec(tiling.rows, tiling.vectors, tail.epilogue, masked=columns % panel_columns != 0)),
        "SOURCE": builder.address(source),
        "ZEROS": builder.zeros(depth),
        "IMAGE_PITCH": math.prod(window.input) * groups * depth * 4,
        "PIXEL_PITCH": groups * depth * 4,
        "SOURCE_GROUP": depth * 4,
        "TABLE": builder.constant(pixel_table(window, tiling.rows)),
        "TAPS": taps,
        "DEPTH": depth,
        "WEIGHTS": builder.constant(packed),
        "PANEL_PITCH": taps * depth * panel_columns * 4,
        "WEIGHT_GROUP": panels * taps * depth * panel_columns * 4,
        "ROWS": tiling.rows,
        "COLUMNS": panel_columns,
        "PIXELS": window.pixels,
        "BLOCK_STRIPS": tiling.block_strips,
        "BLOCKS": blocks,
        "GROUPS": groups,
        "GROUP_COLUMNS": columns,
        "BLOCK_PANELS": tiling.block_panels,
        "PANEL_BLOCKS": panel_blocks,
    }
    pitch = groups * columns * 4
    context: list[Argument] = [result.address, pitch]
    for value, kind in zip(tail.operands, tail.epilogue.operands, strict=True):
        context += [builder.address(value), pitch if kind == "tensor" else 0]
    arguments = arguments_row(Arguments(), names, context)
    operations = 2 * images * window.pixels * taps * depth * groups * columns
    moved = data.nbytes + packed.nbytes + result.nbytes * (1 + tail.epilogue.operands.count("tensor"))
    parts = images * blocks * groups * panel_blocks
    builder.native(anchor.name, "matmul_loop", arguments, parts, Cost(operations, moved))
    return result
