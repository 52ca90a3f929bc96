"""Collectors beyond MXNet's: a percentile of the magnitudes, and the smallest mean square error."""

from __future__ import annotations

import logging

import numpy as np

from minidnn.contrib.quantization.histogram import Histogram, HistogramCollector
from minidnn.contrib.quantization.rounding import count_levels, magnitudes, squared_errors

__all__ = ["MSECollector", "PercentileCollector"]

_CANDIDATES = 200


class PercentileCollector(HistogramCollector):
    """The threshold that holds a given share of all numbers: rare outliers saturate, the rest gets finer steps.

    Args:
        percentile: that share in percent, above 0 and at most 100 (which is the largest magnitude).
        num_bins: bins of each histogram in the beginning.
        logger: gets what has been decided.

    Raises:
        ValueError: the percentile lies outside (0, 100].
    """

    def __init__(self, percentile: float = 99.99, num_bins: int = 8001, logger: logging.Logger | None = None) -> None:
        super().__init__(num_bins, logger)
        if not 0 < percentile <= 100:
            raise ValueError(f"percentile must lie in (0, 100], got {percentile}")
        self.percentile = percentile

    def find_threshold(self, histogram: Histogram) -> float:
        numbers, counts = magnitudes(histogram)
        wanted = self.percentile / 100 * counts.sum()
        found = int(np.searchsorted(np.cumsum(counts), wanted * (1 - 1e-12)))
        width = 2 * histogram.threshold / len(histogram.counts)
        largest = max(abs(histogram.low), abs(histogram.high))
        return float(min(numbers[min(found, len(counts) - 1)] + width / 2, largest))


class MSECollector(HistogramCollector):
    """The threshold for which the mean square of what rounding and saturation take away is smallest.

    Args:
        quantized_dtype: unless it is ``int8``, layers without negative numbers have 255 steps instead of 127.
        num_bins: bins of each histogram in the beginning.
        logger: gets what has been decided.
    """

    def __init__(
        self, quantized_dtype: str = "auto", num_bins: int = 8001, logger: logging.Logger | None = None
    ) -> None:
        super().__init__(num_bins, logger)
        self.quantized_dtype = quantized_dtype

    def find_threshold(self, histogram: Histogram) -> float:
        largest = max(abs(histogram.low), abs(histogram.high))
        candidates = largest * np.arange(1, _CANDIDATES + 1) / _CANDIDATES
        errors = squared_errors(histogram, candidates, count_levels(histogram, self.quantized_dtype))
        return float(candidates[np.argmin(errors)])
