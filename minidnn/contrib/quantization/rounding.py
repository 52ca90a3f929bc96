"""What rounding and saturation take away from the numbers of a histogram."""

from __future__ import annotations

from typing import Any

import numpy as np

from minidnn.contrib.quantization.histogram import Histogram

__all__ = ["count_levels", "magnitudes", "squared_errors"]

Array = np.ndarray[Any, Any]


def count_levels(histogram: Histogram, quantized_dtype: str) -> int:
    """The largest integer for this layer: 255 where nothing is negative and uint8 is allowed, else 127."""
    return 255 if histogram.low >= 0 and quantized_dtype != "int8" else 127


def magnitudes(histogram: Histogram) -> tuple[Array, Array]:
    """The middle of each bin from zero on, and how many numbers have that magnitude."""
    middle = len(histogram.counts) // 2
    counts = histogram.counts[middle:].astype(np.float64)
    counts[1:] += histogram.counts[:middle][::-1]
    width = 2 * histogram.threshold / len(histogram.counts)
    return np.arange(middle + 1) * width, counts


def squared_errors(histogram: Histogram, thresholds: Array, levels: int) -> Array:
    """For each threshold the sum of squared differences between the numbers and their integers up to `levels`."""
    numbers, counts = magnitudes(histogram)
    steps = (thresholds / levels)[:, None]
    rounded = np.minimum(np.rint(numbers / steps), levels) * steps
    return np.asarray(np.square(rounded - numbers) @ counts)
