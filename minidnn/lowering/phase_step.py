"""The phases of a transposed convolution as a step: geometry and weights to the arguments of `transposed_loop`."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from minidnn.lowering.anchor import Anchor, Weights, tail_bytes, tail_context
from minidnn.lowering.builder import Builder
from minidnn.lowering.phases import Axis, Phase
from minidnn.lowering.tail import Tail
from minidnn.lowering.tiling import PhaseTiling, choose_phase_tiling
from minidnn.lowering.values import CHANNELS_LAST, Array, Value
from minidnn.plan.program import Argument, Cost, Kernel
from minidnn_kernels.depthwise_tile import DepthwiseTileSpec
from minidnn_kernels.epilogue import Epilogue
from minidnn_kernels.matmul import pack_panels
from minidnn_kernels.tile import TileSpec
from minidnn_kernels.transposed import AXES, AXIS, PHASE, TRANSPOSED_ARGUMENTS

__all__ = ["Phases", "add_phase_step"]

_ONE_ELEMENT = Axis(1, 1, 1, 1, 1, 0)


@dataclass(frozen=True)
class Phases:
    """The axes, filled up in front to what the loop has, and the phases of each. A phase of all is one of each axis."""

    axes: tuple[Axis, ...]
    of_axis: tuple[tuple[Phase, ...], ...]

    @staticmethod
    def of(axes: Sequence[Axis]) -> Phases:
        filled = (*(_ONE_ELEMENT,) * (AXES - len(axes)), *axes)
        return Phases(filled, tuple(axis.phases() for axis in filled))

    @property
    def count(self) -> int:
        return math.prod(map(len, self.of_axis))

    @property
    def max_pixels(self) -> int:
        """Outputs of the largest phase."""
        return math.prod(max(phase.count for phase in phases) for phases in self.of_axis)

    @property
    def max_taps(self) -> int:
        return math.prod(max(len(phase.taps) for phase in phases) for phases in self.of_axis)

    @property
    def products(self) -> int:
        """Pairs of an output and a tap, of all phases."""
        return math.prod(sum(phase.count * len(phase.taps) for phase in phases) for phases in self.of_axis)


def add_phase_step(builder: Builder, anchor: Anchor, tail: Tail, weights: Weights, phases: Phases) -> Value:
    """The step itself, for weights with taps in the kernel's order."""
    matrix = weights.matrix
    assert matrix is not None
    groups, _, depth, columns = matrix.shape
    images, channels = anchor.inputs[0].shape[:2]
    depthwise = depth == columns == 1 < groups
    if depthwise:
        # A row of the tile is many channels, each by its own weight: groups are columns.
        matrix, groups, columns = matrix.transpose(2, 1, 3, 0), 1, groups
    operations = 2 * images * phases.products * groups * depth * columns
    tiling = choose_phase_tiling(
        builder.isa, images * groups, phases.count, phases.max_pixels, phases.max_taps, depth, columns, operations
    )
    width = tiling.vectors * builder.isa.lanes
    form = ("phases", depthwise, width, tuple(tuple(p.taps for p in of_axis) for of_axis in phases.of_axis))
    packed = weights.pack(builder, form, lambda: _pack(matrix, phases, width))
    source = builder.as_layout(anchor.inputs[0], CHANNELS_LAST)
    result = builder.new(anchor.result, CHANNELS_LAST)
    described: list[Argument] = []
    for axis, of_axis in zip(phases.axes, phases.of_axis, strict=True):
        described += _axis_arguments(builder, axis, of_axis)
    row = TRANSPOSED_ARGUMENTS.fill(
        tile=_tile(tiling, tail.epilogue, False, depthwise),
        tail_tile=_tile(tiling, tail.epilogue, columns % width != 0, depthwise),
        source=builder.address(source),
        zeros=builder.zeros(channels),
        image_pitch=source.nbytes // images,
        pixel_pitch=channels * source.type.dtype.itemsize,
        source_group=depth * source.type.dtype.itemsize,
        depth=depth,
        weights=builder.constant(packed),
        tap_bytes=depth * width * packed.itemsize,
        rows=tiling.rows,
        columns=width,
        block_strips=tiling.block_strips,
        blocks=tiling.blocks,
        block_phases=tiling.block_phases,
        phase_blocks=tiling.phase_blocks,
        groups=groups,
        group_columns=columns,
        block_panels=tiling.block_panels,
        panel_blocks=tiling.panel_blocks,
        axis=described,
        context=tail_context(builder, tail, result, groups * columns),
    )
    parts = images * groups * tiling.blocks * tiling.phase_blocks * tiling.panel_blocks
    moved = source.nbytes + packed.nbytes + tail_bytes(tail, result)
    builder.native(anchor.name, "transposed_loop", row, parts, Cost(operations, moved))
    return result


def _tile(tiling: PhaseTiling, epilogue: Epilogue, masked: bool, depthwise: bool) -> Kernel:
    if depthwise:
        return Kernel(DepthwiseTileSpec(tiling.rows, tiling.vectors, epilogue, masked))
    return Kernel(TileSpec(tiling.rows, tiling.vectors, epilogue, masked, scattered=True))


def _axis_arguments(builder: Builder, axis: Axis, phases: Sequence[Phase]) -> list[Argument]:
    """An axis as `AXIS` has it, with a `PHASE` for each of its phases."""
    records, taps = [], 0
    for phase in phases:
        count = len(phase.taps)
        records.append(
            PHASE.fill(first=phase.first, count=phase.count, start=phase.start, taps=count, taps_before=taps)
        )
        taps += count
    return AXIS.fill(
        input=axis.input,
        output=axis.output,
        stride=axis.stride,
        step=axis.step,
        phases=len(phases),
        taps=taps,
        records=builder.constant(np.array(records, np.int64)),
    )


def _pack(matrix: Array, phases: Phases, width: int) -> Array:
    """Weights [groups, taps, depth, columns] as [phases][groups][panels][taps of the phase][depth][width], flat."""
    groups, _, depth, columns = matrix.shape
    grid = matrix.reshape(groups, *(axis.kernel for axis in phases.axes), depth, columns)
    with_taps = ([_slice(phase.taps) for phase in of_axis if phase.taps] for of_axis in phases.of_axis)
    packed = [
        pack_panels(grid[:, z, y, x].reshape(groups, -1, depth, columns), width).reshape(-1)
        for z, y, x in itertools.product(*with_taps)
    ]
    return np.concatenate([*packed, np.zeros(0, matrix.dtype)])


def _slice(taps: range) -> slice:
    return slice(taps.start, taps.stop, taps.step)
