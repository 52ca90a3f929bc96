"""The loop function of `minidnn_kernels.matmul`, compiled by Numba."""

from __future__ import annotations

from minidnn_kernels.arguments import WORD_BYTES
from minidnn_kernels.element_type import INT32
from minidnn_kernels.loop_words import call9, load, load_i32, scratch, store
from minidnn_kernels.matmul import MATMUL_ARGUMENTS, MAX_POINTERS

__all__ = ["matmul_loop"]

_A = MATMUL_ARGUMENTS.offsets
_INDEX_BYTES = INT32.bytes


def matmul_loop(args: int, part: int, parts: int, memory: int) -> None:
    """One part is one (image, block of strips, group, block of panels); `parts` is their product."""
    rows, columns = load(args + _A.rows), load(args + _A.columns)
    taps, depth = load(args + _A.taps), load(args + _A.depth)
    pixels, group_columns = load(args + _A.pixels), load(args + _A.group_columns)
    blocks, groups, panel_blocks = load(args + _A.blocks), load(args + _A.groups), load(args + _A.panel_blocks)

    # Neighbouring parts share A's rows, so that they are still in cache.
    panel_block = part % panel_blocks
    rest = part // panel_blocks
    group = rest % groups
    rest = rest // groups
    block = rest % blocks
    image = rest // blocks

    strips = (pixels + rows - 1) // rows
    first_strip = block * load(args + _A.block_strips)
    last_strip = min(strips, first_strip + load(args + _A.block_strips))

    pointers = scratch(MAX_POINTERS)
    source = load(args + _A.source) + image * load(args + _A.image_pitch) + group * load(args + _A.source_group)
    zeros = load(args + _A.zeros)
    pixel_pitch = load(args + _A.pixel_pitch)
    table = load(args + _A.table) + first_strip * taps * rows * _INDEX_BYTES
    for i in range((last_strip - first_strip) * taps * rows):
        pixel = load_i32(table + i * _INDEX_BYTES)
        store(pointers + i * WORD_BYTES, zeros if pixel < 0 else source + pixel * pixel_pitch)

    panels = (group_columns + columns - 1) // columns
    first_panel = panel_block * load(args + _A.block_panels)
    last_panel = min(panels, first_panel + load(args + _A.block_panels))
    panel_pitch = load(args + _A.panel_pitch)
    weights = load(args + _A.weights) + group * load(args + _A.weight_group) + image * load(args + _A.weight_image)
    for panel in range(first_panel, last_panel):
        columns_left = group_columns - panel * columns
        tile = load(args + _A.tile) if columns_left >= columns else load(args + _A.tail_tile)
        for strip in range(first_strip, last_strip):
            call9(
                tile,
                args + _A.context,
                pointers + (strip - first_strip) * taps * rows * WORD_BYTES,
                taps,
                depth,
                weights + panel * panel_pitch,
                image * pixels + strip * rows,
                group * group_columns + panel * columns,
                pixels - strip * rows,
                columns_left,
            )
