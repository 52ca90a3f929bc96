"""The loops around the microkernels, one for each kind of kernel, compiled by Numba.

Each takes what `minidnn_kernels.numba_loops` says of every kernel; its arguments are declared beside the microkernel.
"""

from __future__ import annotations

from minidnn_kernels.arguments import WORD_BYTES
from minidnn_kernels.copy import COPY_ARGUMENTS, MAX_DIMENSIONS
from minidnn_kernels.depthwise import DEPTHWISE_ARGUMENTS
from minidnn_kernels.depthwise import MAX_POINTERS as DEPTHWISE_POINTERS
from minidnn_kernels.element_type import FLOAT32, INT32
from minidnn_kernels.elementwise import ELEMENTWISE_ARGUMENTS, MAX_OPERANDS, MAX_OUTER, TENSOR
from minidnn_kernels.extrema import EXTREMA_ARGUMENTS
from minidnn_kernels.loop_words import (
    call3,
    call4,
    call5,
    call7,
    call9,
    copy_bytes,
    copy_item,
    load,
    load_i32,
    scratch,
    store,
)
from minidnn_kernels.matmul import MATMUL_ARGUMENTS
from minidnn_kernels.matmul import MAX_POINTERS as MATMUL_POINTERS
from minidnn_kernels.pooling import GLOBAL_POOL_ARGUMENTS, MAX_TAPS, POOL_ARGUMENTS
from minidnn_kernels.rows import ROWS_ARGUMENTS
from minidnn_kernels.scales import SCALES_ARGUMENTS
from minidnn_kernels.simd import LANE_BYTES
from minidnn_kernels.store import CONTEXT
from minidnn_kernels.winograd import MAX_POINTERS as WINOGRAD_POINTERS
from minidnn_kernels.winograd import SPARE_BYTES, WINOGRAD_ARGUMENTS

__all__ = [
    "copy_loop",
    "depthwise_loop",
    "elementwise_loop",
    "extrema_loop",
    "global_pool_loop",
    "matmul_loop",
    "pool_loop",
    "rows_loop",
    "scales_loop",
    "winograd_loop",
]

_INDEX_BYTES, _FLOAT_BYTES = INT32.bytes, FLOAT32.bytes

_COPY = COPY_ARGUMENTS.offsets
_OUTER_DIMENSIONS = MAX_DIMENSIONS - 2
_ROW, _COLUMN = (MAX_DIMENSIONS - 2) * WORD_BYTES, (MAX_DIMENSIONS - 1) * WORD_BYTES


def copy_loop(args: int, part: int, parts: int, memory: int) -> None:
    """One part is some rows (the second last dimension) of one index of the outer dimensions."""
    item, row_parts = load(args + _COPY.item), load(args + _COPY.row_parts)
    rest = part // row_parts
    source, target = load(args + _COPY.source), load(args + _COPY.target)
    for d in range(_OUTER_DIMENSIONS - 1, -1, -1):
        extent = load(args + _COPY.shape + d * WORD_BYTES)
        index = rest % extent
        rest = rest // extent
        source += index * load(args + _COPY.source_strides + d * WORD_BYTES)
        target += index * load(args + _COPY.target_strides + d * WORD_BYTES)
    first = part % row_parts * load(args + _COPY.rows_per_part)
    rows = min(load(args + _COPY.rows_per_part), load(args + _COPY.shape + _ROW) - first)
    columns = load(args + _COPY.shape + _COLUMN)
    source_row, target_row = load(args + _COPY.source_strides + _ROW), load(args + _COPY.target_strides + _ROW)
    source_column, target_column = (
        load(args + _COPY.source_strides + _COLUMN),
        load(args + _COPY.target_strides + _COLUMN),
    )
    source += first * source_row
    target += first * target_row
    if load(args + _COPY.kernel) != 0:
        call5(load(args + _COPY.kernel), source, target, rows, columns, args)
    elif source_column == item and target_column == item:
        for row in range(rows):
            copy_bytes(target + row * target_row, source + row * source_row, columns * item)
    else:
        for row in range(rows):
            for column in range(columns):
                copy_item(
                    target + row * target_row + column * target_column,
                    source + row * source_row + column * source_column,
                    item,
                )


_ELEMENTWISE = ELEMENTWISE_ARGUMENTS.offsets
_TENSOR = TENSOR.offsets
_TENSOR_BYTES = TENSOR.words * WORD_BYTES
_TENSORS = MAX_OPERANDS + 1
_INNERMOST = (MAX_OUTER - 1) * WORD_BYTES


def elementwise_loop(args: int, part: int, parts: int, memory: int) -> None:
    """One part is an equal share of the chunks of all rows."""
    kernel, tensors, inner = (
        load(args + _ELEMENTWISE.kernel),
        load(args + _ELEMENTWISE.tensors),
        load(args + _ELEMENTWISE.inner),
    )
    chunk, chunks = load(args + _ELEMENTWISE.chunk), load(args + _ELEMENTWISE.chunks)
    total = load(args + _ELEMENTWISE.outer) * chunks
    context, numbers = scratch(_TENSORS), args + _ELEMENTWISE.tensor + tensors * _TENSOR_BYTES
    innermost = load(args + _ELEMENTWISE.shape + _INNERMOST)
    # Rows of the innermost dimension around them that are left until another index changes too.
    left = 0
    for number in range(total * part // parts, total * (part + 1) // parts):
        outer, begin = number // chunks, number % chunks * chunk
        if chunks == 1 and left > 0:
            left -= 1
            for t in range(tensors):
                tensor = args + _ELEMENTWISE.tensor + t * _TENSOR_BYTES
                address = load(context + t * WORD_BYTES) + load(tensor + _TENSOR.strides + _INNERMOST)
                store(context + t * WORD_BYTES, address)
        else:
            left = innermost - 1 - outer % innermost
            for t in range(tensors):
                tensor = args + _ELEMENTWISE.tensor + t * _TENSOR_BYTES
                address = load(tensor + _TENSOR.address) + begin * load(tensor + _TENSOR.step)
                rest = outer
                for d in range(MAX_OUTER - 1, -1, -1):
                    extent = load(args + _ELEMENTWISE.shape + d * WORD_BYTES)
                    address += rest % extent * load(tensor + _TENSOR.strides + d * WORD_BYTES)
                    rest = rest // extent
                store(context + t * WORD_BYTES, address)
        call3(kernel, context, min(chunk, inner - begin), numbers)


_ROWS = ROWS_ARGUMENTS.offsets


def rows_loop(args: int, part: int, parts: int, memory: int) -> None:
    """One part is an equal share of the rows."""
    rows, count = load(args + _ROWS.rows), load(args + _ROWS.count)
    source, target, kernel = load(args + _ROWS.source), load(args + _ROWS.target), load(args + _ROWS.kernel)
    mask, pitch, mask_pitch = load(args + _ROWS.mask), load(args + _ROWS.target_pitch), load(args + _ROWS.mask_pitch)
    for row in range(rows * part // parts, rows * (part + 1) // parts):
        begin = source + row * count * _FLOAT_BYTES
        call5(kernel, begin, target + row * pitch, count, args + _ROWS.extra, mask + row * mask_pitch)


_EXTREMA = EXTREMA_ARGUMENTS.offsets


def extrema_loop(args: int, part: int, parts: int, memory: int) -> None:
    """One part is an equal share of the chunks of all rows; each chunk has its own pair of results."""
    kernel, source, target = load(args + _EXTREMA.kernel), load(args + _EXTREMA.source), load(args + _EXTREMA.target)
    count, chunk, chunks = load(args + _EXTREMA.count), load(args + _EXTREMA.chunk), load(args + _EXTREMA.chunks)
    total = load(args + _EXTREMA.rows) * chunks
    for number in range(total * part // parts, total * (part + 1) // parts):
        row, begin = number // chunks, number % chunks * chunk
        call3(
            kernel,
            source + (row * count + begin) * _FLOAT_BYTES,
            target + number * 2 * _FLOAT_BYTES,
            min(chunk, count - begin),
        )


_SCALES = SCALES_ARGUMENTS.offsets


def scales_loop(args: int, part: int, parts: int, memory: int) -> None:
    """One part is an equal share of the rows."""
    kernel, extrema, chunks = load(args + _SCALES.kernel), load(args + _SCALES.extrema), load(args + _SCALES.chunks)
    scales, inverses, rows = load(args + _SCALES.scales), load(args + _SCALES.inverses), load(args + _SCALES.rows)
    for row in range(rows * part // parts, rows * (part + 1) // parts):
        call4(
            kernel,
            extrema + row * chunks * 2 * _FLOAT_BYTES,
            scales + row * _FLOAT_BYTES,
            inverses + row * _FLOAT_BYTES,
            chunks,
        )


_POOLING = POOL_ARGUMENTS.offsets
_GLOBAL_POOLING = GLOBAL_POOL_ARGUMENTS.offsets


def pool_loop(args: int, part: int, parts: int, memory: int) -> None:
    """One part is some output pixels of one image."""
    blocks, pixels, taps = load(args + _POOLING.blocks), load(args + _POOLING.pixels), load(args + _POOLING.taps)
    image, block = part // blocks, part % blocks
    first = block * load(args + _POOLING.block)
    last = min(pixels, first + load(args + _POOLING.block))
    kernel, channels, pixel_pitch = (
        load(args + _POOLING.kernel),
        load(args + _POOLING.channels),
        load(args + _POOLING.pixel_pitch),
    )
    source = load(args + _POOLING.source) + image * load(args + _POOLING.image_pitch)
    target = load(args + _POOLING.target) + image * pixels * load(args + _POOLING.target_pitch)
    pointers = scratch(MAX_TAPS)
    for pixel in range(first, last):
        count = 0
        table = load(args + _POOLING.table) + pixel * taps * _INDEX_BYTES
        for tap in range(taps):
            seen = load_i32(table + tap * _INDEX_BYTES)
            if seen >= 0:
                store(pointers + count * WORD_BYTES, source + seen * pixel_pitch)
                count += 1
        place = target + pixel * load(args + _POOLING.target_pitch)
        call5(kernel, place, pointers, count, channels, load(args + _POOLING.factors) + pixel * _FLOAT_BYTES)


def global_pool_loop(args: int, part: int, parts: int, memory: int) -> None:
    """One part is some channels of one image; all pixels of the image go into one."""
    blocks = load(args + _GLOBAL_POOLING.blocks)
    image, block = part // blocks, part % blocks
    first = block * load(args + _GLOBAL_POOLING.block)
    channels = min(load(args + _GLOBAL_POOLING.block), load(args + _GLOBAL_POOLING.channels) - first)
    source = (
        load(args + _GLOBAL_POOLING.source)
        + image * load(args + _GLOBAL_POOLING.image_pitch)
        + first * load(args + _GLOBAL_POOLING.item)
    )
    target = (
        load(args + _GLOBAL_POOLING.target)
        + image * load(args + _GLOBAL_POOLING.target_pitch)
        + first * load(args + _GLOBAL_POOLING.target_item)
    )
    call5(
        load(args + _GLOBAL_POOLING.kernel),
        target,
        source,
        load(args + _GLOBAL_POOLING.pixels),
        channels,
        load(args + _GLOBAL_POOLING.extra),
    )


_DEPTHWISE = DEPTHWISE_ARGUMENTS.offsets


def depthwise_loop(args: int, part: int, parts: int, memory: int) -> None:
    """One part is some strips of one image."""
    blocks = load(args + _DEPTHWISE.blocks)
    image, block = part // blocks, part % blocks
    first = block * load(args + _DEPTHWISE.block_strips)
    last = min(load(args + _DEPTHWISE.strips), first + load(args + _DEPTHWISE.block_strips))
    count, pixel_pitch = load(args + _DEPTHWISE.pointers), load(args + _DEPTHWISE.pixel_pitch)
    source = load(args + _DEPTHWISE.source) + image * load(args + _DEPTHWISE.image_pitch)
    zeros, kernel = load(args + _DEPTHWISE.zeros), load(args + _DEPTHWISE.kernel)
    weights, channels = load(args + _DEPTHWISE.weights), load(args + _DEPTHWISE.channels)
    pixels = load(args + _DEPTHWISE.pixels)
    pointers = scratch(DEPTHWISE_POINTERS)
    for strip in range(first, last):
        table = load(args + _DEPTHWISE.table) + strip * count * _INDEX_BYTES
        for i in range(count):
            pixel = load_i32(table + i * _INDEX_BYTES)
            store(pointers + i * WORD_BYTES, zeros if pixel < 0 else source + pixel * pixel_pitch)
        row = image * pixels + load_i32(load(args + _DEPTHWISE.starts) + strip * _INDEX_BYTES)
        call5(kernel, args + _DEPTHWISE.context, pointers, weights, row, channels)


_MATMUL = MATMUL_ARGUMENTS.offsets


def matmul_loop(args: int, part: int, parts: int, memory: int) -> None:
    """One part is one (image, block of strips, group, block of panels); `parts` is their product."""
    rows, columns = load(args + _MATMUL.rows), load(args + _MATMUL.columns)
    taps, depth = load(args + _MATMUL.taps), load(args + _MATMUL.depth)
    pixels, group_columns = load(args + _MATMUL.pixels), load(args + _MATMUL.group_columns)
    blocks, groups, panel_blocks = (
        load(args + _MATMUL.blocks),
        load(args + _MATMUL.groups),
        load(args + _MATMUL.panel_blocks),
    )

    # Neighbouring parts share A's rows, so that they are still in cache.
    panel_block = part % panel_blocks
    rest = part // panel_blocks
    group = rest % groups
    rest = rest // groups
    block = rest % blocks
    image = rest // blocks

    strips = (pixels + rows - 1) // rows
    first_strip = block * load(args + _MATMUL.block_strips)
    last_strip = min(strips, first_strip + load(args + _MATMUL.block_strips))

    pointers = scratch(MATMUL_POINTERS)
    source = (
        load(args + _MATMUL.source)
        + image * load(args + _MATMUL.image_pitch)
        + group * load(args + _MATMUL.source_group)
    )
    zeros = load(args + _MATMUL.zeros)
    pixel_pitch = load(args + _MATMUL.pixel_pitch)
    table = load(args + _MATMUL.table) + first_strip * taps * rows * _INDEX_BYTES
    for i in range((last_strip - first_strip) * taps * rows):
        pixel = load_i32(table + i * _INDEX_BYTES)
        store(pointers + i * WORD_BYTES, zeros if pixel < 0 else source + pixel * pixel_pitch)

    panels = (group_columns + columns - 1) // columns
    first_panel = panel_block * load(args + _MATMUL.block_panels)
    last_panel = min(panels, first_panel + load(args + _MATMUL.block_panels))
    panel_pitch = load(args + _MATMUL.panel_pitch)
    weights = (
        load(args + _MATMUL.weights)
        + group * load(args + _MATMUL.weight_group)
        + image * load(args + _MATMUL.weight_image)
    )
    for panel in range(first_panel, last_panel):
        columns_left = group_columns - panel * columns
        tile = load(args + _MATMUL.tile) if columns_left >= columns else load(args + _MATMUL.remainder_tile)
        for strip in range(first_strip, last_strip):
            call9(
                tile,
                args + _MATMUL.context,
                pointers + (strip - first_strip) * taps * rows * WORD_BYTES,
                taps,
                depth,
                weights + panel * panel_pitch,
                image * pixels + strip * rows,
                group * group_columns + panel * columns,
                pixels - strip * rows,
                columns_left,
            )


_WINOGRAD = WINOGRAD_ARGUMENTS.offsets
_CONTEXT = CONTEXT.offsets
# Of the tile: it has no operands.
_CONTEXT_WORDS = CONTEXT.words


def winograd_loop(args: int, part: int, parts: int, memory: int) -> None:
    """One part is some blocks, of one image or several, and some panels of filters.

    The blocks are transformed, multiplied and transformed back in scratch memory.
    """
    filter_parts, part_blocks = load(args + _WINOGRAD.filter_parts), load(args + _WINOGRAD.part_blocks)
    image_blocks = load(args + _WINOGRAD.blocks)
    first = part // filter_parts * part_blocks
    blocks = min(part_blocks, load(args + _WINOGRAD.images) * image_blocks - first)
    elements, row_pitch, filters = (
        load(args + _WINOGRAD.products),
        load(args + _WINOGRAD.row_pitch),
        load(args + _WINOGRAD.filters),
    )
    columns, part_panels = load(args + _WINOGRAD.columns), load(args + _WINOGRAD.part_panels)
    panels, first_panel = (filters + columns - 1) // columns, part % filter_parts * part_panels
    last_panel = min(panels, first_panel + part_panels)
    # Scratch: the transformed input [products][part blocks][channels], then the sums [products][part blocks][filters of
    # the part]. Not a multiple of what a cache has sets for: the transforms touch one row of each matrix at a time.
    sums_row = part_panels * columns * LANE_BYTES
    source_pitch, sums_pitch = part_blocks * row_pitch + SPARE_BYTES, part_blocks * sums_row + SPARE_BYTES
    # Where the sums of the very first filter would lie.
    sums = memory + elements * source_pitch - first_panel * columns * LANE_BYTES
    pointers, channels = scratch(WINOGRAD_POINTERS), load(args + _WINOGRAD.channels)
    zeros, pixel_pitch = load(args + _WINOGRAD.zeros), load(args + _WINOGRAD.pixel_pitch)
    for block in range(blocks):
        image, place = (first + block) // image_blocks, (first + block) % image_blocks
        source = load(args + _WINOGRAD.source) + image * load(args + _WINOGRAD.image_pitch)
        table = load(args + _WINOGRAD.input_table) + place * elements * _INDEX_BYTES
        for i in range(elements):
            pixel = load_i32(table + i * _INDEX_BYTES)
            store(pointers + i * WORD_BYTES, zeros if pixel < 0 else source + pixel * pixel_pitch)
        call4(load(args + _WINOGRAD.input_kernel), pointers, memory + block * row_pitch, source_pitch, channels)

    rows, steps = load(args + _WINOGRAD.rows), load(args + _WINOGRAD.steps)
    context = scratch(_CONTEXT_WORDS)
    store(context + _CONTEXT.pitch, sums_row)
    for element in range(elements):
        store(context + _CONTEXT.output, sums + element * sums_pitch)
        for panel in range(first_panel, last_panel):
            columns_left = filters - panel * columns
            tile = load(args + _WINOGRAD.tile) if columns_left >= columns else load(args + _WINOGRAD.remainder_tile)
            weights = load(args + _WINOGRAD.weights) + (element * panels + panel) * load(args + _WINOGRAD.panel_pitch)
            for number in range((blocks + rows - 1) // rows):
                strip = number * rows
                for i in range(rows):
                    row = min(strip + i, blocks - 1)
                    store(pointers + i * WORD_BYTES, memory + element * source_pitch + row * row_pitch)
                call9(tile, context, pointers, 1, steps, weights, strip, panel * columns, blocks - strip, columns_left)

    block_pixels = load(args + _WINOGRAD.block_pixels)
    for block in range(blocks):
        image, place = (first + block) // image_blocks, (first + block) % image_blocks
        call7(
            load(args + _WINOGRAD.output_kernel),
            args + _WINOGRAD.context,
            sums + block * sums_row,
            sums_pitch,
            load(args + _WINOGRAD.output_table) + place * block_pixels * _INDEX_BYTES,
            image * load(args + _WINOGRAD.pixels),
            first_panel * columns,
            min(last_panel * columns, filters),
        )
