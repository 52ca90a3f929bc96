"""Which input pixel each output pixel meets at each kernel position: the tables of indirect convolution."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from minidnn.errors import ShapeError
from minidnn.lowering.values import Array
from minidnn.plan.shared_arrays import SharedArrays

__all__ = ["TABLES", "Window", "pixel_table", "tap_pixels"]

# Tables of geometries, shared by all layers of the same one.
TABLES = SharedArrays()


@dataclass(frozen=True)
class Window:
    """A sliding window over one to three spatial dimensions.

    `pad` is at the low end, where it is negative if the window begins inside; the high end follows.
    """

    input: tuple[int, ...]
    output: tuple[int, ...]
    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    dilate: tuple[int, ...]
    pad: tuple[int, ...]

    @property
    def taps(self) -> int:
        return math.prod(self.kernel)

    @property
    def pixels(self) -> int:
        return math.prod(self.output)


def tap_pixels(window: Window) -> Array:
    """int32 [pixels, taps]: the flat input pixel, or -1 where the window reaches into the padding.

    Raises:
        ShapeError: the input has more pixels than an int32 can number.
    """
    if math.prod(window.input) > 1 << 31:
        raise ShapeError(f"a window can slide over 2**31 elements of a channel, got {window.input}")
    flat = np.zeros((1, 1), np.int64)
    valid = np.ones((1, 1), bool)
    dimensions = zip(window.input, window.output, window.kernel, window.stride, window.dilate, window.pad, strict=True)
    for size, out, kernel, stride, dilate, pad in dimensions:
        position = np.arange(out)[:, None] * stride - pad + np.arange(kernel)[None, :] * dilate
        inside = (position >= 0) & (position < size)
        pixels, taps = flat.shape
        flat = (flat[:, None, :, None] * size + position[None, :, None, :]).reshape(pixels * out, taps * kernel)
        valid = (valid[:, None, :, None] & inside[None, :, None, :]).reshape(pixels * out, taps * kernel)
    return np.where(valid, flat, -1).astype(np.int32)


def pixel_table(window: Window, rows: int) -> Array:
    """`tap_pixels` cut into strips of `rows` output pixels: int32 [strips, taps, rows].

    The last strip repeats the last pixel.
    """
    (table,) = TABLES.share(("pixels", window, rows), (), lambda: (_cut_strips(window, rows),))
    return table


def _cut_strips(window: Window, rows: int) -> Array:
    table = tap_pixels(window)
    strips = -(-window.pixels // rows)
    chosen = np.minimum(np.arange(strips * rows), window.pixels - 1)
    return np.ascontiguousarray(table[chosen].reshape(strips, rows, -1).transpose(0, 2, 1))
