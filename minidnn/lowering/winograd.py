"""3x3 convolutions of stride 1 by Winograd's algorithm, where that is faster."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

import numpy as np

from minidnn import settings
from minidnn.lowering.anchor import Anchor, Weights, arguments_row, make_tail, tail_bytes, tail_context
from minidnn.lowering.builder import Builder
from minidnn.lowering.geometry import Window, tap_pixels
from minidnn.lowering.tail import Tail, dtype_name
from minidnn.lowering.values import CHANNELS_LAST, Array, Value
from minidnn.lowering.winograd_plan import WinogradPlan, make_plan
from minidnn.plan.program import Argument, Cost, Kernel
from minidnn_kernels.epilogue import Epilogue
from minidnn_kernels.isa import Isa
from minidnn_kernels.matmul import pack_integer_panels, pack_panels
from minidnn_kernels.tile import TileSpec
from minidnn_kernels.winograd import (
    SPARE_BYTES,
    InputTransform,
    OutputTransform,
    Scheme,
    WinogradArguments,
    largest_sum,
    schemes_for,
    start_of_sums,
)

__all__ = ["lower_winograd"]


def lower_winograd(builder: Builder, anchor: Anchor, weights: Weights, window: Window) -> Value | None:
    """The convolution and its tail; None if the direct way is faster, or the tail is not for a kernel.

    Weights are those of a convolution with their bias, which int8 adds to the sums and float32 in the tail.
    ``MINIDNN_WINOGRAD=0`` switches it off.
    """
    slides = window.kernel == (3, 3) and window.stride == window.dilate == (1, 1) and anchor.attrs.num_group == 1
    if not slides or not settings.WINOGRAD.value():
        return None
    data = anchor.inputs[0]
    dtype = dtype_name(data.type.dtype)
    assert weights.matrix is not None and dtype is not None
    _, _, channels, filters = weights.matrix.shape
    kernels = weights.matrix[0].reshape(3, 3, channels, filters).transpose(3, 2, 0, 1)
    schemes = _exact_schemes(builder.isa, kernels, weights.bias, dtype)
    plan = make_plan(schemes, builder.isa, data.shape[0], channels, filters, window)
    if plan is None:
        return None
    behind = replace(weights, bias=None) if plan.scheme.integer else weights
    tail = make_tail(builder, anchor, behind, CHANNELS_LAST, 1)
    if tail is None:
        return None
    weights_packed = _pack(plan, kernels, weights.bias, builder.isa.lanes)
    return _add_step(builder, anchor, plan, tail, weights_packed, window)


def _exact_schemes(isa: Isa, kernels: Array, bias: Array | None, dtype: str) -> tuple[Scheme, ...]:
    """Those for the type; for integers those that are exact with these numbers."""
    schemes = schemes_for(isa, dtype)
    if dtype == "f32":
        return schemes
    ends = np.iinfo(np.uint8 if dtype == "u8" else np.int8)
    # The transform takes two vectors of channels at a time.
    if bias is None or kernels.shape[1] < 2 * isa.lanes:
        return ()
    largest = largest_sum(kernels, bias, (ends.min, ends.max))
    return tuple(scheme for scheme in schemes if scheme.fits(largest))


def _pack(plan: WinogradPlan, kernels: Array, bias: Array | None, lanes: int) -> Array:
    """The transformed weights as panels, [products, panels, ...]."""
    scheme = plan.scheme
    transformed, width = scheme.transform_weights(kernels)[:, None], plan.vectors * lanes
    if not scheme.integer:
        return pack_panels(transformed, width)
    assert bias is not None
    return pack_integer_panels(transformed, start_of_sums(scheme, bias), width, plan.dot, lanes)[0]


def _add_step(
    builder: Builder, anchor: Anchor, plan: WinogradPlan, tail: Tail, weights: Array, window: Window
) -> Value:
    scheme, (images, channels), filters = plan.scheme, anchor.inputs[0].shape[:2], anchor.type.shape[1]
    source = builder.as_layout(anchor.inputs[0], CHANNELS_LAST)
    result = builder.new(anchor.result, CHANNELS_LAST)
    dtype, pixel_pitch = dtype_name(source.type.dtype), channels * source.type.dtype.itemsize
    assert dtype is not None
    width = plan.vectors * builder.isa.lanes
    sums = Epilogue(output="s32" if scheme.integer else "f32")
    tile = TileSpec(plan.rows, plan.vectors, sums, data="s16" if scheme.integer else "f32")
    input_table, output_table = _tables(scheme, window)
    names: dict[str, Argument] = {
        "INPUT_KERNEL": Kernel(InputTransform(scheme, dtype)),
        "TILE": Kernel(tile),
        "TAIL_TILE": Kernel(replace(tile, masked=filters % width != 0)),
        "OUTPUT_KERNEL": Kernel(OutputTransform(scheme, tail.epilogue)),
        "SOURCE": builder.address(source),
        "ZEROS": builder.zeros(channels),
        "IMAGE_PITCH": window.input[0] * window.input[1] * pixel_pitch,
        "PIXEL_PITCH": pixel_pitch,
        "INPUT_TABLE": builder.constant(input_table),
        "OUTPUT_TABLE": builder.constant(output_table),
        "PRODUCTS": scheme.products,
        "BLOCK_PIXELS": scheme.output**2,
        "BLOCKS": plan.blocks,
        "PART_BLOCKS": plan.part_blocks,
        "IMAGE_PARTS": plan.image_parts,
        "CHANNELS": channels,
        "FILTERS": filters,
        "ROW_PITCH": plan.row_bytes,
        "STEPS": plan.steps,
        "WEIGHTS": builder.constant(weights),
        "PANEL_PITCH": weights.nbytes // (scheme.products * weights.shape[1]),
        "ROWS": plan.rows,
        "COLUMNS": width,
        "PIXELS": window.pixels,
    }
    row = arguments_row(WinogradArguments(), names, tail_context(builder, tail, result, filters))
    # What the convolution is worth, not what this algorithm does: shares of the peak may exceed one.
    operations = 2 * images * window.pixels * window.taps * channels * filters
    cost = Cost(operations, source.nbytes + weights.nbytes + tail_bytes(tail, result))
    scratch = scheme.products * (plan.part_blocks * (plan.row_bytes + filters * 4) + 2 * SPARE_BYTES)
    builder.native(anchor.name, "winograd_loop", row, images * plan.image_parts, cost, scratch)
    return result


@lru_cache(maxsize=64)
def _tables(scheme: Scheme, window: Window) -> tuple[Array, Array]:
    """Input pixels int32 [blocks, products], -1 in the padding; output pixels [blocks, pixels], -1 beyond the edge."""
    edge, size = (scheme.output,) * 2, (scheme.input,) * 2
    high, wide = (-(-n // scheme.output) for n in window.output)
    inputs = replace(window, output=(high, wide), kernel=size, stride=edge)
    outputs = Window(window.output, (high, wide), edge, edge, (1, 1), (0, 0))
    return tap_pixels(inputs), np.ascontiguousarray(tap_pixels(outputs))
