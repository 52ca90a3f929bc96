"""Transposed convolution: a convolution of stride 1 with a flipped kernel, or one for each phase of the stride.

A phase holds the outputs that read the same taps, dimension by dimension. All phases are one step.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from minidnn.lowering.anchor import Anchor, Weights, epilogue_bytes, epilogue_context, fold, make_epilogue
from minidnn.lowering.builder import Builder
from minidnn.lowering.epilogue import BoundEpilogue
from minidnn.lowering.geometry import Window
from minidnn.lowering.matmul import lower_window
from minidnn.lowering.tiling import PhaseTiling, choose_phase_tiling
from minidnn.lowering.values import CHANNELS_LAST, Array, Value
from minidnn.lowering.weight_store import Origin
from minidnn.ops.convolution import transposed_geometry
from minidnn.plan.program import Argument, Cost, Kernel
from minidnn_kernels.depthwise import DepthwiseTileSpec
from minidnn_kernels.dot import best_dot
from minidnn_kernels.element_type import FLOAT32, UINT16, element_type_of
from minidnn_kernels.epilogue import Epilogue
from minidnn_kernels.matmul import MAX_POINTERS, pack_panels
from minidnn_kernels.tile import TileSpec
from minidnn_kernels.transposed import AXES, AXIS, PHASE, TRANSPOSED_ARGUMENTS

__all__ = ["Axis", "Phase", "Phases", "add_phase_step", "lower_deconvolution"]


@dataclass(frozen=True)
class Phase:
    """Outputs ``first + m * stride`` of an axis, `count` of them.

    Output m meets input ``start + m - j * step`` at ``taps[j]``, where that input exists.
    """

    first: int
    count: int
    start: int
    taps: range


@dataclass(frozen=True)
class Axis:
    """One spatial dimension: output o meets input i at tap t where ``o + pad = i * stride + t * dilate``."""

    input: int
    output: int
    kernel: int
    stride: int
    dilate: int
    pad: int

    @property
    def step(self) -> int:
        """Inputs between one tap of a phase and the next."""
        return self.dilate // math.gcd(self.stride, self.dilate)

    @property
    def num_phases(self) -> int:
        return min(self.stride, self.output)

    def phases(self) -> tuple[Phase, ...]:
        """One for each remainder of ``o + pad`` by the stride that an output has."""
        common = math.gcd(self.stride, self.dilate)
        # Taps that are this far apart differ by a multiple of the stride.
        period = self.stride // common
        inverse = pow(self.step, -1, period)
        made = []
        for first in range(self.num_phases):
            quotient, remainder = divmod(first + self.pad, self.stride)
            # The smallest tap with tap * dilate = remainder modulo the stride, if there is any.
            tap = remainder // common * inverse % period if remainder % common == 0 else self.kernel
            taps = range(min(tap, self.kernel), self.kernel, period)
            start = quotient - (tap * self.dilate - remainder) // self.stride
            count = -(-(self.output - first) // self.stride)
            made.append(Phase(first, count, start, taps))
        return tuple(made)


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


def add_phase_step(builder: Builder, anchor: Anchor, bound: BoundEpilogue, weights: Weights, phases: Phases) -> Value:
    """The step itself, for weights with taps in the kernel's order."""
    groups, _, depth, columns = weights.shape
    images, channels = anchor.inputs[0].shape[:2]
    depthwise = depth == columns == 1 < groups
    if depthwise:
        # A row of the tile is many channels, each by its own weight: groups are columns.
        groups, columns = 1, groups
    operations = 2 * images * phases.products * groups * depth * columns
    tiling = choose_phase_tiling(
        builder.isa, images * groups, phases.count, phases.max_pixels, phases.max_taps, depth, columns, operations
    )
    width = tiling.vectors * builder.isa.lanes
    form = ("phases", depthwise, width, tuple(tuple(p.taps for p in of_axis) for of_axis in phases.of_axis))
    packed = weights.pack(builder, form, lambda: _pack(_numbers(weights, depthwise), phases, width, depthwise))
    dot = best_dot(builder.isa, FLOAT32.name, packed)
    source = builder.as_layout(anchor.inputs[0], CHANNELS_LAST)
    result = builder.new(anchor.result, CHANNELS_LAST)
    described: list[Argument] = []
    for axis, of_axis in zip(phases.axes, phases.of_axis, strict=True):
        described += _axis_arguments(builder, axis, of_axis)
    row = TRANSPOSED_ARGUMENTS.fill(
        tile=_tile(tiling, bound.epilogue, False, depthwise, dot),
        remainder_tile=_tile(tiling, bound.epilogue, columns % width != 0, depthwise, dot),
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
        context=epilogue_context(builder, bound, result, groups * columns),
    )
    parts = images * groups * tiling.blocks * tiling.phase_blocks * tiling.panel_blocks
    moved = source.nbytes + packed.nbytes + epilogue_bytes(bound, result)
    builder.native(anchor.name, "transposed_loop", row, parts, Cost(operations, moved))
    return result


def _numbers(weights: Weights, depthwise: bool) -> Array:
    """What is packed: bfloat16 as it is, where the tile is one of products."""
    return weights.numbers if weights.is_bfloat16 and not depthwise else weights.matrix


def _tile(tiling: PhaseTiling, epilogue: Epilogue, masked: bool, depthwise: bool, dot: str) -> Kernel:
    if depthwise:
        return Kernel(DepthwiseTileSpec(tiling.rows, tiling.vectors, epilogue, masked))
    return Kernel(TileSpec(tiling.rows, tiling.vectors, epilogue, masked, dot=dot, scattered=True))


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


def _pack(matrix: Array, phases: Phases, width: int, depthwise: bool) -> Array:
    """Weights [groups, taps, depth, columns] as [phases][groups][panels][taps of the phase][depth][width], flat.

    Depthwise, a row of the tile is many channels, each by its own weight: groups are columns.
    """
    if depthwise:
        matrix = matrix.transpose(2, 1, 3, 0)
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


# Of one axis. A larger stride leaves nearly all outputs without a tap.
_MAX_PHASES = 1024
# A kernel of one input, up to this extent, has a phase for each of its outputs.
_MAX_SINGLE_EXTENT = 32


def lower_deconvolution(builder: Builder, anchor: Anchor) -> Value | None:
    """A transposed convolution with its epilogue as one step; None where no kernel fits.

    There is none for unknown weights, nor for other types than float32 or, of weights, bfloat16.
    """
    weight = anchor.inputs[1].array
    bias = None if anchor.attrs.no_bias else anchor.inputs[2].array
    if weight is None or (bias is None and not anchor.attrs.no_bias):
        return None
    if element_type_of(weight.dtype) not in (FLOAT32, UINT16) or anchor.inputs[0].type.dtype != FLOAT32.dtype:
        return None
    groups = anchor.attrs.num_group
    depth, columns = weight.shape[0] // groups, weight.shape[1]
    matrix = weight.reshape(groups, depth, columns, -1).transpose(0, 3, 1, 2)
    weights = fold(anchor, matrix, bias, 1, Origin.of("transposed", weight, bias))
    anchor, axes = _find_axes(anchor)
    if all(axis.stride == 1 for axis in axes):
        assert weights.unscaled is not None
        origin = None if weights.origin is None else weights.origin.then("flipped")
        flipped = replace(weights, unscaled=weights.unscaled[:, ::-1], origin=origin)
        return lower_window(builder, anchor, flipped, _flipped_window(axes))
    if any(axis.num_phases > _MAX_PHASES for axis in axes):
        return None
    phases = Phases.of(axes)
    bound = make_epilogue(builder, anchor, weights, CHANNELS_LAST, 1)
    if bound is None or phases.max_taps + 1 > MAX_POINTERS:
        return None
    return add_phase_step(builder, anchor, bound, weights, phases)


def _find_axes(anchor: Anchor) -> tuple[Anchor, list[Axis]]:
    """The spatial dimensions. Zero padding in front of the anchor is absorbed: it only moves where inputs begin."""
    a, data = anchor.attrs, anchor.inputs[0]
    geometry = transposed_geometry(a, data.type)
    low: Sequence[int] = (0,) * len(geometry)
    padded = data.padded
    if padded is not None and not padded.fill and padded.source.shape[:2] == data.shape[:2]:
        anchor, low = replace(anchor, inputs=(padded.source, *anchor.inputs[1:])), padded.low[2:]
    numbers = zip(anchor.inputs[0].shape[2:], a.kernel, a.stride, a.dilate, geometry, low, strict=True)
    axes = [Axis(n, size, k, s, d, pad - before * s) for n, k, s, d, (size, pad), before in numbers]
    return anchor, [_spread_single_input(axis) for axis in axes]


def _spread_single_input(axis: Axis) -> Axis:
    """The same axis; a single input meets each output at one tap at most, and every stride is the same to it.

    With the kernel's extent as the stride, no product with padding is left.
    """
    extent = axis.dilate * (axis.kernel - 1) + 1
    return replace(axis, stride=extent) if axis.input == 1 and extent <= _MAX_SINGLE_EXTENT else axis


def _flipped_window(axes: Sequence[Axis]) -> Window:
    """What slides over the input where all strides are 1, with the taps in reverse order."""
    return Window(
        tuple(axis.input for axis in axes),
        tuple(axis.output for axis in axes),
        tuple(axis.kernel for axis in axes),
        (1,) * len(axes),
        tuple(axis.dilate for axis in axes),
        tuple(axis.dilate * (axis.kernel - 1) - axis.pad for axis in axes),
    )
