"""The loop function of `minidnn_kernels.matmul`, compiled by Numba."""

from __future__ import annotations

from minidnn_kernels.loop_words import call9, load, load_i32, scratch, store
from minidnn_kernels.matmul import Arguments

__all__ = ["matmul_loop"]

_A = Arguments()
_TILE, _TAIL_TILE, _SOURCE, _ZEROS = _A.TILE * 8, _A.TAIL_TILE * 8, _A.SOURCE * 8, _A.ZEROS * 8
_IMAGE_PITCH, _PIXEL_PITCH = _A.IMAGE_PITCH * 8, _A.PIXEL_PITCH * 8
_SOURCE_GROUP, _TABLE = _A.SOURCE_GROUP * 8, _A.TABLE * 8
_TAPS, _DEPTH, _WEIGHTS, _PANEL_PITCH = _A.TAPS * 8, _A.DEPTH * 8, _A.WEIGHTS * 8, _A.PANEL_PITCH * 8
_WEIGHT_GROUP, _ROWS, _COLUMNS, _PIXELS = _A.WEIGHT_GROUP * 8, _A.ROWS * 8, _A.COLUMNS * 8, _A.PIXELS * 8
_BLOCK_STRIPS, _BLOCKS, _GROUPS = _A.BLOCK_STRIPS * 8, _A.BLOCKS * 8, _A.GROUPS * 8
_GROUP_COLUMNS, _BLOCK_PANELS, _PANEL_BLOCKS = _A.GROUP_COLUMNS * 8, _A.BLOCK_PANELS * 8, _A.PANEL_BLOCKS * 8
_WEIGHT_IMAGE, _CONTEXT = _A.WEIGHT_IMAGE * 8, _A.CONTEXT * 8


def matmul_loop(args: int, part: int, parts: int, memory: int) -> None:
    """One part is one (image, block of strips, group, block of panels); `parts` is their product."""
    rows, columns = load(args + _ROWS), load(args + _COLUMNS)
    taps, depth = load(args + _TAPS), load(args + _DEPTH)
    pixels, group_columns = load(args + _PIXELS), load(args + _GROUP_COLUMNS)
    blocks, groups, panel_blocks = load(args + _BLOCKS), load(args + _GROUPS), load(args + _PANEL_BLOCKS)

    # Neighbouring parts share A's rows, so that they are still in cache.
    panel_block = part % panel_blocks
    rest = part // panel_blocks
    group = rest % groups
    rest = rest // groups
    block = rest % blocks
    image = rest // blocks

    strips = (pixels + rows - 1) // rows
    first_strip = block * load(args + _BLOCK_STRIPS)
    last_strip = min(strips, first_strip + load(args + _BLOCK_STRIPS))

    pointers = scratch(8192)
    source = load(args + _SOURCE) + image * load(args + _IMAGE_PITCH) + group * load(args + _SOURCE_GROUP)
    zeros = load(args + _ZEROS)
    pixel_pitch = load(args + _PIXEL_PITCH)
    table = load(args + _TABLE) + first_strip * taps * rows * 4
    for i in range((last_strip - first_strip) * taps * rows):
        pixel = load_i32(table + i * 4)
        store(pointers + i * 8, zeros if pixel < 0 else source + pixel * pixel_pitch)

    panels = (group_columns + columns - 1) // columns
    first_panel = panel_block * load(args + _BLOCK_PANELS)
    last_panel = min(panels, first_panel + load(args + _BLOCK_PANELS))
    panel_pitch = load(args + _PANEL_PITCH)
    weights = load(args + _WEIGHTS) + group * load(args + _WEIGHT_GROUP) + image * load(args + _WEIGHT_IMAGE)
    for panel in range(first_panel, last_panel):
        columns_left = group_columns - panel * columns
        tile = load(args + _TILE) if columns_left >= columns else load(args + _TAIL_TILE)
        for strip in range(first_strip, last_strip):
            call9(
                tile,
                args + _CONTEXT,
                pointers + (strip - first_strip) * taps * rows * 8,
                taps,
                depth,
                weights + panel * panel_pitch,
                image * pixels + strip * rows,
                group * group_columns + panel * columns,
                pixels - strip * rows,
                columns_left,
            )
