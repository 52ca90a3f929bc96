"""3x3 convolutions of stride 1 by Winograd's algorithm, where that is faster."""

from __future__ import annotations

import os
from dataclasses import replace
from functools import lru_cache

import numpy as np

from minidnn.lowering.anchor import Anchor, Weights, arguments_row, make_tail, tail_bytes, tail_context
from minidnn.lowering.builder import Builder
from minidnn.lowering.geometry import Window, tap_pixels
from minidnn.lowering.tiling import choose_tile
from minidnn.lowering.values import CHANNELS_LAST, Array, Value
from minidnn.runtime.program import Argument, Cost, Kernel
from minidnn_kernels.epilogue import Epilogue
from minidnn_kernels.isa import Isa
from minidnn_kernels.matmul import pack_panels
from minidnn_kernels.tile import TileSpec
from minidnn_kernels.winograd import (
    INPUT,
    OUTPUT,
    PRODUCTS,
    InputTransform,
    OutputTransform,
    WinogradArguments,
    transform_weights,
)

__all__ = ["lower_winograd", "winograd_pays"]

# Transformed input and products of a part should stay in the second-level cache.
_PART_BYTES = 640 * 1024
_PARTS = 12
# Bytes a core reads from memory in a cycle, while the others read too: weights are read once and not again.
_BYTES_PER_CYCLE = 2.5
# Cycles a vector of a block takes to be transformed, in and out.
_TRANSFORM_CYCLES = 130.0


def winograd_pays(isa: Isa, images: int, groups: int, channels: int, filters: int, window: Window) -> bool:
    """Whether the algorithm fits and a small model of its time says that it is faster.

    The model counts vector operations, and the transformed weights, four times the plain ones, that must be
    read for each inference. ``MINIDNN_WINOGRAD=0`` switches it off.
    """
    fits = window.kernel == (3, 3) and window.stride == window.dilate == (1, 1) and groups == 1
    if not fits or os.environ.get("MINIDNN_WINOGRAD") == "0":
        return False
    blocks = images * -(-window.output[0] // OUTPUT) * -(-window.output[1] // OUTPUT)
    lanes = isa.lanes
    in_vectors, out_vectors = -(-channels // lanes), -(-filters // lanes)
    transforms = blocks * (in_vectors + out_vectors) * _TRANSFORM_CYCLES
    products = PRODUCTS * blocks * channels * out_vectors / 2
    weights = PRODUCTS * channels * filters * 4 / _BYTES_PER_CYCLE
    direct = images * window.pixels * 9 * channels * out_vectors / 2
    direct_weights = 9 * channels * filters * 4 / _BYTES_PER_CYCLE
    return max(products, weights) + transforms < 0.8 * max(direct, direct_weights)


def lower_winograd(builder: Builder, anchor: Anchor, weights: Weights, window: Window) -> Value | None:
    """One step for the convolution and its tail; None if the tail cannot be done by a kernel."""
    data, isa = anchor.inputs[0], builder.isa
    tail = make_tail(builder, anchor, weights, CHANNELS_LAST, 1)
    if tail is None:
        return None
    assert weights.matrix is not None
    images = data.shape[0]
    _, taps, channels, filters = weights.matrix.shape
    blocks = -(-window.output[0] // OUTPUT) * -(-window.output[1] // OUTPUT)
    part_blocks = _choose_part(images * blocks, blocks, channels, filters)
    rows, vectors = choose_tile(isa, part_blocks, channels, filters)
    columns = vectors * isa.lanes
    kernels = weights.matrix[0].reshape(3, 3, channels, filters).transpose(3, 2, 0, 1)
    packed = pack_panels(transform_weights(kernels)[:, None], columns)
    input_table, output_table = _tables(window)
    source = builder.as_layout(data, CHANNELS_LAST)
    result = builder.new(anchor.result, CHANNELS_LAST)
    image_parts = -(-blocks // part_blocks)
    names: dict[str, Argument] = {
        "INPUT_KERNEL": Kernel(InputTransform()),
        "TILE": Kernel(TileSpec(rows, vectors, Epilogue())),
        "TAIL_TILE": Kernel(TileSpec(rows, vectors, Epilogue(), masked=filters % columns != 0)),
        "OUTPUT_KERNEL": Kernel(OutputTransform(tail.epilogue)),
        "SOURCE": builder.address(source),
        "ZEROS": builder.zeros(channels),
        "IMAGE_PITCH": window.input[0] * window.input[1] * channels * 4,
        "PIXEL_PITCH": channels * 4,
        "INPUT_TABLE": builder.constant(input_table),
        "OUTPUT_TABLE": builder.constant(output_table),
        "BLOCKS": blocks,
        "PART_BLOCKS": part_blocks,
        "IMAGE_PARTS": image_parts,
        "CHANNELS": channels,
        "FILTERS": filters,
        "WEIGHTS": builder.constant(packed),
        "ROWS": rows,
        "COLUMNS": columns,
        "PIXELS": window.pixels,
    }
    context = tail_context(builder, tail, result, filters)
    row = arguments_row(WinogradArguments(), names, context)
    # What the convolution is worth, not what this algorithm does: shares of the peak may exceed one.
    operations = 2 * images * window.pixels * taps * channels * filters
    moved = data.nbytes + packed.nbytes + tail_bytes(tail, result)
    scratch = PRODUCTS * part_blocks * (channels + filters) * 4
    builder.native(anchor.name, "winograd_loop", row, images * image_parts, Cost(operations, moved), scratch)
    return result


def _choose_part(all_blocks: int, image_blocks: int, channels: int, filters: int) -> int:
    """Blocks in a part: as many as stay in cache, fewer where threads would have nothing to share."""
    fitting = max(1, _PART_BYTES // (PRODUCTS * (channels + filters) * 4))
    shared = max(4, -(-all_blocks // _PARTS))
    return min(fitting, shared, image_blocks)


@lru_cache(maxsize=64)
def _tables(window: Window) -> tuple[Array, Array]:
    """Input pixels int32 [blocks, 36], -1 in the padding; output pixels int32 [blocks, 16], -1 beyond the edge."""
    high, wide = (-(-n // OUTPUT) for n in window.output)
    inputs = replace(window, output=(high, wide), kernel=(INPUT, INPUT), stride=(OUTPUT, OUTPUT))
    outputs = Window(window.output, (high, wide), (OUTPUT, OUTPUT), (OUTPUT, OUTPUT), (1, 1), (0, 0))
    return tap_pixels(inputs), np.ascontiguousarray(tap_pixels(outputs))
