"""The loop function of `minidnn_kernels.winograd`, compiled by Numba."""

from __future__ import annotations

from minidnn_kernels.arguments import WORD_BYTES
from minidnn_kernels.element_type import INT32
from minidnn_kernels.loop_words import call4, call6, call9, load, load_i32, scratch, store
from minidnn_kernels.simd import LANE_BYTES
from minidnn_kernels.store import CONTEXT
from minidnn_kernels.winograd import MAX_POINTERS, SPARE_BYTES, WINOGRAD_ARGUMENTS

__all__ = ["winograd_loop"]

_A, _C = WINOGRAD_ARGUMENTS.offsets, CONTEXT.offsets
# Of the tile: it has no operands.
_CONTEXT_WORDS = CONTEXT.words
_INDEX_BYTES, _SUM_BYTES = INT32.bytes, LANE_BYTES


def winograd_loop(args: int, part: int, parts: int, memory: int) -> None:
    """One part is some blocks of one image: transformed, multiplied and transformed back in scratch memory."""
    image_parts, part_blocks = load(args + _A.image_parts), load(args + _A.part_blocks)
    image = part // image_parts
    first = part % image_parts * part_blocks
    blocks = min(part_blocks, load(args + _A.blocks) - first)
    # Scratch: the transformed input [products][part blocks][channels], then the sums [products][part blocks][filters].
    elements, row_pitch, filters = load(args + _A.products), load(args + _A.row_pitch), load(args + _A.filters)
    # Not a multiple of what a cache has sets for: the transforms touch one row of each matrix at a time.
    source_pitch, sums_pitch = part_blocks * row_pitch + SPARE_BYTES, part_blocks * filters * _SUM_BYTES + SPARE_BYTES
    sums = memory + elements * source_pitch
    pointers, channels = scratch(MAX_POINTERS), load(args + _A.channels)
    zeros, pixel_pitch = load(args + _A.zeros), load(args + _A.pixel_pitch)
    source = load(args + _A.source) + image * load(args + _A.image_pitch)
    for block in range(blocks):
        table = load(args + _A.input_table) + (first + block) * elements * _INDEX_BYTES
        for i in range(elements):
            pixel = load_i32(table + i * _INDEX_BYTES)
            store(pointers + i * WORD_BYTES, zeros if pixel < 0 else source + pixel * pixel_pitch)
        call4(load(args + _A.input_kernel), pointers, memory + block * row_pitch, source_pitch, channels)

    rows, columns, steps = load(args + _A.rows), load(args + _A.columns), load(args + _A.steps)
    panels = (filters + columns - 1) // columns
    context = scratch(_CONTEXT_WORDS)
    store(context + _C.pitch, filters * _SUM_BYTES)
    for element in range(elements):
        store(context + _C.output, sums + element * sums_pitch)
        for panel in range(panels):
            columns_left = filters - panel * columns
            tile = load(args + _A.tile) if columns_left >= columns else load(args + _A.tail_tile)
            weights = load(args + _A.weights) + (element * panels + panel) * load(args + _A.panel_pitch)
            for number in range((blocks + rows - 1) // rows):
                strip = number * rows
                for i in range(rows):
                    row = min(strip + i, blocks - 1)
                    store(pointers + i * WORD_BYTES, memory + element * source_pitch + row * row_pitch)
                call9(tile, context, pointers, 1, steps, weights, strip, panel * columns, blocks - strip, columns_left)

    block_pixels, pixels = load(args + _A.block_pixels), image * load(args + _A.pixels)
    for block in range(blocks):
        table = load(args + _A.output_table) + (first + block) * block_pixels * _INDEX_BYTES
        block_sums = sums + block * filters * _SUM_BYTES
        call6(load(args + _A.output_kernel), args + _A.context, block_sums, sums_pitch, table, pixels, filters)
