"""3x3 convolutions of stride 1 by Winograd's algorithm, where that is faster."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np

from minidnn.lowering.anchor import Anchor, Weights, arguments_row, make_tail, tail_bytes, tail_context
from minidnn.lowering.builder import Builder
from minidnn.lowering.geometry import Window, tap_pixels
from minidnn.lowering.matmul_step import Panels, Shape, add_matmul_step
from minidnn.lowering.tail import Tail, dtype_name
from minidnn.lowering.tiling import Tiling, choose_tile, choose_tiling
from minidnn.lowering.values import CHANNELS_LAST, PLAIN, Array, Value
from minidnn.ops.registry import TensorType
from minidnn.runtime.program import Argument, Cost, Kernel
from minidnn_kernels.dot import Dot, dot_for
from minidnn_kernels.epilogue import Epilogue
from minidnn_kernels.isa import Isa
from minidnn_kernels.matmul import pack_integer_panels, pack_panels
from minidnn_kernels.tile import TileSpec
from minidnn_kernels.winograd import (
    F2X3_INT,
    F4X3,
    F4X3_INT,
    InputTransform,
    OutputTransform,
    Scheme,
    WinogradArguments,
    fits_int32,
    schemes_for,
    start_of_sums,
)

__all__ = ["lower_winograd"]

# Transformed input and products of a part should stay in the second-level cache.
_PART_BYTES = 640 * 1024
_PARTS = 12
# Beyond the first, weights are no longer read from the second-level cache by every part; up to the second, what
# the transforms make may lie in memory between them.
_STAGED_WEIGHTS = 2 * 1024 * 1024
_STAGED_BYTES = 2 * 1024 * 1024
# Bytes a core reads from memory in a cycle, while the others read too: weights are read once and not again.
_BYTES_PER_CYCLE = 3.2
# By scheme: cycles a vector of a block takes to be transformed, in and out; cycles of a vector's products, and
# those of the direct way, which are half of them for integers where four bytes are multiplied in one instruction.
_TRANSFORM_CYCLES = {F4X3: 130.0, F4X3_INT: 90.0, F2X3_INT: 30.0}
_PRODUCT_CYCLES = {F4X3: 0.5, F4X3_INT: 0.25, F2X3_INT: 0.25}


def lower_winograd(builder: Builder, anchor: Anchor, weights: Weights, window: Window) -> Value | None:
    """One step for the convolution and its tail; None if a direct one is faster, or the tail is not for a kernel.

    Weights are those of a convolution with their bias, which int8 adds to the sums and float32 in the tail.
    ``MINIDNN_WINOGRAD=0`` switches it off.
    """
    data, isa = anchor.inputs[0], builder.isa
    assert weights.matrix is not None
    groups, taps, channels, filters = weights.matrix.shape
    dtype = dtype_name(data.type.dtype)
    assert dtype is not None
    slides = window.kernel == (3, 3) and window.stride == window.dilate == (1, 1) and groups == 1
    if not slides or os.environ.get("MINIDNN_WINOGRAD") == "0":
        return None
    images = data.shape[0]
    kernels = weights.matrix[0].reshape(3, 3, channels, filters).transpose(3, 2, 0, 1)
    bias, integer = weights.bias, dtype != "f32"
    schemes = schemes_for(isa, dtype)
    if integer:
        ends = (0, 255) if dtype == "u8" else (-128, 127)
        # The transform takes two vectors of channels at a time.
        if bias is None or channels < 2 * isa.lanes:
            return None
        schemes = tuple(scheme for scheme in schemes if fits_int32(scheme, kernels, bias, ends))
        weights = replace(weights, bias=None)
    scheme = _fastest(schemes, isa, images, channels, filters, window)
    if scheme is None:
        return None
    tail = make_tail(builder, anchor, weights, CHANNELS_LAST, 1)
    if tail is None:
        return None

    plan = _plan(scheme, isa, images, channels, filters, window)
    transformed = scheme.transform_weights(kernels)[:, None]
    width = plan.tiling.vectors * isa.lanes
    if integer:
        assert bias is not None
        packed, _ = pack_integer_panels(transformed, start_of_sums(scheme, bias), width, plan.dot, isa.lanes)
    else:
        packed = pack_panels(transformed, width)
    pitch = packed.nbytes // (scheme.products * packed.shape[1])
    weight_panels = Panels(builder.constant(packed), packed.shape[1], pitch, 0, packed.shape[1] * pitch, plan.steps)
    input_table, output_table = _tables(scheme, window)
    source = builder.as_layout(data, CHANNELS_LAST)
    result = builder.new(anchor.result, CHANNELS_LAST)
    tile = TileSpec(plan.tiling.rows, plan.tiling.vectors, plan.epilogue, data="s16" if integer else "f32")
    pixel_pitch = channels * data.type.dtype.itemsize
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
        "WEIGHTS": weight_panels.address,
        "PANEL_PITCH": pitch,
        "ROWS": plan.tiling.rows,
        "COLUMNS": width,
        "PIXELS": window.pixels,
    }
    context = tail_context(builder, tail, result, filters)
    # What the convolution is worth, not what this algorithm does: shares of the peak may exceed one.
    operations = 2 * images * window.pixels * taps * channels * filters
    parts = images * plan.image_parts
    if not plan.staged:
        cost = Cost(operations, data.nbytes + packed.nbytes + tail_bytes(tail, result))
        row = arguments_row(WinogradArguments(), names, context)
        scratch = scheme.products * plan.part_blocks * (plan.row_bytes + filters * 4)
        builder.native(anchor.name, "winograd_loop", row, parts, cost, scratch)
        return result

    # Two parameters of the input and of the output transform are known only when there is memory for them.
    all_blocks = images * plan.blocks
    depth = plan.row_bytes // scheme.itemsize
    made = builder.new(TensorType((scheme.products, all_blocks, depth), np.dtype(scheme.element)))
    cost = Cost(0, data.nbytes + made.nbytes)
    row = arguments_row(WinogradArguments(), {**names, "TRANSFORMED": made.address}, context)
    builder.native(anchor.name, "winograd_input_loop", row, parts, cost)
    sums_type = TensorType((scheme.products, all_blocks, filters), np.dtype(np.int32 if integer else np.float32))
    product = Anchor(anchor.name, anchor.attrs, (made,), sums_type, sums_type)
    flat = Window((all_blocks,), (all_blocks,), (1,), (1,), (1,), (0,))
    shape = Shape(scheme.products, 1, 1, depth, filters, depth)
    cost = Cost(operations, made.nbytes + packed.nbytes + sums_type.size * 4)
    plain = Tail(plan.epilogue, ())
    sums = add_matmul_step(builder, product, plain, plan.tiling, made, weight_panels, flat, shape, PLAIN, "", cost)
    row = arguments_row(WinogradArguments(), {**names, "SUMS": sums.address}, context)
    cost = Cost(0, sums.nbytes + tail_bytes(tail, result))
    builder.native(anchor.name, "winograd_output_loop", row, parts, cost)
    return result


@dataclass(frozen=True)
class _Plan:
    """How a convolution is cut.

    Args:
        blocks: of outputs, per image; `part_blocks` of them are a part, and an image is `image_parts`.
        steps: of the tile along the channels, in rows of `row_bytes` of transformed input.
        staged: whether the transforms are steps of their own.
    """

    blocks: int
    part_blocks: int
    steps: int
    row_bytes: int
    staged: bool
    dot: Dot
    tiling: Tiling
    epilogue: Epilogue

    @property
    def image_parts(self) -> int:
        return -(-self.blocks // self.part_blocks)


def _plan(scheme: Scheme, isa: Isa, images: int, channels: int, filters: int, window: Window) -> _Plan:
    blocks = -(-window.output[0] // scheme.output) * -(-window.output[1] // scheme.output)
    dot = dot_for(isa, "s16" if scheme.integer else "f32")
    steps = -(-channels // dot.group)
    row_bytes = steps * dot.step_bytes
    block_bytes = scheme.products * (row_bytes + filters * 4)
    weight_bytes = scheme.products * row_bytes * filters
    # Few blocks and many weights: better that each thread reads some of the weights for all blocks.
    staged = weight_bytes > _STAGED_WEIGHTS and images * blocks * block_bytes < _STAGED_BYTES
    if staged:
        part_blocks = max(1, images * blocks // _PARTS)
        tiling = choose_tiling(isa, scheme.products, images * blocks, 1, steps, 1, filters, dot.fits)
    else:
        part_blocks = _choose_part(images * blocks, blocks, block_bytes)
        tiling = Tiling(*choose_tile(isa, part_blocks, steps, filters, fits=dot.fits), 1, 1)
    epilogue = Epilogue(output="s32" if scheme.integer else "f32")
    return _Plan(blocks, min(part_blocks, blocks), steps, row_bytes, staged, dot, tiling, epilogue)


def _fastest(
    schemes: Sequence[Scheme], isa: Isa, images: int, channels: int, filters: int, window: Window
) -> Scheme | None:
    """The fastest of the schemes by a small model of their time; None if the direct way is faster.

    The model counts vector operations, and the transformed weights, several times the plain ones, that must be
    read for each inference.
    """
    in_vectors, out_vectors = -(-channels // isa.lanes), -(-filters // isa.lanes)
    weight = channels * filters / _BYTES_PER_CYCLE

    def cycles(scheme: Scheme) -> float:
        blocks = images * -(-window.output[0] // scheme.output) * -(-window.output[1] // scheme.output)
        transforms = blocks * (in_vectors + out_vectors) * _TRANSFORM_CYCLES[scheme]
        product = channels * out_vectors * _PRODUCT_CYCLES[scheme]
        return max(blocks * product, weight * scheme.itemsize) * scheme.products + transforms

    def direct(scheme: Scheme) -> float:
        share = 0.5 if scheme.integer and isa.dot == "vnni" else 1
        product = channels * out_vectors * _PRODUCT_CYCLES[scheme] * share
        return max(images * window.pixels * product, weight * (1 if scheme.integer else 4)) * window.taps

    paying = [scheme for scheme in schemes if cycles(scheme) < 0.8 * direct(scheme)]
    return min(paying, key=cycles, default=None)


def _choose_part(all_blocks: int, image_blocks: int, block_bytes: int) -> int:
    """Blocks in a part: as many as stay in cache, fewer where threads would have nothing to share."""
    fitting = max(1, _PART_BYTES // block_bytes)
    shared = max(4, -(-all_blocks // _PARTS))
    return min(fitting, shared, image_blocks)


@lru_cache(maxsize=64)
def _tables(scheme: Scheme, window: Window) -> tuple[Array, Array]:
    """Input pixels int32 [blocks, products], -1 in the padding; output pixels [blocks, pixels], -1 beyond the edge."""
    edge, size = (scheme.output,) * 2, (scheme.input,) * 2
    high, wide = (-(-n // scheme.output) for n in window.output)
    inputs = replace(window, output=(high, wide), kernel=size, stride=edge)
    outputs = Window(window.output, (high, wide), edge, edge, (1, 1), (0, 0))
    return tap_pixels(inputs), np.ascontiguousarray(tap_pixels(outputs))
