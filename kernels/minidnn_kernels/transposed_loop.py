"""The loop function of `minidnn_kernels.transposed`, compiled by Numba."""

from __future__ import annotations

from minidnn_kernels.loop_words import call9, inlined, load, scratch, store
from minidnn_kernels.transposed import AxisArguments, PhaseRecord, TransposedArguments

__all__ = ["transposed_loop"]

_A, _X, _P = TransposedArguments(), AxisArguments(), PhaseRecord()
_TILE, _TAIL_TILE, _SOURCE, _ZEROS = _A.TILE * 8, _A.TAIL_TILE * 8, _A.SOURCE * 8, _A.ZEROS * 8
_IMAGE_PITCH, _PIXEL_PITCH, _SOURCE_GROUP = _A.IMAGE_PITCH * 8, _A.PIXEL_PITCH * 8, _A.SOURCE_GROUP * 8
_DEPTH, _WEIGHTS, _TAP_BYTES = _A.DEPTH * 8, _A.WEIGHTS * 8, _A.TAP_BYTES * 8
_ROWS, _COLUMNS = _A.ROWS * 8, _A.COLUMNS * 8
_BLOCK_STRIPS, _BLOCKS, _BLOCK_PHASES, _PHASE_BLOCKS = (
    _A.BLOCK_STRIPS * 8,
    _A.BLOCKS * 8,
    _A.BLOCK_PHASES * 8,
    _A.PHASE_BLOCKS * 8,
)
_GROUPS, _GROUP_COLUMNS, _BLOCK_PANELS = _A.GROUPS * 8, _A.GROUP_COLUMNS * 8, _A.BLOCK_PANELS * 8
_PANEL_BLOCKS, _CONTEXT = _A.PANEL_BLOCKS * 8, _A.CONTEXT * 8
_AXIS_Z, _AXIS_Y, _AXIS_X = _A.AXIS * 8, (_A.AXIS + _X.LENGTH) * 8, (_A.AXIS + 2 * _X.LENGTH) * 8
_INPUT, _OUTPUT, _STRIDE, _STEP = _X.INPUT * 8, _X.OUTPUT * 8, _X.STRIDE * 8, _X.STEP * 8
_PHASES, _ALL_TAPS, _RECORDS = _X.PHASES * 8, _X.TAPS * 8, _X.RECORDS * 8
_FIRST, _COUNT, _START, _TAPS, _BEFORE = _P.FIRST * 8, _P.COUNT * 8, _P.START * 8, _P.TAPS * 8, _P.TAPS_BEFORE * 8
_RECORD = _P.LENGTH * 8


def transposed_loop(args: int, part: int, parts: int, memory: int) -> None:
    """One part is one (image, block of strips, block of phases, group, block of panels).

    A block of strips lies at about the same place of the image in every phase: phases share what they read, and write
    between each other, while it is in cache.
    """
    axis_z, axis_y, axis_x = args + _AXIS_Z, args + _AXIS_Y, args + _AXIS_X
    rows, columns, depth = load(args + _ROWS), load(args + _COLUMNS), load(args + _DEPTH)
    blocks, phase_blocks = load(args + _BLOCKS), load(args + _PHASE_BLOCKS)
    groups, panel_blocks = load(args + _GROUPS), load(args + _PANEL_BLOCKS)

    panel_block = part % panel_blocks
    rest = part // panel_blocks
    group = rest % groups
    rest = rest // groups
    phase_block = rest % phase_blocks
    rest = rest // phase_blocks
    block = rest % blocks
    image = rest // blocks

    phases_y, phases_x = load(axis_y + _PHASES), load(axis_x + _PHASES)
    all_y, all_x = load(axis_y + _ALL_TAPS), load(axis_x + _ALL_TAPS)
    image_row = image * load(axis_z + _OUTPUT) * load(axis_y + _OUTPUT) * load(axis_x + _OUTPUT)
    group_columns, tap_bytes = load(args + _GROUP_COLUMNS), load(args + _TAP_BYTES)
    panels = (group_columns + columns - 1) // columns
    first_panel = panel_block * load(args + _BLOCK_PANELS)
    last_panel = min(panels, first_panel + load(args + _BLOCK_PANELS))
    source = load(args + _SOURCE) + image * load(args + _IMAGE_PITCH) + group * load(args + _SOURCE_GROUP)
    first_strip = block * load(args + _BLOCK_STRIPS)
    first_phase = phase_block * load(args + _BLOCK_PHASES)
    last_phase = min(load(axis_z + _PHASES) * phases_y * phases_x, first_phase + load(args + _BLOCK_PHASES))

    pointers = scratch(8192)
    for phase in range(first_phase, last_phase):
        z = load(axis_z + _RECORDS) + phase // (phases_y * phases_x) * _RECORD
        y = load(axis_y + _RECORDS) + phase // phases_x % phases_y * _RECORD
        x = load(axis_x + _RECORDS) + phase % phases_x * _RECORD
        taps_y = load(y + _TAPS)
        taps = load(z + _TAPS) * taps_y * load(x + _TAPS)
        pixels = load(z + _COUNT) * load(y + _COUNT) * load(x + _COUNT)
        last_strip = min((pixels + rows - 1) // rows, first_strip + load(args + _BLOCK_STRIPS))
        _point_rows(args, z, y, x, source, first_strip * rows, min(pixels, last_strip * rows), pointers)

        before_y = load(y + _BEFORE) * all_x + taps_y * load(x + _BEFORE)
        before = load(z + _BEFORE) * all_y * all_x + load(z + _TAPS) * before_y
        weights = load(args + _WEIGHTS) + (before * groups + taps * group) * panels * tap_bytes
        for panel in range(first_panel, last_panel):
            columns_left = group_columns - panel * columns
            tile = load(args + _TILE) if columns_left >= columns else load(args + _TAIL_TILE)
            for strip in range(first_strip, last_strip):
                call9(
                    tile,
                    args + _CONTEXT,
                    pointers + (strip - first_strip) * (taps + 1) * rows * 8,
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
    rows, pixel_pitch, zeros = load(args + _ROWS), load(args + _PIXEL_PITCH), load(args + _ZEROS)
    taps_z, taps_y, taps_x = load(z + _TAPS), load(y + _TAPS), load(x + _TAPS)
    high, wide = load(y + _COUNT), load(x + _COUNT)
    strip_bytes, row_bytes = taps_z * taps_y * taps_x * rows * 8, rows * 8
    at_x, line = pixel % wide, pixel // wide
    row, begin = 0, pointers
    while pixel < end:
        at_z, at_y = line // high, line % high
        run = min(wide - at_x, end - pixel)
        slots = begin
        for tap_z in range(taps_z):
            from_z = load(z + _START) + at_z - tap_z * load(axis_z + _STEP)
            for tap_y in range(taps_y):
                from_y = load(y + _START) + at_y - tap_y * load(axis_y + _STEP)
                inside = 0 <= from_z < load(axis_z + _INPUT) and 0 <= from_y < load(axis_y + _INPUT)
                limit = load(axis_x + _INPUT) if inside else 0
                base = source + (from_z * load(axis_y + _INPUT) + from_y) * load(axis_x + _INPUT) * pixel_pitch
                for tap_x in range(taps_x):
                    from_x = load(x + _START) + at_x - tap_x * load(axis_x + _STEP)
                    slot, last = slots, slots + (rows - row) * 8
                    for i in range(from_x, from_x + run):
                        store(slot, base + i * pixel_pitch if 0 <= i < limit else zeros)
                        slot += 8
                        if slot == last:
                            slot += strip_bytes
                            last = slot + row_bytes
                    slots += row_bytes
        to_z = load(z + _FIRST) + at_z * load(axis_z + _STRIDE)
        to_y = load(y + _FIRST) + at_y * load(axis_y + _STRIDE)
        number = (to_z * load(axis_y + _OUTPUT) + to_y) * load(axis_x + _OUTPUT) + load(x + _FIRST)
        for i in range(at_x, at_x + run):
            store(slots, number + i * load(axis_x + _STRIDE))
            slots += 8
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
                store(begin + tap * row_bytes + i * 8, load(begin + tap * row_bytes - 8))
