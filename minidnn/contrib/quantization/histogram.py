"""Histograms of layers that grow with the range of the data, and the collectors that read thresholds from them."""

from __future__ import annotations

import logging
from abc import abstractmethod
from typing import Any

import numpy as np

from minidnn.contrib.quantization.collector import CheckedCollector
from minidnn.contrib.quantization.data import with_progress

__all__ = [
    "Histogram",
    "HistogramCollector",
    "MSECollector",
    "PercentileCollector",
    "count_levels",
    "magnitudes",
    "squared_errors",
]

Array = np.ndarray[Any, Any]

# A histogram may have this many times the bins it began with before three neighbours become one.
_GROWTH = 4
# Numbers binned at a time: what they become on the way stays in the cache.
_CHUNK = 1 << 16


class Histogram:
    """How often which numbers occur, in bins of one width around zero: an odd number, the middle one holds zero.

    Where data goes beyond the outermost bins, bins of the same width are added on both sides, as MXNet does. When
    there are four times as many as in the beginning, each three become one: memory is bounded, whatever comes, and
    the bins over the whole range are never fewer than in the beginning.

    Args:
        bins: their number in the beginning, odd.

    Attributes:
        counts: int64, one for each bin.
        threshold: the bins span [-threshold, threshold]; 0 as long as there were only zeros.
        low, high: the smallest and the largest number.
    """

    def __init__(self, bins: int = 8001) -> None:
        if bins < 3 or bins % 2 == 0:
            raise ValueError(f"bins must be odd and at least 3, got {bins}")
        self.counts = np.zeros(bins, np.int64)
        self.threshold = 0.0
        self.low, self.high = np.inf, -np.inf
        self._most = _GROWTH * bins

    @property
    def edges(self) -> Array:
        """Where bins begin and end: one more than bins."""
        return np.linspace(-self.threshold, self.threshold, len(self.counts) + 1)

    def add(self, array: Array) -> None:
        """Count the numbers of an array, all of them finite."""
        if array.size == 0:
            return
        low, high = float(array.min()), float(array.max())
        self.low, self.high = min(self.low, low), max(self.high, high)
        self._reach(max(abs(low), abs(high)))
        if self.threshold == 0:
            self.counts[len(self.counts) // 2] += array.size
            return
        bins = len(self.counts)
        scale = np.float64(bins) / (2 * self.threshold)
        flat = array.reshape(-1)
        for start in range(0, flat.size, _CHUNK):
            index = ((flat[start : start + _CHUNK].astype(np.float64) + self.threshold) * scale).astype(np.intp)
            np.clip(index, 0, bins - 1, out=index)
            self.counts += np.bincount(index, minlength=bins)

    def _reach(self, threshold: float) -> None:
        """Add bins until they hold `threshold`."""
        if threshold <= self.threshold:
            return
        if self.threshold == 0:
            self.threshold = threshold
            return
        width = 2 * self.threshold / len(self.counts)
        missing = int((threshold - self.threshold) // width) + 1
        while len(self.counts) + 2 * missing > self._most:
            self._merge()
            width = 2 * self.threshold / len(self.counts)
            missing = max(int((threshold - self.threshold) // width) + 1, 0)
        self.counts = np.pad(self.counts, missing)
        self.threshold += missing * width

    def _merge(self) -> None:
        """Each three bins become one; the middle one stays in the middle."""
        width = 2 * self.threshold / len(self.counts)
        # An odd number of bins and an even number of new ones: odd again, and so is a third of them.
        while len(self.counts) % 3:
            self.counts = np.pad(self.counts, 1)
            self.threshold += width
        self.counts = self.counts.reshape(-1, 3).sum(1)


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


class HistogramCollector(CheckedCollector):
    """A collector that decides on ranges when all data has been seen, from one histogram for each layer.

    Args:
        num_bins: bins of each histogram in the beginning.
        logger: gets what has been decided.
    """

    def __init__(self, num_bins: int = 8001, logger: logging.Logger | None = None) -> None:
        super().__init__(logger)
        self.num_bins = num_bins
        self.histograms: dict[str, Histogram] = {}

    def add(self, name: str, array: Array, low: float, high: float) -> None:
        if name not in self.histograms:
            self.histograms[name] = Histogram(self.num_bins)
        self.histograms[name].add(array)

    def post_collect(self) -> dict[str, tuple[float, float]]:
        """Ranges symmetric around zero, or from zero on where nothing was negative."""
        found = self.histograms.items()
        for name, histogram in with_progress(found, "Finding thresholds, layer", len(found), self.logger):
            threshold = self.find_threshold(histogram) if histogram.threshold > 0 else 0.0
            self.min_max_dict[name] = (0.0 if histogram.low >= 0 else -threshold), threshold
            if self.logger:
                self.logger.debug(
                    "layer %s: min %f, max %f, threshold %f", name, histogram.low, histogram.high, threshold
                )
        return self.min_max_dict

    @abstractmethod
    def find_threshold(self, histogram: Histogram) -> float:
        """The largest magnitude that is to be represented."""


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
