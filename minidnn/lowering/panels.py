"""Panels of weights that kernels write before the first run of a program: those of tiles of float32."""

from __future__ import annotations

import numpy as np

from minidnn.lowering.builder import Builder
from minidnn.lowering.values import Array
from minidnn.ops.bfloat16 import BITS
from minidnn.plan.program import Kernel, Loop, NativeStep, Packing
from minidnn_kernels.element_type import BFLOAT16, FLOAT32
from minidnn_kernels.matmul import new_panels
from minidnn_kernels.panels import PANELS_ARGUMENTS, PanelSpec, TransformedPanelSpec
from minidnn_kernels.uniform_dot import bytes_of_panels
from minidnn_kernels.winograd import Scheme

__all__ = ["new_plain_panels", "new_transformed_panels"]

# Bytes that a part writes, about. Of channels with their inputs first, a part reads a little of each, and the next part
# what lies beside it: there are to be few, which the caches and the TLB have room for.
_PART_BYTES, _FEW_BYTES = 1 << 16, 1 << 13
# Channels of a part are a multiple of that, so that vectors along them are whole.
_CHANNELS = 16


def new_plain_panels(
    builder: Builder, weights: Array, columns: int, together: int, factors: Array | None = None
) -> Array:
    """What `pack_for_dot` makes of weights [groups, taps, depth, n] for dots of single elements.

    Args:
        builder: of a program that reads it.
        weights: of any elements; float32 where there are factors.
        columns: of a panel.
        together: how many panels a tile reads.
        factors: float32 [groups, n], by which they are multiplied.
    """
    panels = new_panels(weights.shape, columns, together, weights.dtype)
    group_pitch, panel_pitch, tap_pitch, row_pitch, item = panels.strides
    inputs_first = not _is_outputs_first(weights) and _is_inputs_first(weights)
    if inputs_first:
        groups, taps, depth, n = weights.shape
        rows = weights.strides[2 if depth > 1 else 1]
        flat: Array = np.lib.stride_tricks.as_strided(
            weights, (groups, 1, taps * depth, n), (weights.strides[0], 0, rows, item)
        )
        weights = flat
    pitches = (group_pitch, panel_pitch, tap_pitch, row_pitch)
    return _fill(builder, PanelSpec(item, inputs_first, factors is not None), weights, panels, pitches, factors)


def new_transformed_panels(
    builder: Builder, scheme: Scheme, weights: Array, columns: int, factors: Array | None = None
) -> Array:
    """The panels of all products of a scheme for float32, uint8 [products, panels, bytes of a panel].

    Args:
        builder: of a program that reads it.
        scheme: how weights are transformed.
        weights: [1, taps, depth, n], float32 or bits of bfloat16.
        columns: of a panel.
        factors: float32 [1, n], by which they are multiplied before.
    """
    _, _, depth, n = weights.shape
    panels = new_panels((scheme.products, 1, depth, n), columns, 1, scheme.element.dtype)
    product_pitch, panel_pitch, _, row_pitch, _ = panels.strides
    data = BFLOAT16 if weights.dtype == BITS else FLOAT32
    spec = TransformedPanelSpec(scheme, factors is not None, data.name)
    return _fill(builder, spec, weights, panels, (0, panel_pitch, product_pitch, row_pitch), factors)


def _address_of(array: Array) -> int:
    return int(array.ctypes.data)


def _is_outputs_first(weights: Array) -> bool:
    """Whether all taps of a channel, and all channels of an output, lie side by side."""
    (_, taps, depth, _), (_, tap, channel, _), item = weights.shape, weights.strides, weights.itemsize
    return (taps == 1 or tap == item) and (depth == 1 or channel == taps * item)


def _is_inputs_first(weights: Array) -> bool:
    """Whether the outputs of a channel lie side by side, and channels at equal distances, through all taps."""
    (_, taps, depth, n), (_, tap, channel, output) = weights.shape, weights.strides
    return (n == 1 or output == weights.itemsize) and (taps == 1 or depth == 1 or tap == depth * channel)


def _fill(
    builder: Builder,
    spec: PanelSpec | TransformedPanelSpec,
    weights: Array,
    panels: Array,
    pitches: tuple[int, int, int, int],
    factors: Array | None,
) -> Array:
    """The bytes of panels, which `spec` is to write; `pitches` from group to group, panel, tap and channel."""
    inputs_first = isinstance(spec, PanelSpec) and spec.inputs_first
    if not inputs_first and not (_is_outputs_first(weights) and weights.flags.aligned):
        weights = np.ascontiguousarray(weights.transpose(0, 3, 2, 1)).transpose(0, 3, 2, 1)
    groups, taps, depth, n = weights.shape
    columns = panels.shape[-1]
    part_bytes = _FEW_BYTES if inputs_first else _PART_BYTES
    channels = max(1, part_bytes // (pitches[3] * taps * _CHANNELS)) * _CHANNELS
    count, blocks = -(-n // columns), -(-depth // channels)
    factors = None if factors is None else np.ascontiguousarray(factors)
    row = PANELS_ARGUMENTS.fill(
        kernel=Kernel(spec),
        source=_address_of(weights),
        target=_address_of(panels),
        factors=0 if factors is None else _address_of(factors),
        source_group=weights.strides[0],
        column_pitch=weights.strides[3],
        channel_pitch=weights.strides[2],
        target_group=pitches[0],
        panel_pitch=pitches[1],
        tap_pitch=pitches[2],
        row_pitch=pitches[3],
        taps=taps,
        channels=depth,
        group_columns=n,
        columns=columns,
        panels=count,
        part_channels=channels,
        blocks=blocks,
    )
    step = NativeStep("pack", Loop("panels_loop"), tuple(row), groups * count * blocks)
    return builder.packed(bytes_of_panels(panels), Packing(step, weights, panels, factors))
