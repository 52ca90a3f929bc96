"""Depthwise convolution: strips of neighbouring output pixels, weights by tap and channel."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from minidnn.lowering.anchor import epilogue_bytes, epilogue_context
from minidnn.lowering.builder import Builder
from minidnn.lowering.cost_model import depthwise_cycles
from minidnn.lowering.epilogue import BoundEpilogue
from minidnn.lowering.geometry import TABLES, Window, tap_pixels
from minidnn.lowering.product import Product
from minidnn.lowering.tiling import PARTS
from minidnn.lowering.values import CHANNELS_LAST, Array, Value
from minidnn.plan.program import Cost, Kernel
from minidnn_kernels.depthwise import DEPTHWISE_ARGUMENTS, MAX_POINTERS, DepthwiseSpec, unit_of

__all__ = ["Depthwise"]

# Taps of a window: more would be a long kernel.
_MAX_TAPS = 512
_PART_OPERATIONS = 200_000
# Output pixels of a strip, at most.
_PIXELS = 8


class Depthwise:
    """One step for a convolution whose groups are single channels."""

    name = "depthwise"

    def fits(self, product: Product) -> bool:
        if product.layout != CHANNELS_LAST or product.groups == 1 or product.depth > 1 or product.columns > 1:
            return False
        spec = _spec(product)
        return spec.outer * spec.columns <= MAX_POINTERS and spec.outer * spec.width <= _MAX_TAPS

    def cycles(self, product: Product) -> float:
        return depthwise_cycles(product)

    def lower(self, builder: Builder, product: Product, bound: BoundEpilogue) -> Value:
        return _add_step(builder, product, bound)


def _spec(product: Product) -> DepthwiseSpec:
    """The kernel, without its epilogue."""
    window = product.window
    width, stride, dilate = window.kernel[-1], window.stride[-1], window.dilate[-1]
    strips = -(-window.output[-1] // _PIXELS)
    pixels = -(-window.output[-1] // strips)
    outer, data = math.prod(window.kernel[:-1]), product.data.name
    vectors, masked = unit_of(product.isa, data, product.groups)
    return DepthwiseSpec(outer, width, stride, dilate, pixels, data=data, vectors=vectors, masked=masked)


def _add_step(builder: Builder, product: Product, bound: BoundEpilogue) -> Value:
    anchor, window, images, channels = product.anchor, product.window, product.images, product.groups
    data, spec = anchor.inputs[0], replace(_spec(product), epilogue=bound.epilogue)
    source = builder.as_layout(data, CHANNELS_LAST)
    result = builder.new(anchor.result, CHANNELS_LAST)
    form = ("strips", window, spec.pixels, spec.columns)
    table, starts = TABLES.share(form, (), lambda: _strips(window, spec.pixels, spec.columns))
    strips = len(starts)

    def pack() -> Array:
        weights = product.matrix[:, :, 0, 0].T.reshape(spec.outer, spec.width, channels)
        return spec.pack(weights, product.weights.start, builder.isa)

    packed = product.weights.pack(builder, ("depthwise", spec.data), pack)
    operations = 2 * images * window.pixels * window.taps * channels
    blocks = max(1, min(PARTS, operations // _PART_OPERATIONS, strips))
    block_strips = -(-strips // blocks)
    blocks = -(-strips // block_strips)
    row = DEPTHWISE_ARGUMENTS.fill(
        kernel=Kernel(spec),
        source=builder.address(source),
        zeros=builder.zeros(channels),
        image_pitch=math.prod(window.input) * channels * product.data.bytes,
        pixel_pitch=channels * product.data.bytes,
        table=builder.table(table),
        pointers=spec.outer * spec.columns,
        strips=strips,
        block_strips=block_strips,
        blocks=blocks,
        starts=builder.table(starts),
        weights=builder.constant(packed),
        channels=channels,
        pixels=window.pixels,
        context=epilogue_context(builder, bound, result, channels),
    )
    moved = data.nbytes + packed.nbytes + epilogue_bytes(bound, result)
    builder.native(anchor.name, "depthwise_loop", row, images * blocks, Cost(operations, moved))
    return result


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
