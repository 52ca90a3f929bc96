"""3x3 convolutions of stride 1 by Winograd's algorithm, and how their work is cut."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np

from minidnn import settings
from minidnn.lowering.anchor import Anchor, epilogue_bytes, epilogue_context
from minidnn.lowering.builder import Builder
from minidnn.lowering.cost_model import winograd_blocks, winograd_cycles, winograd_stages
from minidnn.lowering.epilogue import BoundEpilogue
from minidnn.lowering.geometry import TABLES, Window, tap_pixels
from minidnn.lowering.panels import new_transformed_panels
from minidnn.lowering.product import Product
from minidnn.lowering.tiling import MOST_VECTORS, choose_tile
from minidnn.lowering.values import CHANNELS_LAST, Array, Value
from minidnn.plan.program import Cost, Kernel
from minidnn_kernels.dot import Dot
from minidnn_kernels.element_type import element_type_of
from minidnn_kernels.epilogue import Epilogue
from minidnn_kernels.matmul import pack_for_dot
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
# Numbers of threads that parts should suit, and how many parts of filters there are at most.
_THREADS, _FILTER_PARTS = (2, 4), 8
# Numbers of parts of blocks that are considered, beginning with the least.
_MOST_TRIED = 24
# Bytes a core reads in a cycle from the cache that cores share.
_SHARED_BYTES_PER_CYCLE = 10
# Least blocks of a part, but for fewer than that in all: a tile of so many rows uses most of the registers.
_LEAST_BLOCKS = 4


@dataclass(frozen=True)
class Cut:
    """A part is so many blocks, maybe of several images; all that have the same blocks share the filters."""

    part_blocks: int
    filter_parts: int


@dataclass(frozen=True)
class WinogradPlan:
    """How a convolution is computed.

    Args:
        scheme: by which matrices.
        blocks: of outputs, of all images.
        cut: into parts.
        steps: of the tile along the channels, in rows of `row_bytes` of transformed input.
        dot: how the transformed rows are multiplied.
        rows, vectors: of the products' tile.
        panels: of filters.
    """

    scheme: Scheme
    blocks: int
    cut: Cut
    steps: int
    row_bytes: int
    dot: Dot
    rows: int
    vectors: int
    panels: int

    @property
    def part_panels(self) -> int:
        return -(-self.panels // self.cut.filter_parts)

    @property
    def parts(self) -> int:
        return -(-self.blocks // self.cut.part_blocks) * self.cut.filter_parts


def make_plan(scheme: Scheme, product: Product) -> WinogradPlan:
    """How the product is computed by that scheme."""
    isa, filters = product.isa, product.columns
    blocks = product.images * winograd_blocks(scheme, product.window.output)
    usual = product.usual_images * winograd_blocks(scheme, product.usual_output)
    dot = scheme.element.dot(isa)
    steps = -(-product.depth // dot.group)
    work = _work(scheme, product)
    cut, usual_cut = _choose_cut(work, blocks), _choose_cut(work, usual)
    rows, vectors = choose_tile(isa, usual_cut.part_blocks, steps, filters, fits=dot.fits)
    if cut.part_blocks < rows:
        rows, _ = choose_tile(isa, cut.part_blocks, steps, filters, fits=dot.fits, widths=(vectors,))
    panels = -(-filters // (vectors * isa.lanes))
    whole = Cut(cut.part_blocks, -(-panels // -(-panels // cut.filter_parts)))
    return WinogradPlan(scheme, blocks, whole, steps, steps * dot.step_bytes, dot, rows, vectors, panels)


@dataclass(frozen=True)
class _Work:
    """What there is to do of one scheme: bytes and cycles of a block.

    Args:
        input_bytes, sums_bytes: in scratch memory, of all products and filters.
        weights_bytes: of all filters.
        input_cycles: of transforming the input; `other_cycles` of the products and of transforming them back.
        panels: of filters, at least.
    """

    input_bytes: int
    sums_bytes: int
    weights_bytes: int
    input_cycles: float
    other_cycles: float
    panels: int


def _work(scheme: Scheme, product: Product) -> _Work:
    dot = scheme.element.dot(product.isa)
    row_bytes = scheme.products * -(-product.depth // dot.group) * dot.step_bytes
    sums_bytes = scheme.products * product.columns * scheme.sums.bytes
    before, products, behind = winograd_stages(scheme, product)
    # As wide as a panel is at most: how many there are depends on the tile.
    panels = -(-product.columns // (product.isa.lanes * MOST_VECTORS))
    return _Work(row_bytes, sums_bytes, row_bytes * product.columns, before, products + behind, panels)


@lru_cache(maxsize=4096)
def _choose_cut(work: _Work, blocks: int) -> Cut:
    """The cut that a small model finds the fastest.

    Every part reads the weights of its filters, which are more than the caches of a core hold where there are many
    channels: few parts of many blocks read them less often. Every part transforms its blocks, also where others with
    the same blocks do: fewer parts of filters do that less often. What a part has in scratch memory should stay in the
    cache of the core. Blocks are cut at least once if they can be: two threads that read the same data wait for it.
    """
    filter_parts = min(_FILTER_PARTS, work.panels)

    def part_bytes(cut: Cut) -> float:
        return (work.input_bytes + work.sums_bytes / cut.filter_parts) * cut.part_blocks

    def cycles(cut: Cut) -> float:
        rounds = -(-blocks // cut.part_blocks)
        parts = rounds * cut.filter_parts
        # Half of the reads are hidden behind the products.
        reads = rounds * work.weights_bytes / _SHARED_BYTES_PER_CYCLE / 2
        spilled = 2 * parts * max(0, part_bytes(cut) - _PART_BYTES) / _SHARED_BYTES_PER_CYCLE
        computed = rounds * cut.part_blocks * (work.input_cycles * cut.filter_parts + work.other_cycles)
        # Threads have unequal numbers of parts, and end half a part apart.
        share = sum(-(-parts // threads) * threads + 0.5 for threads in _THREADS) / len(_THREADS) / parts
        return (computed + reads + spilled) * share

    least = min(_LEAST_BLOCKS, blocks)
    most = int(2 * _PART_BYTES / part_bytes(Cut(1, filter_parts)))
    most = max(least, min(most, blocks if blocks <= _LEAST_BLOCKS else -(-blocks // 2)))
    tried = [Cut(least, filter_parts)]
    for rounds in range(-(-blocks // most), -(-blocks // least) + 1)[:_MOST_TRIED]:
        # Filters are cut where there are few parts of blocks.
        most_parts = min(filter_parts, max(1, _FILTER_PARTS // rounds))
        cuts = (Cut(-(-blocks // rounds), parts) for parts in range(1, most_parts + 1))
        tried += (cut for cut in cuts if cut.part_blocks == least or part_bytes(cut) <= 2 * _PART_BYTES)
    return min(tried, key=cycles)


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
        packed = product.weights.pack(builder, form, lambda: _pack(builder, plan, product))
        return _add_step(builder, product.anchor, plan, bound, packed, product.window)


def _pack(builder: Builder, plan: WinogradPlan, product: Product) -> Array:
    """The transformed weights as panels, [products, panels, ...]."""
    scheme, weights, lanes = plan.scheme, product.weights, builder.isa.lanes
    columns = plan.vectors * lanes
    if weights.start is None:
        return new_transformed_panels(builder, scheme, weights.numbers, columns, weights.factors)
    transformed = scheme.transform_weights(product.kernels)[:, None]
    return pack_for_dot(transformed, start_of_sums(scheme, weights.start), columns, plan.dot, lanes)


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
        images=images,
        blocks=plan.blocks // images,
        part_blocks=plan.cut.part_blocks,
        part_panels=plan.part_panels,
        filter_parts=plan.cut.filter_parts,
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
    part_bytes = plan.row_bytes + plan.part_panels * width * scheme.sums.bytes
    scratch = scheme.products * (plan.cut.part_blocks * part_bytes + 2 * SPARE_BYTES)
    builder.native(anchor.name, "winograd_loop", row, plan.parts, cost, scratch)
    return result


def _tables(scheme: Scheme, window: Window) -> tuple[Array, Array]:
    """Input pixels int32 [blocks, products], -1 in the padding; output pixels [blocks, pixels], -1 beyond the edge."""
    edge, size = (scheme.output,) * 2, (scheme.input,) * 2
    high, wide = (-(-n // scheme.output) for n in window.output)
    inputs = replace(window, output=(high, wide), kernel=size, stride=edge)
    outputs = Window(window.output, (high, wide), edge, edge, (1, 1), (0, 0))
    return tap_pixels(inputs), np.ascontiguousarray(tap_pixels(outputs))
