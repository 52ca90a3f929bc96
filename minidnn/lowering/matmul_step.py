"""A product of matrices as a step: shapes and panels to the arguments of `matmul_loop`."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import lru_cache

from minidnn.lowering.anchor import Anchor, epilogue_bytes, epilogue_context
from minidnn.lowering.builder import Builder
from minidnn.lowering.epilogue import BoundEpilogue
from minidnn.lowering.geometry import Window, pixel_table
from minidnn.lowering.tiling import Tiling
from minidnn.lowering.values import PLAIN, Value
from minidnn.plan.program import Address, Cost, Kernel
from minidnn_kernels.element_type import FLOAT32, element_type_of
from minidnn_kernels.matmul import MATMUL_ARGUMENTS
from minidnn_kernels.tile import TileSpec

__all__ = ["Panels", "Shape", "add_matmul_step"]


@dataclass(frozen=True)
class Panels:
    """The packed right operand: address, pitches in bytes (from tile to tile first), and steps behind each pointer."""

    address: Address
    pitch: int
    group_pitch: int
    image_pitch: int
    steps: int


@dataclass(frozen=True)
class Shape:
    """[images x pixels, taps x depth] by [taps x depth, columns], `groups` times.

    `channels` is how many elements lie from a pixel to the next, for all groups: a tap may be longer than that.
    """

    images: int
    groups: int
    taps: int
    depth: int
    columns: int
    channels: int


def add_matmul_step(
    builder: Builder,
    anchor: Anchor,
    bound: BoundEpilogue,
    tiling: Tiling,
    source: Value,
    panels: Panels,
    window: Window,
    shape: Shape,
    layout: str,
    dot: str = "",
) -> Value:
    """The step itself; `source` is float32, or int8 with panels packed for it, and for `dot` if that is given."""
    data = element_type_of(source.type.dtype)
    assert data is not None
    width = tiling.vectors * builder.isa.lanes
    result = builder.new(anchor.result, layout)
    strips = -(-window.pixels // tiling.rows)
    blocks, panel_blocks = -(-strips // tiling.block_strips), -(-shape.columns // (width * tiling.block_panels))
    masked = shape.columns % width != 0
    # An int8 step reads up to 16 bytes where there are fewer.
    zeros = builder.zeros(shape.depth + 16 // FLOAT32.bytes)
    tile = TileSpec(tiling.rows, tiling.vectors, bound.epilogue, False, data.name, dot, panels=tiling.panels)
    if layout == PLAIN:
        _prepare_others(builder, tile, tiling, shape.columns)
    row = MATMUL_ARGUMENTS.fill(
        tile=Kernel(tile),
        remainder_tile=Kernel(replace(tile, masked=masked)),
        source=builder.address(source),
        zeros=zeros,
        image_pitch=math.prod(window.input) * shape.channels * data.bytes,
        pixel_pitch=shape.channels * data.bytes,
        source_group=shape.depth * data.bytes,
        table=builder.table(pixel_table(window, tiling.rows)),
        taps=shape.taps,
        depth=panels.steps,
        weights=panels.address,
        panel_pitch=panels.pitch,
        weight_group=panels.group_pitch,
        weight_image=panels.image_pitch,
        rows=tiling.rows,
        columns=width,
        pixels=window.pixels,
        block_strips=tiling.block_strips,
        blocks=blocks,
        groups=shape.groups,
        group_columns=shape.columns,
        block_panels=tiling.block_panels,
        panel_blocks=panel_blocks,
        context=epilogue_context(builder, bound, result, shape.groups * shape.columns),
    )
    operations = 2 * shape.images * window.pixels * shape.taps * shape.depth * shape.groups * shape.columns
    weights = max(shape.groups * panels.group_pitch, shape.images * panels.image_pitch)
    moved = source.nbytes + weights + epilogue_bytes(bound, result)
    parts = shape.images * blocks * shape.groups * panel_blocks
    builder.native(anchor.name, "matmul_loop", row, parts, Cost(operations, moved))
    return result


def _prepare_others(builder: Builder, tile: TileSpec, tiling: Tiling, columns: int) -> None:
    """Have the kernels for other numbers of rows ready: batches and lengths vary more often than pictures."""
    for spec in _other_tiles(tile, tiling.others, columns, builder.isa.lanes):
        builder.prepare(spec)


@lru_cache(maxsize=1024)
def _other_tiles(
    tile: TileSpec, others: tuple[tuple[int, int, int], ...], columns: int, lanes: int
) -> tuple[TileSpec, ...]:
    made = []
    for rows, vectors, panels in others:
        made.append(replace(tile, rows=rows, vectors=vectors, panels=panels))
        if columns % (vectors * lanes):
            made.append(replace(made[-1], masked=True))
    return tuple(made)
