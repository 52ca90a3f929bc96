"""The direct way: every product of the window by the tile, its rows found by pointers."""

from __future__ import annotations

from minidnn.lowering.builder import Builder
from minidnn.lowering.copy import lower_copy
from minidnn.lowering.cost_model import direct_cycles
from minidnn.lowering.geometry import Window
from minidnn.lowering.matmul_step import Panels, Shape, add_matmul_step
from minidnn.lowering.memory import TEMPORARY
from minidnn.lowering.product import Product
from minidnn.lowering.row_taps import can_join_row_taps, join_row_taps
from minidnn.lowering.tail import Tail
from minidnn.lowering.tiling import choose_tiling
from minidnn.lowering.values import CHANNELS_LAST, Array, Value
from minidnn_kernels.dot import best_dot
from minidnn_kernels.matmul import MAX_POINTERS, pack_for_dot

__all__ = ["Direct", "MergedRows"]


class Direct:
    """A tap of the window is a tap of the tile."""

    name = "direct"

    def fits(self, product: Product) -> bool:
        return product.window.taps <= MAX_POINTERS

    def cycles(self, product: Product) -> float:
        return direct_cycles(product)

    def lower(self, builder: Builder, product: Product, tail: Tail) -> Value:
        source = builder.as_layout(product.anchor.inputs[0], product.layout)
        return _add_step(builder, product, tail, source, product.matrix, product.window)


class MergedRows:
    """A row of the window, of few channels, is one tap of the tile."""

    name = "merged_rows"

    def fits(self, product: Product) -> bool:
        few = product.layout == CHANNELS_LAST and can_join_row_taps(product.matrix, product.window)
        return few and product.window.taps <= MAX_POINTERS

    def cycles(self, product: Product) -> float:
        # What is saved is not in the model: steps that are not filled, and pointers.
        return direct_cycles(product)

    def lower(self, builder: Builder, product: Product, tail: Tail) -> Value:
        joined = join_row_taps(builder, product.anchor.inputs[0], product.matrix, product.window)
        return _add_step(builder, product, tail, *joined)


def _add_step(builder: Builder, product: Product, tail: Tail, source: Value, matrix: Array, window: Window) -> Value:
    isa, (groups, taps, depth, columns) = builder.isa, matrix.shape
    name = best_dot(isa, product.data.name, matrix)
    dot = product.data.dot(isa, name)
    steps = -(-depth // dot.group)
    tiling = choose_tiling(isa, product.images, window.pixels, taps, steps, groups, columns, dot.fits)
    start = product.weights.start
    starts = None if start is None else start.reshape(groups, columns)
    width = tiling.vectors * isa.lanes
    form = ("panels", taps, width, name, product.data.name)
    packed = product.weights.pack(builder, form, lambda: pack_for_dot(matrix, starts, width, dot, isa.lanes))
    count, pitch = packed.shape[1:]
    panels = Panels(builder.constant(packed), count, pitch, count * pitch, 0, steps)
    source = _with_room(builder, source, dot.row_bytes(steps) > depth * product.data.bytes)
    shape = Shape(product.images, groups, taps, depth, columns, product.groups * product.depth)
    return add_matmul_step(builder, product.anchor, tail, tiling, source, panels, window, shape, product.layout, name)


def _with_room(builder: Builder, value: Value, needed: bool) -> Value:
    """The value in the arena, which has room behind it: a step reads whole groups, the last maybe beyond the end."""
    if not needed or value.address.buffer.kind == TEMPORARY:
        return value
    result = builder.new(value.type, value.layout)
    lower_copy(builder, "copy", value, value.strides, result.address, result.strides, value.shape)
    return result
