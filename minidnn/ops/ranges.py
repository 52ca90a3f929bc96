"""From the range of a tensor to the scale of its quantization."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from minidnn.ops.registry import Attrs

__all__ = [
    "QUANTIZED_RANGES",
    "calibrated_scale",
    "count_batch_axes",
    "largest_depth",
    "scale_of_range",
    "scales_of_ranges",
]

Array = np.ndarray[Any, Any]

# The integers of each quantized type that are used: int8 is symmetric, so that -q is never out of range.
QUANTIZED_RANGES = {"int8": (-127, 127), "uint8": (0, 255)}

# The smallest normal number: its reciprocal is finite.
_SMALLEST_SCALE = np.finfo(np.float32).tiny


def scale_of_range(low: float, high: float, out_type: str) -> np.float32:
    """The scale that maps [low, high] into the integers of `out_type`: ``real = q * scale``.

    Int8 is symmetric around zero; uint8 begins at zero, so a negative `low` saturates. A range without
    extent (all zeros, or so small that 1/scale overflows), or one that is not finite, has scale 1.
    """
    threshold = max(abs(low), abs(high)) if out_type == "int8" else max(0.0, high)
    with np.errstate(over="ignore"):
        scale = np.float32(threshold) / np.float32(QUANTIZED_RANGES[out_type][1])
    return scale if math.isfinite(scale) and scale >= _SMALLEST_SCALE else np.float32(1.0)


def scales_of_ranges(lows: Array, highs: Array, out_type: str) -> Array:
    """The scales of many float32 ranges, as `scale_of_range` has them; NaN for a range that is not finite."""
    with np.errstate(over="ignore", invalid="ignore"):
        thresholds = np.maximum(np.abs(lows), np.abs(highs)) if out_type == "int8" else np.maximum(highs, np.float32(0))
        scales = thresholds / np.float32(QUANTIZED_RANGES[out_type][1])
        usable = np.where(scales >= _SMALLEST_SCALE, scales, np.float32(1))
        return np.asarray(np.where(np.isfinite(lows) & np.isfinite(highs), usable, np.float32(np.nan)))


def count_batch_axes(batch_axes: int, ndim: int) -> int:
    """How many leading axes the attribute ``batch_axes`` means; negative, all but so many at the end."""
    return min(batch_axes, ndim) if batch_axes >= 0 else max(ndim + batch_axes, 0)


def calibrated_scale(attrs: Attrs) -> np.float32 | None:
    """The scale of a quantizing node with a calibrated range; None if its range is found at run time."""
    if attrs.min_calib_range is None or attrs.max_calib_range is None:
        return None
    return scale_of_range(attrs.min_calib_range, attrs.max_calib_range, attrs.out_type)


def largest_depth(lhs: str, rhs: str) -> int:
    """How many products of two quantized types int32 can hold the sum of, whatever the numbers."""
    # The largest number of a type is the least one of int8 without its sign.
    largest = (max(-np.iinfo(dtype).min, np.iinfo(dtype).max) for dtype in (lhs, rhs))
    return int(np.iinfo(np.int32).max // math.prod(largest))
