"""The loop function of `minidnn_kernels.transposed`, compiled by Numba."""

from __future__ import annotations

from minidnn_kernels.arguments import WORD_BYTES
from minidnn_kernels.loop_words import call9, inlined, load, scratch, store
from minidnn_kernels.matmul import MAX_POINTERS
from minidnn_kernels.transposed import AXES, AXIS, PHASE, TRANSPOSED_ARGUMENTS

__all__ = ["transposed_loop"]

_A, _X, _P = TRANSPOSED_ARGUMENTS.offsets, AXIS.offsets, PHASE.offsets
_AXIS_Z, _AXIS_Y, _AXIS_X = (_A.axis + i * AXIS.words * WORD_BYTES for i in range(AXES))
_RECORD = PHASE.words * WORD_BYTES


def transposed_loop(args: int, part: int, parts: int, memory: int) -> None:
    """One part is one (image, block of strips, block of phases, group, block of panels).

    A block of strips lies at about the same place of the image in every phase: phases share what they read, and write
    between each other, while it is in cache.
    """
    axis_z, axis_y, axis_x = args + _AXIS_Z, args + _AXIS_Y, args + _AXIS_X
    rows, columns, depth = load(args + _A.rows), load(args + _A.columns), load(args + _A.depth)
    blocks, phase_blocks = load(args + _A.blocks), load(args + _A.phase_blocks)
    groups, panel_blocks = load(args + _A.groups), load(args + _A.panel_blocks)

    panel_block = part % panel_blocks
    rest = part // panel_blocks
    group = rest % groups
    rest = rest // groups
    phase_block = rest % phase_blocks
    rest = rest // phase_blocks
    block = rest % blocks
    image = rest // blocks

    phases_y, phases_x = load(axis_y + _X.phases), load(axis_x + _X.phases)
    all_y, all_x = load(axis_y + _X.taps), load(axis_x + _X.taps)
    image_row = image * load(axis_z + _X.output) * load(axis_y + _X.output) * load(axis_x + _X.output)
    group_columns, tap_bytes = load(args + _A.group_columns), load(args + _A.tap_bytes)
    panels = (group_columns + columns - 1) // columns
    first_panel = panel_block * load(args + _A.block_panels)
    last_panel = min(panels, first_panel + load(args + _A.block_panels))
    source = load(args + _A.source) + image * load(args + _A.image_pitch) + group * load(args + _A.source_group)
    first_strip = block * load(args + _A.block_strips)
    first_phase = phase_block * load(args + _A.block_phases)
    last_phase = min(load(axis_z + _X.phases) * phases_y * phases_x, first_phase + load(args + _A.block_phases))

    pointers = scratch(MAX_POINTERS)
    for phase in range(first_phase, last_phase):
        z = load(axis_z + _X.records) + phase // (phases_y * phases_x) * _RECORD
        y = load(axis_y + _X.records) + phase // phases_x % phases_y * _RECORD
        x = load(axis_x + _X.records) + phase % phases_x * _RECORD
        taps_y = load(y + _P.taps)
        taps = load(z + _P.taps) * taps_y * load(x + _P.taps)
        pixels = load(z + _P.count) * load(y + _P.count) * load(x + _P.count)
        last_strip = min((pixels + rows - 1) // rows, first_strip + load(args + _A.block_strips))
        _point_rows(args, z, y, x, source, first_strip * rows, min(pixels, last_strip * rows), pointers)

        before_y = load(y + _P.taps_before) * all_x + taps_y * load(x + _P.taps_before)
        before = load(z + _P.taps_before) * all_y * all_x + load(z + _P.taps) * before_y
        weights = load(args + _A.weights) + (before * groups + taps * group) * panels * tap_bytes
        for panel in range(first_panel, last_panel):
            columns_left = group_columns - panel * columns
            tile = load(args + _A.tile) if columns_left >= columns else load(args + _A.remainder_tile)
            for strip in range(first_strip, last_strip):
                call9(
                    tile,
                    args + _A.context,
                    pointers + (strip - first_strip) * (taps + 1) * rows * WORD_BYTES,
                    taps,
                    depth,
                    weights + panel * taps * tap_bytes,
                    image_row,
                    group * group_columns + panel * columns,
                    rows,
                    columns_left,
                )


@inlined
def _point_rows(args: int, z: int, y: int, x: int, source: int, pixel: int, end: int, pointers: int) -> None:
    """Fill [strips][taps + 1][rows] for outputs `pixel` to `end` of a phase, the first of which begins a strip.

    For each strip the row pointers of all taps, then the numbers of its rows in the output. Outputs of one line
    are walked tap by tap. Rows beyond the last one repeat it.

    Args:
        z, y, x: addresses of the phase's records.
    """
    axis_z, axis_y, axis_x = args + _AXIS_Z, args + _AXIS_Y, args + _AXIS_X
    rows, pixel_pitch, zeros = load(args + _A.rows), load(args + _A.pixel_pitch), load(args + _A.zeros)
    taps_z, taps_y, taps_x = load(z + _P.taps), load(y + _P.taps), load(x + _P.taps)
    high, wide = load(y + _P.count), load(x + _P.count)
    strip_bytes, row_bytes = taps_z * taps_y * taps_x * rows * WORD_BYTES, rows * WORD_BYTES
    at_x, line = pixel % wide, pixel // wide
    row, begin = 0, pointers
    while pixel < end:
        at_z, at_y = line // high, line % high
        run = min(wide - at_x, end - pixel)
        slots = begin
        for tap_z in range(taps_z):
            from_z = load(z + _P.start) + at_z - tap_z * load(axis_z + _X.step)
            for tap_y in range(taps_y):
                from_y = load(y + _P.start) + at_y - tap_y * load(axis_y + _X.step)
                inside = 0 <= from_z < load(axis_z + _X.input) and 0 <= from_y < load(axis_y + _X.input)
                limit = load(axis_x + _X.input) if inside else 0
                base = source + (from_z * load(axis_y + _X.input) + from_y) * load(axis_x + _X.input) * pixel_pitch
                for tap_x in range(taps_x):
                    from_x = load(x + _P.start) + at_x - tap_x * load(axis_x + _X.step)
                    slot, last = slots, slots + (rows - row) * WORD_BYTES
                    for i in range(from_x, from_x + run):
                        store(slot, base + i * pixel_pitch if 0 <= i < limit else zeros)
                        slot += WORD_BYTES
                        if slot == last:
                            slot += strip_bytes
                            last = slot + row_bytes
                    slots += row_bytes
        to_z = load(z + _P.first) + at_z * load(axis_z + _X.stride)
        to_y = load(y + _P.first) + at_y * load(axis_y + _X.stride)
        number = (to_z * load(axis_y + _X.output) + to_y) * load(axis_x + _X.output) + load(x + _P.first)
        for i in range(at_x, at_x + run):
            store(slots, number + i * load(axis_x + _X.stride))
            slots += WORD_BYTES
            row += 1
            if row == rows:
                row = 0
                slots += strip_bytes
        begin = slots - strip_bytes
        pixel += run
        line += 1
        at_x = 0
    if row > 0:
        for tap in range(taps_z * taps_y * taps_x + 1):
            for i in range(rows - row):
                store(begin + tap * row_bytes + i * WORD_BYTES, load(begin + tap * row_bytes - WORD_BYTES))
