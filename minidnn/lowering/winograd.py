"""3x3 convolutions of stride 1 by Winograd's algorithm, and how their work is cut."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from minidnn import settings
from minidnn.lowering.anchor import Anchor, epilogue_bytes, epilogue_context
from minidnn.lowering.builder import Builder
from minidnn.lowering.cost_model import winograd_blocks, winograd_cycles
from minidnn.lowering.epilogue import BoundEpilogue
from minidnn.lowering.geometry import TABLES, Window, tap_pixels
from minidnn.lowering.product import Product
from minidnn.lowering.tiling import choose_tile
from minidnn.lowering.values import CHANNELS_LAST, Array, Value
from minidnn.plan.program import Cost, Kernel
from minidnn_kernels.dot import Dot
from minidnn_kernels.element_type import element_type_of
from minidnn_kernels.epilogue import Epilogue
from minidnn_kernels.matmul import fill_panels, new_panels, pack_for_dot
from minidnn_kernels.tile import TileSpec
from minidnn_kernels.winograd import (
    SPARE_BYTES,
    WINOGRAD_ARGUMENTS,
    InputTransform,
    OutputTransform,
    Scheme,
    schemes_for,
    start_of_sums,
)

__all__ = ["Winograd", "WinogradPlan", "make_plan"]

# Transformed input and products of a part should stay in the second-level cache.
_PART_BYTES = 640 * 1024
_PARTS = 12


@dataclass(frozen=True)
class WinogradPlan:
    """How a convolution is computed.

    Args:
        scheme: by which matrices.
        blocks: of outputs, per image; `part_blocks` of them are a part.
        steps: of the tile along the channels, in rows of `row_bytes` of transformed input.
        dot: how the transformed rows are multiplied.
        rows, vectors: of the products' tile.
    """

    scheme: Scheme
    blocks: int
    part_blocks: int
    steps: int
    row_bytes: int
    dot: Dot
    rows: int
    vectors: int

    @property
    def image_parts(self) -> int:
        return -(-self.blocks // self.part_blocks)


def make_plan(scheme: Scheme, product: Product) -> WinogradPlan:
    """How the product is computed by that scheme."""
    isa, channels, filters = product.isa, product.depth, product.columns
    blocks, usual = (winograd_blocks(scheme, output) for output in (product.window.output, product.usual_output))
    dot = scheme.element.dot(isa)
    steps = -(-channels // dot.group)
    row_bytes = steps * dot.step_bytes
    block_bytes = scheme.products * (row_bytes + filters * scheme.sums.bytes)
    part_blocks = _choose_part(product.images * blocks, blocks, block_bytes)
    usual_part = _choose_part(product.usual_images * usual, usual, block_bytes)
    rows, vectors = choose_tile(isa, usual_part, steps, filters, fits=dot.fits)
    if part_blocks < rows:
        rows, _ = choose_tile(isa, part_blocks, steps, filters, fits=dot.fits, widths=(vectors,))
    return WinogradPlan(scheme, blocks, part_blocks, steps, row_bytes, dot, rows, vectors)


def _choose_part(all_blocks: int, image_blocks: int, block_bytes: int) -> int:
    """Blocks in a part: as many as stay in cache, fewer where threads would have nothing to share."""
    fitting = max(1, _PART_BYTES // block_bytes)
    shared = max(4, -(-all_blocks // _PARTS))
    return min(fitting, shared, image_blocks)


@dataclass(frozen=True)
class Winograd:
    """One scheme. ``MINIDNN_WINOGRAD=0`` switches all of them off."""

    scheme: Scheme

    @property
    def name(self) -> str:
        return f"winograd_{self.scheme.name}"

    def fits(self, product: Product) -> bool:
        window = product.window
        slides = window.kernel == (3, 3) and window.stride == window.dilate == (1, 1) and product.groups == 1
        if not slides or not settings.WINOGRAD.value():
            return False
        if self.scheme not in schemes_for(product.isa, product.data.name):
            return False
        if not self.scheme.integer:
            return True
        # The transform takes two vectors of channels at a time.
        return product.depth >= 2 * product.isa.lanes and self.scheme.fits(product.largest_sum)

    def cycles(self, product: Product) -> float:
        return winograd_cycles(self.scheme, product)

    def lower(self, builder: Builder, product: Product, bound: BoundEpilogue) -> Value:
        plan = make_plan(self.scheme, product)
        form = (plan.scheme, plan.vectors)
        packed = product.weights.pack(builder, form, lambda: _pack(plan, product, builder.isa.lanes))
        return _add_step(builder, product.anchor, plan, bound, packed, product.window)


def _pack(plan: WinogradPlan, product: Product, lanes: int) -> Array:
    """The transformed weights as panels, [products, panels, ...]."""
    scheme, weights, columns = plan.scheme, product.weights, plan.vectors * lanes
    if weights.start is not None:
        transformed = scheme.transform_weights(product.kernels)[:, None]
        return pack_for_dot(transformed, start_of_sums(scheme, weights.start), columns, plan.dot, lanes)
    shape = (scheme.products, 1, product.depth, product.columns)
    panels = new_panels(shape, columns, 1, scheme.element.dtype)
    # Never all of them beside the panels: the largest layer decides what memory a network takes at most.
    scale = None if weights.factors is None else weights.factors[0]
    for begin, part in scheme.transform_parts(product.kernels, columns, scale):
        fill_panels(panels[:, begin // columns :], part[:, None])
    return plan.dot.pack(panels, lanes)


def _add_step(
    builder: Builder, anchor: Anchor, plan: WinogradPlan, bound: BoundEpilogue, weights: Array, window: Window
) -> Value:
    scheme, (images, channels), filters = plan.scheme, anchor.inputs[0].shape[:2], anchor.type.shape[1]
    source = builder.as_layout(anchor.inputs[0], CHANNELS_LAST)
    result = builder.new(anchor.result, CHANNELS_LAST)
    kind = element_type_of(source.type.dtype)
    assert kind is not None
    pixel_pitch = channels * kind.bytes
    width = plan.vectors * builder.isa.lanes
    tile = TileSpec(plan.rows, plan.vectors, Epilogue(output=scheme.sums.name), data=scheme.element.name)
    input_table, output_table = TABLES.share(("blocks", scheme, window), (), lambda: _tables(scheme, window))
    row = WINOGRAD_ARGUMENTS.fill(
        input_kernel=Kernel(InputTransform(scheme, kind.name)),
        tile=Kernel(tile),
        remainder_tile=Kernel(replace(tile, masked=filters % width != 0)),
        output_kernel=Kernel(OutputTransform(scheme, bound.epilogue)),
        source=builder.address(source),
        zeros=builder.zeros(channels),
        image_pitch=window.input[0] * window.input[1] * pixel_pitch,
        pixel_pitch=pixel_pitch,
        input_table=builder.table(input_table),
        output_table=builder.table(output_table),
        products=scheme.products,
        block_pixels=scheme.output**2,
        blocks=plan.blocks,
        part_blocks=plan.part_blocks,
        image_parts=plan.image_parts,
        channels=channels,
        filters=filters,
        row_pitch=plan.row_bytes,
        steps=plan.steps,
        weights=builder.constant(weights),
        panel_pitch=weights.nbytes // (scheme.products * weights.shape[1]),
        rows=plan.rows,
        columns=width,
        pixels=window.pixels,
        context=epilogue_context(builder, bound, result, filters),
    )
    # What the convolution is worth, not what this algorithm does: shares of the peak may exceed one.
    operations = 2 * images * window.pixels * window.taps * channels * filters
    cost = Cost(operations, source.nbytes + weights.nbytes + epilogue_bytes(bound, result))
    scratch = scheme.products * (plan.part_blocks * (plan.row_bytes + filters * scheme.sums.bytes) + 2 * SPARE_BYTES)
    builder.native(anchor.name, "winograd_loop", row, images * plan.image_parts, cost, scratch)
    return result


def _tables(scheme: Scheme, window: Window) -> tuple[Array, Array]:
    """Input pixels int32 [blocks, products], -1 in the padding; output pixels [blocks, pixels], -1 beyond the edge."""
    edge, size = (scheme.output,) * 2, (scheme.input,) * 2
    high, wide = (-(-n // scheme.output) for n in window.output)
    inputs = replace(window, output=(high, wide), kernel=size, stride=edge)
    outputs = Window(window.output, (high, wide), edge, edge, (1, 1), (0, 0))
    return tap_pixels(inputs), np.ascontiguousarray(tap_pixels(outputs))
