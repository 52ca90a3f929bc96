"""Convolution and dense layers on the tile: shapes to arguments, weights to panels, batch norm into weights."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from minidnn_kernels.matmul import MAX_POINTERS, Arguments, pack_panels
from minidnn_kernels.tile import TileSpec

from minidnn.lowering.builder import Builder
from minidnn.lowering.geometry import Window, pixel_table
from minidnn.lowering.tail import Tail, TailBuilder, batch_norm_affine
from minidnn.lowering.tiling import choose_tiling
from minidnn.lowering.values import CHANNELS_LAST, PLAIN, Array, Value
from minidnn.ops.registry import Attrs, TensorType
from minidnn.runtime.program import Argument, Cost, Kernel
from minidnn.symbol.graph import Entry, Node

__all__ = ["Anchor", "lower_convolution", "lower_fully_connected"]


@dataclass(frozen=True)
class Anchor:
    """An anchor and what is fused behind it.

    Args:
        name: of the node in the graph.
        attrs: of the anchor.
        inputs: its values.
        type: of its output, which is the tail's too.
        tail: the nodes after it, inputs before users; the last one is the result.
        entry: the anchor's output, as the tail's nodes refer to it.
        outside: values of every other entry the tail reads.
    """

    name: str
    attrs: Attrs
    inputs: Sequence[Value]
    type: TensorType
    entry: Entry | None = None
    tail: tuple[Node, ...] = ()
    outside: Mapping[Entry, Value] | None = None


@dataclass(frozen=True)
class _Weights:
    """Weights [groups, taps, depth, columns per group] and bias (columns,), batch norm folded in."""

    matrix: Array
    bias: Array | None
    rest: tuple[Node, ...]
    result: Entry | None


def _fold(anchor: Anchor, matrix: Array, bias: Array | None, channel_axis: int) -> _Weights:
    """Fold the batch norm that directly follows the anchor, if there is one, into weights and bias.

    A batch norm is ``x * scale + shift`` for each output channel, so it is the same convolution with
    weights ``w * scale`` and bias ``b * scale + shift``.
    """
    assert anchor.outside is not None or not anchor.tail
    following = anchor.tail[0] if anchor.tail else None
    if following is None or following.op_name != "batch_norm" or following.inputs[0] != anchor.entry:
        return _Weights(matrix, bias, anchor.tail, anchor.entry)
    if following.attrs.axis % anchor.type.ndim != channel_axis:
        return _Weights(matrix, bias, anchor.tail, anchor.entry)
    if sum(anchor.entry in node.inputs for node in anchor.tail) > 1:
        return _Weights(matrix, bias, anchor.tail, anchor.entry)
    assert anchor.outside is not None
    parameters = [anchor.outside[e].array for e in following.inputs[1:]]
    known = [p for p in parameters if p is not None]
    if len(known) < len(parameters):
        return _Weights(matrix, bias, anchor.tail, anchor.entry)
    scale, shift = batch_norm_affine(following.attrs, known)
    groups, columns = matrix.shape[0], matrix.shape[3]
    folded = (matrix * scale.astype(np.float32).reshape(groups, 1, 1, columns)).astype(np.float32, copy=False)
    new_bias = shift if bias is None else bias * scale + shift
    return _Weights(folded, new_bias.astype(np.float32), anchor.tail[1:], following[0])


def _padded_channels(builder: Builder, numbers: Array) -> Value:
    """Per-channel constants with room behind them: a tile reads whole vectors."""
    spare = 4 * builder.isa.lanes
    memory = np.zeros(numbers.size + spare, np.float32)
    memory[: numbers.size] = numbers
    return builder.parameter(memory)


def _make_tail(builder: Builder, anchor: Anchor, weights: _Weights, layout: str, channel_axis: int) -> Tail | None:
    """The tail as an epilogue, or None if the tile cannot do it."""
    shape = anchor.type.shape

    def classify(value: Value) -> tuple[Value, str] | None:
        if value.type.dtype != np.float32:
            return None
        aligned = (1,) * (len(shape) - len(value.shape)) + value.shape
        if value.array is None and value.shape == shape:
            return builder.as_layout(value, layout), "tensor"
        if math.prod(aligned) == 1:
            return value, "scalar"
        if math.prod(aligned) == aligned[channel_axis] == shape[channel_axis]:
            if value.array is not None:
                return _padded_channels(builder, value.array.reshape(-1)), "channel"
            return value, "channel"
        return None

    def channel_value(numbers: Array, axis: int) -> tuple[Value, str] | None:
        if axis % len(shape) != channel_axis:
            return None
        return _padded_channels(builder, numbers), "channel"

    made = TailBuilder(classify, channel_value)
    start = 0
    if weights.bias is not None:
        bias = made.channel(weights.bias, channel_axis)
        assert bias is not None
        start = made.apply("add", 0, bias)
    numbers = {weights.result: start} if weights.result is not None else {}
    if not made.add_nodes(weights.rest, numbers, anchor.outside or {}):
        return None
    return made.finish()


def lower_convolution(builder: Builder, anchor: Anchor) -> Value | None:
    """A convolution with its tail as one step; None where no kernel fits (weights not known, not float32)."""
    data, weight = anchor.inputs[0], anchor.inputs[1].array
    bias = None if anchor.attrs.no_bias else anchor.inputs[2].array
    if weight is None or (bias is None and not anchor.attrs.no_bias) or data.type.dtype != np.float32:
        return None
    a, groups = anchor.attrs, anchor.attrs.num_group
    window = Window(data.shape[2:], anchor.type.shape[2:], a.kernel, a.stride, a.dilate, a.pad)
    filters, depth = weight.shape[:2]
    matrix = weight.reshape(groups, filters // groups, depth, window.taps).transpose(0, 3, 2, 1)
    return _lower(builder, anchor, data, _fold(anchor, matrix, bias, 1), window, data.shape[0], CHANNELS_LAST)


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
    return _lower(builder, anchor, data, _fold(anchor, matrix, bias, anchor.type.ndim - 1), window, 1, PLAIN)


def _lower(
    builder: Builder, anchor: Anchor, data: Value, weights: _Weights, window: Window, images: int, layout: str
) -> Value | None:
    groups, taps, depth, columns = weights.matrix.shape
    channel_axis = 1 if layout == CHANNELS_LAST else anchor.type.ndim - 1
    tail = _make_tail(builder, anchor, weights, layout, channel_axis)
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
        "ZEROS": builder.constant(_zeros(depth)),
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


def arguments_row(positions: Arguments, names: Mapping[str, Argument], context: Sequence[Argument]) -> list[Argument]:
    """Named arguments at their positions, and the microkernel's context behind them."""
    row: list[Argument] = [0] * positions.CONTEXT
    for name, value in names.items():
        row[getattr(positions, name)] = value
    return [*row, *context]


_ZEROS: dict[int, Array] = {}


def _zeros(count: int) -> Array:
    """A row of zeros, shared by all programs."""
    return _ZEROS.setdefault(count, np.zeros(count, np.float32))


