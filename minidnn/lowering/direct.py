"""The direct algorithm: every product of the window by the tile, its rows found by pointers.

In convolutions of few channels, such as an image's three, a whole row of the kernel is one tap.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

import numpy as np

from minidnn.lowering.anchor import Weights
from minidnn.lowering.builder import Builder
from minidnn.lowering.copy import lower_copy
from minidnn.lowering.cost_model import direct_cycles
from minidnn.lowering.elementwise import cast_elements
from minidnn.lowering.epilogue import BoundEpilogue
from minidnn.lowering.geometry import Window
from minidnn.lowering.matmul_step import Panels, Shape, add_matmul_step
from minidnn.lowering.memory import TEMPORARY
from minidnn.lowering.panels import new_plain_panels
from minidnn.lowering.product import Product
from minidnn.lowering.tiling import MOST_PANELS, choose_panel, choose_tiling
from minidnn.lowering.values import CHANNELS_LAST, PLAIN, Array, Value
from minidnn.ops.registry import TensorType
from minidnn_kernels.dot import Dot, SplitDot, best_dot
from minidnn_kernels.element_type import FLOAT32, INT16, ElementType, element_type_of
from minidnn_kernels.epilogue import Epilogue
from minidnn_kernels.matmul import MAX_POINTERS, pack_for_dot

__all__ = ["Direct", "MergedRows", "can_merge_kernel_row", "merge_kernel_row"]

# From that depth and number of rows on, depth is cut into slices of about so many elements: a strip of rows and a panel
# of such a slice are in the caches of a core.
_LONG_DEPTH, _MANY_ROWS, _SLICE_DEPTH = 2560, 64, 1024
# With more channels than this, a tap is long enough by itself.
_MOST_CHANNELS = 8


def can_merge_kernel_row(shape: Sequence[int], window: Window) -> bool:
    """Whether a row of the kernel can be one tap, and is short enough for that to be faster.

    `shape` is that of the weights, [groups, taps, channels, filters].
    """
    few = shape[0] == 1 and shape[2] <= _MOST_CHANNELS
    return few and window.kernel[-1] > 1 and window.dilate[-1] == 1 and window.pad[-1] >= 0


def merge_kernel_row(
    builder: Builder, data: Value, shape: Sequence[int], window: Window
) -> tuple[Value, tuple[int, ...], Window]:
    """The same convolution with fewer and longer taps.

    Channels-last, the pixels that a row of the kernel meets lie side by side in memory. If zeros are written around
    the rows of the image, they are there for every row of the kernel, and it is one tap of kernel width x channels.

    Args:
        data: (N, C, ...), in any layout; what comes back is channels-last.
        shape: of the weights, [groups, taps, channels, filters]; what comes back is the one to read them in.
        window: what slides over the data.
    """
    _, _, channels, filters = shape
    width, step = window.kernel[-1], window.stride[-1]
    inside, left = window.input[-1], window.pad[-1]
    whole = max(left + inside, (window.output[-1] - 1) * step + width)
    type = TensorType((*data.shape[:-1], whole), data.type.dtype)
    image = builder.new(type, CHANNELS_LAST)
    zero = builder.parameter(np.zeros((1,) * type.ndim, type.dtype))
    pixel = image.strides[-1]
    for begin, end in ((0, left), (left + inside, whole)):
        margin = (*data.shape[:-1], end - begin)
        lower_copy(builder, "pad", zero, (0,) * type.ndim, image.address + begin * pixel, image.strides, margin)
    lower_copy(builder, "pad", data, data.strides, image.address + left * pixel, image.strides, data.shape)
    rows = replace(
        window,
        input=(*window.input[:-1], whole),
        kernel=(*window.kernel[:-1], 1),
        pad=(*window.pad[:-1], 0),
    )
    return image, (1, rows.taps, width * channels, filters), rows


class Direct:
    """A tap of the window is a tap of the tile."""

    name = "direct"

    def fits(self, product: Product) -> bool:
        return product.window.taps <= MAX_POINTERS

    def cycles(self, product: Product) -> float:
        return direct_cycles(product)

    def lower(self, builder: Builder, product: Product, bound: BoundEpilogue) -> Value:
        source = builder.as_layout(product.anchor.inputs[0], product.layout)
        if product.multiplied is not product.data:
            source = _cast(builder, source, product.multiplied)
        return _add_step(builder, product, bound, source, product.weights.shape, product.window)


class MergedRows:
    """A row of the window, of few channels, is one tap of the tile."""

    name = "merged_rows"

    def fits(self, product: Product) -> bool:
        few = product.layout == CHANNELS_LAST and can_merge_kernel_row(product.weights.shape, product.window)
        return few and product.window.taps <= MAX_POINTERS

    def cycles(self, product: Product) -> float:
        # What is saved is not in the model: steps that are not filled, and pointers.
        return direct_cycles(product)

    def lower(self, builder: Builder, product: Product, bound: BoundEpilogue) -> Value:
        joined = merge_kernel_row(builder, product.anchor.inputs[0], product.weights.shape, product.window)
        return _add_step(builder, product, bound, *joined)


def _add_step(
    builder: Builder, product: Product, bound: BoundEpilogue, source: Value, shape: tuple[int, ...], window: Window
) -> Value:
    """The step for weights read as [groups, taps, depth, columns] of that shape; several where depth is cut."""
    isa, weights, (groups, taps, depth, columns) = builder.isa, product.weights, shape

    data = element_type_of(source.type.dtype)
    assert data is not None

    def numbers() -> Array:
        numbers = weights.numbers.astype(INT16.dtype) if data is INT16 else weights.numbers
        return numbers if shape == weights.shape else np.ascontiguousarray(numbers).reshape(shape)

    name = weights.know(builder.store, ("dot", taps, data.name), lambda: best_dot(isa, data.name, numbers()))
    dot = data.dot(isa, name)
    slices = _slices(product, data, shape) if source.array is None else [slice(0, depth)]
    steps = -(-(slices[0].stop) // dot.group)
    panel = choose_panel(isa, taps * steps, columns, taps, dot.fits)
    most = 1 if isinstance(dot, SplitDot) else MOST_PANELS
    sizes = (product.images, window.pixels, taps, steps, groups, columns)
    usual = (math.prod(product.usual_output), columns) if builder.varies else None
    few, is_sliced = product.layout == PLAIN, len(slices) > 1
    tiling = choose_tiling(isa, *sizes, dot.fits, panel, most, usual, few, is_sliced)
    start = weights.start
    starts = None if start is None else start.reshape(groups, columns)
    width = panel * isa.lanes
    together = most if columns > width else 1
    source = _with_room(builder, source, dot.row_bytes(steps) > depth * data.bytes)
    sums: Value | None = None
    for part in slices:
        form = ("panels", taps, width, name, data.name, part.start, part.stop)
        pack = partial(_pack_slice, builder, weights, numbers, part, starts, width, dot, together)
        packed = weights.pack(builder, form, pack)
        count, pitch = packed.shape[1:]
        inside = -(-(part.stop - part.start) // dot.group)
        panels = Panels(builder.constant(packed), pitch * tiling.panels, count * pitch, 0, inside)
        sides = Shape(product.images, groups, taps, part.stop - part.start, columns, product.groups * product.depth)
        beside = replace(source, address=source.address + part.start * data.bytes) if part.start else source
        is_last = part.stop == depth
        tail = bound if is_last else BoundEpilogue(Epilogue(), ())
        if sums is not None:
            tail = tail.after_adding(sums)
        type = TensorType(product.anchor.result.shape, FLOAT32.dtype)
        anchor = product.anchor if is_last else replace(product.anchor, result=type)
        sums = add_matmul_step(builder, anchor, tail, tiling, beside, panels, window, sides, product.layout, name)
    assert sums is not None
    return sums


def _pack_slice(
    builder: Builder,
    weights: Weights,
    numbers: Callable[[], Array],
    part: slice,
    starts: Array | None,
    width: int,
    dot: Dot,
    together: int,
) -> Array:
    """Panels of a part of depth of the numbers; by a kernel where they are in no other order than the columns'."""
    given = numbers()[:, :, part]
    if dot.group == 1 and starts is None:
        return new_plain_panels(builder, given, width, together, weights.factors)
    return pack_for_dot(given, starts, width, dot, builder.isa.lanes, together)


def _slices(product: Product, data: ElementType, shape: tuple[int, ...]) -> list[slice]:
    """The parts of depth that are multiplied one after the other: several where rows are long and many.

    A tile that has walked along long rows of A and a long panel of B finds neither in the caches for the next tile.
    Sums of parts go through memory, which few rows are not worth. The number of rows is that of the call that the
    network was traced with: results do not depend on the batch.
    """
    groups, taps, depth, _ = shape
    is_long = depth >= _LONG_DEPTH and product.usual_pixels >= _MANY_ROWS
    if not is_long or data is not FLOAT32 or taps > 1 or groups > 1:
        return [slice(0, depth)]
    each = -(-depth // round(depth / _SLICE_DEPTH))
    return [slice(begin, min(begin + each, depth)) for begin in range(0, depth, each)]


def _cast(builder: Builder, value: Value, type: ElementType) -> Value:
    """Data with elements of another type, a copy that later askers share."""
    made = builder.find_laid_out(value, type.name)
    if made is None:
        made = cast_elements(builder, "cast", value, TensorType(value.shape, type.dtype))
        builder.keep_laid_out(value, type.name, made)
    return made


def _with_room(builder: Builder, value: Value, needed: bool) -> Value:
    """The value in the arena, which has room behind it: a step reads whole groups, the last maybe beyond the end."""
    if not needed or value.address.buffer.kind == TEMPORARY:
        return value
    result = builder.new(value.type, value.layout)
    lower_copy(builder, "copy", value, value.strides, result.address, result.strides, value.shape)
    return result
