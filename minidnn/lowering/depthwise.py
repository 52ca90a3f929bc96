"""Depthwise convolution: strips of neighbouring output pixels, weights by tap and channel."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import lru_cache

import numpy as np

from minidnn.lowering.anchor import Anchor, Weights, make_tail, tail_bytes, tail_context
from minidnn.lowering.builder import Builder
from minidnn.lowering.geometry import Window, tap_pixels
from minidnn.lowering.parts import PARTS
from minidnn.lowering.values import CHANNELS_LAST, Array, Value
from minidnn.plan.program import Cost, Kernel
from minidnn_kernels.depthwise import DEPTHWISE_ARGUMENTS, MAX_POINTERS, DepthwiseSpec
from minidnn_kernels.element_type import element_type_of

__all__ = ["lower_depthwise"]

# Taps of a window: more would be a long kernel, and integer sums of 518 products could pass 2^24.
_MAX_TAPS = 512
_PART_OPERATIONS = 200_000
_PIXELS = 4


def lower_depthwise(builder: Builder, anchor: Anchor, weights: Weights, window: Window) -> Value | None:
    """One step for a convolution whose groups are single channels; None if the kernel cannot do it."""
    data = anchor.inputs[0]
    assert weights.matrix is not None
    images, channels = data.shape[0], weights.matrix.shape[0]
    kind = element_type_of(data.type.dtype)
    assert kind is not None
    tail = make_tail(builder, anchor, replace(weights, bias=None) if kind.is_integer else weights, CHANNELS_LAST, 1)
    outer = math.prod(window.kernel[:-1])
    pixels = min(_PIXELS, window.output[-1])
    if tail is None:
        return None
    spec = DepthwiseSpec(
        outer, window.kernel[-1], window.stride[-1], window.dilate[-1], pixels, tail.epilogue, kind.name
    )
    if outer * spec.columns > MAX_POINTERS or outer * spec.width > _MAX_TAPS:
        return None
    source = builder.as_layout(data, CHANNELS_LAST)
    result = builder.new(anchor.result, CHANNELS_LAST)
    table, starts = _strips(window, spec.pixels, spec.columns)
    strips = len(starts)
    lanes = builder.isa.lanes
    packed = np.zeros((window.taps + 1, -(-channels // lanes) * lanes), np.float32)
    packed[:-1, :channels] = weights.matrix[:, :, 0, 0].T
    if kind.is_integer:
        assert weights.bias is not None
        packed[-1, :channels].view(np.int32)[:] = weights.bias
    operations = 2 * images * window.pixels * window.taps * channels
    blocks = max(1, min(PARTS, operations // _PART_OPERATIONS, strips))
    block_strips = -(-strips // blocks)
    blocks = -(-strips // block_strips)
    row = DEPTHWISE_ARGUMENTS.fill(
        kernel=Kernel(spec),
        source=builder.address(source),
        zeros=builder.zeros(channels),
        image_pitch=math.prod(window.input) * channels * kind.bytes,
        pixel_pitch=channels * kind.bytes,
        table=builder.constant(table),
        pointers=outer * spec.columns,
        strips=strips,
        block_strips=block_strips,
        blocks=blocks,
        starts=builder.constant(starts),
        weights=builder.constant(packed),
        channels=channels,
        pixels=window.pixels,
        context=tail_context(builder, tail, result, channels),
    )
    moved = data.nbytes + packed.nbytes + tail_bytes(tail, result)
    builder.native(anchor.name, "depthwise_loop", row, images * blocks, Cost(operations, moved))
    return result


@lru_cache(maxsize=64)
def _strips(window: Window, pixels: int, columns: int) -> tuple[Array, Array]:
    """Input pixels int32 [strips, outer taps * columns], and the first output pixel int32 [strips].

    A strip stays within one row of the output; the last one of a row begins early enough to be whole, and
    computes some pixels again.
    """
    width = window.output[-1]
    begins = np.minimum(np.arange(0, width, pixels), width - pixels)
    starts = (np.arange(0, window.pixels, width)[:, None] + begins[None, :]).reshape(-1)
    # The columns a strip sees are the taps of a wider kernel without dilation.
    wide = replace(window, kernel=(*window.kernel[:-1], columns), dilate=(*window.dilate[:-1], 1))
    return np.ascontiguousarray(tap_pixels(wide)[starts]), starts.astype(np.int32)
