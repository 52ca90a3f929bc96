"""Convolutions of few channels, such as an image's three: a whole row of the kernel as one tap."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from minidnn.lowering.builder import Builder
from minidnn.lowering.copy import lower_copy
from minidnn.lowering.geometry import Window
from minidnn.lowering.values import CHANNELS_LAST, Array, Value
from minidnn.ops.registry import TensorType

__all__ = ["can_join_row_taps", "join_row_taps"]

# With more channels than this, a tap is long enough by itself.
_MOST_CHANNELS = 8


def can_join_row_taps(matrix: Array, window: Window) -> bool:
    """Whether a row of the kernel can be one tap, and is short enough for that to be faster."""
    few = matrix.shape[0] == 1 and matrix.shape[2] <= _MOST_CHANNELS
    return few and window.kernel[-1] > 1 and window.dilate[-1] == 1 and window.pad[-1] >= 0


def join_row_taps(builder: Builder, data: Value, matrix: Array, window: Window) -> tuple[Value, Array, Window]:
    """The same convolution with fewer and longer taps.

    Channels-last, the pixels that a row of the kernel meets lie side by side in memory. If zeros are written around
    the rows of the image, they are there for every row of the kernel, and it is one tap of kernel width x channels.

    Args:
        data: (N, C, ...), in any layout; what comes back is channels-last.
        matrix: weights [groups, taps, channels, filters].
        window: what slides over the data.
    """
    _, _, channels, filters = matrix.shape
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
    return image, np.ascontiguousarray(matrix).reshape(1, rows.taps, width * channels, filters), rows
