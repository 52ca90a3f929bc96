"""The loop functions of `minidnn_kernels.winograd`, compiled by Numba.

Either one loop does everything for some blocks in scratch memory, so that nothing leaves the cache; or the
transforms are steps of their own, with a `matmul_loop` between them that has an image for each element, so that
each thread reads its part of the weights and not all of them.
"""

from __future__ import annotations

from minidnn_kernels.loop_words import call4, call6, call9, load, load_i32, scratch, shared, store
from minidnn_kernels.winograd import WinogradArguments

__all__ = ["winograd_input_loop", "winograd_loop", "winograd_output_loop"]

_A = WinogradArguments()
_INPUT_KERNEL, _OUTPUT_KERNEL = _A.INPUT_KERNEL * 8, _A.OUTPUT_KERNEL * 8
_TILE, _TAIL_TILE = _A.TILE * 8, _A.TAIL_TILE * 8
_SOURCE, _ZEROS, _IMAGE_PITCH, _PIXEL_PITCH = _A.SOURCE * 8, _A.ZEROS * 8, _A.IMAGE_PITCH * 8, _A.PIXEL_PITCH * 8
_INPUT_TABLE, _OUTPUT_TABLE, _BLOCKS = _A.INPUT_TABLE * 8, _A.OUTPUT_TABLE * 8, _A.BLOCKS * 8
_PART_BLOCKS, _IMAGE_PARTS = _A.PART_BLOCKS * 8, _A.IMAGE_PARTS * 8
_PRODUCTS, _BLOCK_PIXELS, _CHANNELS, _FILTERS = _A.PRODUCTS * 8, _A.BLOCK_PIXELS * 8, _A.CHANNELS * 8, _A.FILTERS * 8
_ROW_PITCH, _STEPS, _WEIGHTS, _PANEL_PITCH = _A.ROW_PITCH * 8, _A.STEPS * 8, _A.WEIGHTS * 8, _A.PANEL_PITCH * 8
_ROWS, _COLUMNS, _PIXELS, _CONTEXT = _A.ROWS * 8, _A.COLUMNS * 8, _A.PIXELS * 8, _A.CONTEXT * 8
_TRANSFORMED, _SUMS = _A.TRANSFORMED * 8, _A.SUMS * 8


@shared
def _transform_input(args: int, pointers: int, image: int, first: int, blocks: int, target: int, pitch: int) -> None:
    """Transform `blocks` blocks of an image; `pitch` is between the matrices of two elements."""
    elements, channels, row_pitch = load(args + _PRODUCTS), load(args + _CHANNELS), load(args + _ROW_PITCH)
    zeros, pixel_pitch = load(args + _ZEROS), load(args + _PIXEL_PITCH)
    source = load(args + _SOURCE) + image * load(args + _IMAGE_PITCH)
    for block in range(blocks):
        table = load(args + _INPUT_TABLE) + (first + block) * elements * 4
        for i in range(elements):
            pixel = load_i32(table + i * 4)
            store(pointers + i * 8, zeros if pixel < 0 else source + pixel * pixel_pitch)
        call4(load(args + _INPUT_KERNEL), pointers, target + block * row_pitch, pitch, channels)


@shared
def _transform_output(args: int, image: int, first: int, blocks: int, sums: int, pitch: int) -> None:
    """Transform the products of `blocks` blocks of an image back."""
    filters, block_pixels, pixels = load(args + _FILTERS), load(args + _BLOCK_PIXELS), image * load(args + _PIXELS)
    for block in range(blocks):
        table = load(args + _OUTPUT_TABLE) + (first + block) * block_pixels * 4
        call6(load(args + _OUTPUT_KERNEL), args + _CONTEXT, sums + block * filters * 4, pitch, table, pixels, filters)


def winograd_loop(args: int, part: int, parts: int, memory: int) -> None:
    """One part is some blocks of one image: transformed, multiplied and transformed back in scratch memory."""
    image_parts, part_blocks = load(args + _IMAGE_PARTS), load(args + _PART_BLOCKS)
    image = part // image_parts
    first = part % image_parts * part_blocks
    blocks = min(part_blocks, load(args + _BLOCKS) - first)
    # Scratch: the transformed input [products][part blocks][channels], then the sums [products][part blocks][filters].
    elements, row_pitch, filters = load(args + _PRODUCTS), load(args + _ROW_PITCH), load(args + _FILTERS)
    source_pitch, sums_pitch = part_blocks * row_pitch, part_blocks * filters * 4
    sums = memory + elements * source_pitch
    pointers = scratch(256)
    _transform_input(args, pointers, image, first, blocks, memory, source_pitch)

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
                call9(
                    tile, context, pointers, 1, steps, weights, strip, panel * columns, blocks - strip, columns_left
                )

    _transform_output(args, image, first, blocks, sums, sums_pitch)


def winograd_input_loop(args: int, part: int, parts: int, memory: int) -> None:
    """One part is some blocks of one image, transformed."""
    image_parts, part_blocks, blocks = load(args + _IMAGE_PARTS), load(args + _PART_BLOCKS), load(args + _BLOCKS)
    image, first = part // image_parts, part % image_parts * part_blocks
    row_pitch = load(args + _ROW_PITCH)
    pitch = parts // image_parts * blocks * row_pitch
    target = load(args + _TRANSFORMED) + (image * blocks + first) * row_pitch
    _transform_input(args, scratch(256), image, first, min(part_blocks, blocks - first), target, pitch)


def winograd_output_loop(args: int, part: int, parts: int, memory: int) -> None:
    """One part is some blocks of one image, transformed back."""
    image_parts, part_blocks, blocks = load(args + _IMAGE_PARTS), load(args + _PART_BLOCKS), load(args + _BLOCKS)
    image, first = part // image_parts, part % image_parts * part_blocks
    row_pitch = load(args + _FILTERS) * 4
    pitch = parts // image_parts * blocks * row_pitch
    sums = load(args + _SUMS) + (image * blocks + first) * row_pitch
    _transform_output(args, image, first, min(part_blocks, blocks - first), sums, pitch)
