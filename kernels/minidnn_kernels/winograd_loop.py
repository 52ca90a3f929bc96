"""The loop function of `minidnn_kernels.winograd`, compiled by Numba."""

from __future__ import annotations

from minidnn_kernels.loop_words import call4, call6, call9, load, load_i32, scratch, store
from minidnn_kernels.winograd import SPARE_BYTES, WinogradArguments

__all__ = ["winograd_loop"]

_A, _SPARE = WinogradArguments(), SPARE_BYTES
_INPUT_KERNEL, _OUTPUT_KERNEL = _A.INPUT_KERNEL * 8, _A.OUTPUT_KERNEL * 8
_TILE, _TAIL_TILE = _A.TILE * 8, _A.TAIL_TILE * 8
_SOURCE, _ZEROS, _IMAGE_PITCH, _PIXEL_PITCH = _A.SOURCE * 8, _A.ZEROS * 8, _A.IMAGE_PITCH * 8, _A.PIXEL_PITCH * 8
_INPUT_TABLE, _OUTPUT_TABLE, _BLOCKS = _A.INPUT_TABLE * 8, _A.OUTPUT_TABLE * 8, _A.BLOCKS * 8
_PART_BLOCKS, _IMAGE_PARTS = _A.PART_BLOCKS * 8, _A.IMAGE_PARTS * 8
_PRODUCTS, _BLOCK_PIXELS, _CHANNELS, _FILTERS = _A.PRODUCTS * 8, _A.BLOCK_PIXELS * 8, _A.CHANNELS * 8, _A.FILTERS * 8
_ROW_PITCH, _STEPS, _WEIGHTS, _PANEL_PITCH = _A.ROW_PITCH * 8, _A.STEPS * 8, _A.WEIGHTS * 8, _A.PANEL_PITCH * 8
_ROWS, _COLUMNS, _PIXELS, _CONTEXT = _A.ROWS * 8, _A.COLUMNS * 8, _A.PIXELS * 8, _A.CONTEXT * 8


def winograd_loop(args: int, part: int, parts: int, memory: int) -> None:
    """One part is some blocks of one image: transformed, multiplied and transformed back in scratch memory."""
    image_parts, part_blocks = load(args + _IMAGE_PARTS), load(args + _PART_BLOCKS)
    image = part // image_parts
    first = part % image_parts * part_blocks
    blocks = min(part_blocks, load(args + _BLOCKS) - first)
    # Scratch: the transformed input [products][part blocks][channels], then the sums [products][part blocks][filters].
    elements, row_pitch, filters = load(args + _PRODUCTS), load(args + _ROW_PITCH), load(args + _FILTERS)
    # Not a multiple of what a cache has sets for: the transforms touch one row of each matrix at a time.
    source_pitch, sums_pitch = part_blocks * row_pitch + _SPARE, part_blocks * filters * 4 + _SPARE
    sums = memory + elements * source_pitch
    pointers, channels = scratch(256), load(args + _CHANNELS)
    zeros, pixel_pitch = load(args + _ZEROS), load(args + _PIXEL_PITCH)
    source = load(args + _SOURCE) + image * load(args + _IMAGE_PITCH)
    for block in range(blocks):
        table = load(args + _INPUT_TABLE) + (first + block) * elements * 4
        for i in range(elements):
            pixel = load_i32(table + i * 4)
            store(pointers + i * 8, zeros if pixel < 0 else source + pixel * pixel_pitch)
        call4(load(args + _INPUT_KERNEL), pointers, memory + block * row_pitch, source_pitch, channels)

    rows, columns, steps = load(args + _ROWS), load(args + _COLUMNS), load(args + _STEPS)
    panels = (filters + columns - 1) // columns
    context = scratch(2)
    store(context + 8, filters * 4)
    for element in range(elements):
        store(context, sums + element * sums_pitch)
        for panel in range(panels):
            columns_left = filters - panel * columns
            tile = load(args + _TILE) if columns_left >= columns else load(args + _TAIL_TILE)
            weights = load(args + _WEIGHTS) + (element * panels + panel) * load(args + _PANEL_PITCH)
            for number in range((blocks + rows - 1) // rows):
                strip = number * rows
                for i in range(rows):
                    row = min(strip + i, blocks - 1)
                    store(pointers + i * 8, memory + element * source_pitch + row * row_pitch)
                call9(tile, context, pointers, 1, steps, weights, strip, panel * columns, blocks - strip, columns_left)

    block_pixels, pixels = load(args + _BLOCK_PIXELS), image * load(args + _PIXELS)
    for block in range(blocks):
        table = load(args + _OUTPUT_TABLE) + (first + block) * block_pixels * 4
        block_sums = sums + block * filters * 4
        call6(load(args + _OUTPUT_KERNEL), args + _CONTEXT, block_sums, sums_pitch, table, pixels, filters)
