"""Transposed convolution: a convolution of stride 1 with a flipped kernel, or one for each phase of the stride."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from minidnn.lowering.anchor import Anchor, Origin, fold, make_tail
from minidnn.lowering.builder import Builder
from minidnn.lowering.geometry import Window
from minidnn.lowering.matmul import lower_window
from minidnn.lowering.phase_step import Phases, add_phase_step
from minidnn.lowering.phases import Axis
from minidnn.lowering.values import CHANNELS_LAST, Value
from minidnn.ops.convolution import transposed_geometry
from minidnn_kernels.matmul import MAX_POINTERS

__all__ = ["lower_deconvolution"]

# Of one axis. A larger stride leaves nearly all outputs without a tap.
_MAX_PHASES = 1024
# A kernel of one input, up to this extent, has a phase for each of its outputs.
_MAX_SINGLE_EXTENT = 32


def lower_deconvolution(builder: Builder, anchor: Anchor) -> Value | None:
    """A transposed convolution with its tail as one step; None where no kernel fits (unknown weights, not float32)."""
    weight = anchor.inputs[1].array
    bias = None if anchor.attrs.no_bias else anchor.inputs[2].array
    if weight is None or (bias is None and not anchor.attrs.no_bias) or weight.dtype != np.float32:
        return None
    groups = anchor.attrs.num_group
    depth, columns = weight.shape[0] // groups, weight.shape[1]
    matrix = weight.reshape(groups, depth, columns, -1).transpose(0, 3, 1, 2)
    weights = fold(anchor, matrix, bias, 1, Origin.of("transposed", weight, bias))
    assert weights.matrix is not None
    anchor, axes = _find_axes(anchor)
    if all(axis.stride == 1 for axis in axes):
        origin = None if weights.origin is None else weights.origin.then("flipped")
        flipped = replace(weights, matrix=weights.matrix[:, ::-1], origin=origin)
        return lower_window(builder, anchor, flipped, _flipped_window(axes))
    if any(axis.num_phases > _MAX_PHASES for axis in axes):
        return None
    phases = Phases.of(axes)
    tail = make_tail(builder, anchor, weights, CHANNELS_LAST, 1)
    if tail is None or phases.max_taps + 1 > MAX_POINTERS:
        return None
    return add_phase_step(builder, anchor, tail, weights, phases)


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
