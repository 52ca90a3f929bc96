"""Transposed convolution: a convolution of stride 1 with the kernel turned round, or one for each phase of the stride."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from minidnn.lowering.anchor import Anchor, Weights, arguments_row, fold, make_tail, tail_bytes, tail_context
from minidnn.lowering.builder import Builder
from minidnn.lowering.geometry import Window
from minidnn.lowering.matmul import lower_window
from minidnn.lowering.parts import PARTS
from minidnn.lowering.phases import Axis, Phase
from minidnn.lowering.tail import Tail
from minidnn.lowering.tiling import CACHE_BYTES, PART_OPERATIONS, choose_tile
from minidnn.lowering.values import CHANNELS_LAST, Array, Value
from minidnn.ops.convolution import transposed_geometry
from minidnn.plan.program import Argument, Cost, Kernel
from minidnn_kernels.depthwise_tile import DepthwiseTileSpec
from minidnn_kernels.epilogue import Epilogue
from minidnn_kernels.isa import Isa
from minidnn_kernels.matmul import MAX_POINTERS, pack_panels
from minidnn_kernels.tile import TileSpec
from minidnn_kernels.transposed import AXES, AxisArguments, PhaseRecord, TransposedArguments

__all__ = ["lower_deconvolution"]

# Phases of a dimension: a larger stride leaves nearly all outputs without a tap.
_MAX_PHASES = 1024
_ONE_ELEMENT = Axis(1, 1, 1, 1, 1, 0)


def lower_deconvolution(builder: Builder, anchor: Anchor) -> Value | None:
    """A transposed convolution with its tail as one step; None where no kernel fits."""
    weight = anchor.inputs[1].array
    bias = None if anchor.attrs.no_bias else anchor.inputs[2].array
    if weight is None or (bias is None and not anchor.attrs.no_bias) or weight.dtype != np.float32:
        return None
    groups = anchor.attrs.num_group
    depth, columns = weight.shape[0] // groups, weight.shape[1]
    matrix = weight.reshape(groups, depth, columns, -1).transpose(0, 3, 1, 2)
    weights = fold(anchor, matrix, bias, 1)
    anchor, axes = _axes(anchor)
    if all(axis.stride == 1 for axis in axes):
        assert weights.matrix is not None
        turned = replace(weights, matrix=weights.matrix[:, ::-1])
        return lower_window(builder, anchor, turned, _window(axes))
    if any(axis.num_phases > _MAX_PHASES for axis in axes):
        return None
    return _lower_phases(builder, anchor, weights, axes)


def _axes(anchor: Anchor) -> tuple[Anchor, list[Axis]]:
    """The spatial dimensions; zero padding in front of the anchor only moves where its inputs begin."""
    a, data = anchor.attrs, anchor.inputs[0]
    geometry = transposed_geometry(a, data.type)
    low: Sequence[int] = (0,) * len(geometry)
    padded = data.padded
    if padded is not None and not padded.fill and padded.source.shape[:2] == data.shape[:2]:
        anchor, low = replace(anchor, inputs=(padded.source, *anchor.inputs[1:])), padded.low[2:]
    numbers = zip(anchor.inputs[0].shape[2:], a.kernel, a.stride, a.dilate, geometry, low, strict=True)
    axes = [Axis(n, size, k, s, d, pad - before * s) for n, k, s, d, (size, pad), before in numbers]
    return anchor, [_with_own_stride(axis) for axis in axes]


def _with_own_stride(axis: Axis) -> Axis:
    """The same axis; where only one input exists, the stride that leaves no product with padding."""
    extent = axis.dilate * (axis.kernel - 1) + 1
    return replace(axis, stride=extent) if axis.input == 1 and extent <= _MAX_PHASES else axis


def _window(axes: Sequence[Axis]) -> Window:
    """What slides over the input where all strides are 1: the taps come in the opposite order."""
    return Window(
        tuple(axis.input for axis in axes),
        tuple(axis.output for axis in axes),
        tuple(axis.kernel for axis in axes),
        (1,) * len(axes),
        tuple(axis.dilate for axis in axes),
        tuple(axis.dilate * (axis.kernel - 1) - axis.pad for axis in axes),
    )


@dataclass(frozen=True)
class _Tiling:
    """A tile of `rows` x `vectors`; a part is so many strips of rows of so many phases times so many panels."""

    rows: int
    vectors: int
    block_strips: int
    block_phases: int
    block_panels: int


@dataclass(frozen=True)
class _Work:
    """How often [pixels, taps x depth] by [taps x depth, columns], and the largest of both over all phases."""

    images: int
    phases: int
    pixels: int
    taps: int
    groups: int
    depth: int
    columns: int
    operations: int


def _lower_phases(builder: Builder, anchor: Anchor, weights: Weights, axes: Sequence[Axis]) -> Value | None:
    tail = make_tail(builder, anchor, weights, CHANNELS_LAST, 1)
    assert weights.matrix is not None
    axes = [_ONE_ELEMENT] * (AXES - len(axes)) + list(axes)
    phases = [axis.phases() for axis in axes]
    matrix = weights.matrix
    groups, _, depth, columns = matrix.shape
    images, channels = anchor.inputs[0].shape[:2]
    depthwise = depth == columns == 1 < groups
    if depthwise:
        matrix, groups, columns = matrix.transpose(2, 1, 3, 0), 1, groups
    products = math.prod(sum(phase.count * len(phase.taps) for phase in axis) for axis in phases)
    work = _Work(
        images,
        math.prod(map(len, phases)),
        math.prod(max(phase.count for phase in axis) for axis in phases),
        math.prod(max(len(phase.taps) for phase in axis) for axis in phases),
        groups,
        depth,
        columns,
        2 * images * products * groups * depth * columns,
    )
    if tail is None or work.taps + 1 > MAX_POINTERS:
        return None
    tiling = _choose_tiling(builder.isa, work)
    packed = _pack(matrix, axes, phases, tiling.vectors * builder.isa.lanes)
    source = builder.as_layout(anchor.inputs[0], CHANNELS_LAST)
    result = builder.new(anchor.result, CHANNELS_LAST)
    width = tiling.vectors * builder.isa.lanes
    panels, strips = -(-columns // width), -(-work.pixels // tiling.rows)
    blocks, phase_blocks = -(-strips // tiling.block_strips), -(-work.phases // tiling.block_phases)
    panel_blocks = -(-panels // tiling.block_panels)
    names: dict[str, Argument] = {
        "TILE": _tile(tiling, tail.epilogue, False, depthwise),
        "TAIL_TILE": _tile(tiling, tail.epilogue, columns % width != 0, depthwise),
        "SOURCE": builder.address(source),
        "ZEROS": builder.zeros(channels),
        "IMAGE_PITCH": source.nbytes // images,
        "PIXEL_PITCH": channels * 4,
        "SOURCE_GROUP": depth * 4,
        "DEPTH": depth,
        "WEIGHTS": builder.constant(packed),
        "TAP_BYTES": depth * width * 4,
        "ROWS": tiling.rows,
        "COLUMNS": width,
        "BLOCK_STRIPS": tiling.block_strips,
        "BLOCKS": blocks,
        "BLOCK_PHASES": tiling.block_phases,
        "PHASE_BLOCKS": phase_blocks,
        "GROUPS": groups,
        "GROUP_COLUMNS": columns,
        "BLOCK_PANELS": tiling.block_panels,
        "PANEL_BLOCKS": panel_blocks,
    }
    row = arguments_row(TransposedArguments(), names, tail_context(builder, tail, result, groups * columns))
    for i, (axis, of_axis) in enumerate(zip(axes, phases, strict=True)):
        begin = TransposedArguments.AXIS + i * AxisArguments.LENGTH
        row[begin : begin + AxisArguments.LENGTH] = _axis_arguments(builder, axis, of_axis)
    cost = Cost(work.operations, source.nbytes + packed.nbytes + tail_bytes(tail, result))
    parts = images * blocks * phase_blocks * groups * panel_blocks
    builder.native(anchor.name, "transposed_loop", row, parts, cost)
    return result


def _tile(tiling: _Tiling, epilogue: Epilogue, masked: bool, depthwise: bool) -> Kernel:
    if depthwise:
        return Kernel(DepthwiseTileSpec(tiling.rows, tiling.vectors, epilogue, masked))
    return Kernel(TileSpec(tiling.rows, tiling.vectors, epilogue, masked, scattered=True))


def _axis_arguments(builder: Builder, axis: Axis, phases: Sequence[Phase]) -> list[Argument]:
    records = np.zeros((len(phases), PhaseRecord.LENGTH), np.int64)
    taps = 0
    for record, phase in zip(records, phases, strict=True):
        record[PhaseRecord.FIRST], record[PhaseRecord.COUNT] = phase.first, phase.count
        record[PhaseRecord.START], record[PhaseRecord.TAPS] = phase.start, len(phase.taps)
        record[PhaseRecord.TAPS_BEFORE] = taps
        taps += len(phase.taps)
    return [axis.input, axis.output, axis.stride, axis.step, len(phases), taps, builder.constant(records)]


def _pack(matrix: Array, axes: Sequence[Axis], phases: Sequence[Sequence[Phase]], width: int) -> Array:
    """Weights [groups, taps, depth, columns] as [phases][groups][panels][taps of the phase][depth][width], flat."""
    groups, _, depth, columns = matrix.shape
    grid = matrix.reshape(groups, *(axis.kernel for axis in axes), depth, columns)
    panels = []
    for z in phases[0]:
        for y in phases[1]:
            for x in phases[2]:
                taps = grid[:, _slice(z.taps)][:, :, _slice(y.taps)][:, :, :, _slice(x.taps)]
                panels.append(pack_panels(taps.reshape(groups, -1, depth, columns), width).reshape(-1))
    return np.concatenate(panels)


def _slice(taps: range) -> slice:
    return slice(taps.start, taps.stop, taps.step)


def _choose_tiling(isa: Isa, work: _Work) -> _Tiling:
    """Parts read each phase's weights as few times as possible where those are many, else stay in one place."""
    rows, vectors = choose_tile(isa, work.pixels, max(1, work.taps) * work.depth, work.columns, work.taps + 1)
    strips, panels = -(-work.pixels // rows), -(-work.columns // (vectors * isa.lanes))
    most_strips = min(MAX_POINTERS // ((work.taps + 1) * rows), CACHE_BYTES // (rows * work.depth * 4))
    block = {"strips": max(1, min(strips, most_strips)), "phases": work.phases, "panels": panels}
    whole = {"strips": strips, "phases": work.phases, "panels": panels}
    wanted = max(1, min(PARTS, work.operations // PART_OPERATIONS))

    def parts() -> int:
        return work.images * work.groups * math.prod(-(-whole[name] // block[name]) for name in block)

    weights_bytes = work.phases * work.taps * work.depth * work.columns * 4
    order = ("phases", "panels", "strips") if weights_bytes > CACHE_BYTES else ("strips", "phases", "panels")
    for name in order:
        while parts() < wanted and block[name] > 1:
            block[name] = -(-block[name] // 2)
    return _Tiling(rows, vectors, block["strips"], block["phases"], block["panels"])
