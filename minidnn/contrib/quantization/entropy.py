"""Thresholds by the divergence of Kullback and Leibler: ``calib_mode='entropy'``.

The method is Migacz's (8-bit inference with TensorRT, GTC 2017) in MXNet's form. For every threshold, that is for every
even number of bins around the middle one: P is the histogram within it, what lies outside added to the two outermost
bins; Q is the histogram within it merged to as many bins as there are integers, each spread evenly over those of its
bins where P is not zero. Both are smoothed: bins of zero get 0.0001, the others give it. The threshold with the
smallest divergence of Q from P is taken.

The method is made for distributions with long tails. It says nothing where many numbers are equal: Q spreads a spike
over the bins that are merged with it, so the threshold with the fewest merged bins wins, whatever it cuts off. There
the threshold is taken only if its error is not clearly worse than that of the largest magnitude; else the one of the
histogram without its spikes, and if that is no better, the largest magnitude.

MXNet computes every candidate's P and Q bin by bin, some 10^8 steps a layer. Here everything but the logarithms of Q
comes from prefix sums, 255 numbers a candidate:

    KL = (sum p' log p' - sum p' log q') / sum p + log(sum q / sum p)

where the second sum is over groups of bins that share one q', and the first over P's bins is a prefix sum, but for
the smoothing: p' = p - e with one e < 1 for each candidate. For counts p <= 64 the bins of each count are counted; for
larger ones (p - e) log (p - e) is its Taylor series in e, whose fifth term is below 10^-8.
"""

from __future__ import annotations

import logging
from typing import Any

import numpy as np

from minidnn.contrib.quantization.histogram import (
    Histogram,
    HistogramCollector,
    count_levels,
    squared_errors,
)

__all__ = [
    "EntropyCollector",
    "find_spikes",
    "kl_divergences",
    "kl_threshold",
    "without_spikes",
]

Array = np.ndarray[Any, Any]

_SMOOTHING = 1e-4
_SMALL_COUNTS = 64
# A sum of squared errors that is clearly worse than another.
_CLEARLY_WORSE = 2.0


class EntropyCollector(HistogramCollector):
    """Thresholds that lose the least information, by histograms of 8001 bins: ``calib_mode='entropy'``.

    Where many numbers of a layer are equal, no threshold is clearly worse than the largest magnitude.

    Args:
        quantized_dtype: ``int8``, ``uint8`` or ``auto``; unless it is ``int8``, layers without negative numbers are
            taken to have 511 levels around zero, 255 of them above it.
        num_bins: bins of each histogram in the beginning.
        logger: gets what has been decided.
    """

    def __init__(
        self, quantized_dtype: str = "auto", num_bins: int = 8001, logger: logging.Logger | None = None
    ) -> None:
        super().__init__(num_bins, logger)
        self.quantized_dtype = quantized_dtype

    def find_threshold(self, histogram: Histogram) -> float:
        largest_integer = count_levels(histogram, self.quantized_dtype)
        levels = 2 * largest_integer + 1
        found = kl_threshold(histogram.counts, histogram.threshold, levels)
        if not find_spikes(histogram.counts).any():
            return found
        largest = max(abs(histogram.low), abs(histogram.high))

        def is_clearly_worse(threshold: float) -> bool:
            error, least = squared_errors(histogram, np.array([threshold, largest]), largest_integer)
            return bool(error > _CLEARLY_WORSE * least)

        if is_clearly_worse(found):
            found = kl_threshold(without_spikes(histogram.counts), histogram.threshold, levels)
        return largest if is_clearly_worse(found) else found


def kl_threshold(counts: Array, threshold: float, levels: int = 255) -> float:
    """The threshold of the smallest divergence; `threshold` itself if no smaller one is to be had.

    Args:
        counts: a histogram over [-threshold, threshold], of an odd number of bins.
        threshold: where it ends.
        levels: how many integers there are, odd.
    """
    divergences = kl_divergences(counts, levels)
    if not np.isfinite(divergences).any():
        return threshold
    reach = levels // 2 + int(np.argmin(divergences)) + 0.5
    return float(min(reach / (len(counts) / 2), 1.0) * threshold)


def kl_divergences(histogram: Array, levels: int = 255) -> Array:
    """The divergence for each number of bins beside the middle one, from ``levels // 2`` on; infinite if undefined."""
    counts: Array = np.asarray(histogram, np.float64)
    middle = len(counts) // 2
    reach = np.arange(levels // 2, middle + 1)
    if not len(reach):
        return np.empty(0)
    start, stop = middle - reach, middle + reach + 1
    mass = np.concatenate([[0.0], np.cumsum(counts)])
    filled = np.concatenate([[0], np.cumsum(counts != 0)])
    total = mass[-1]
    outside = np.stack([mass[start], total - mass[stop]])
    ends = np.stack([counts[start], counts[stop - 1]])
    # Outermost bins that are not zero in P alone, thanks to what lies outside.
    gained = (ends == 0) & (outside > 0)
    nonzero = filled[stop] - filled[start] + gained.sum(0)
    with np.errstate(divide="ignore", invalid="ignore"):
        e_p = _SMOOTHING * (2 * reach + 1 - nonzero) / nonzero
        own = _interior_entropy(counts, middle, reach, e_p) + _xlogx(ends + outside - e_p, ends + outside > 0).sum(0)
        cross = np.empty(len(reach))
        inside = mass[stop] - mass[start]
        merged = (2 * reach + 1) // levels
        for m in np.unique(merged):
            chosen = merged == m
            bounds = start[chosen, None] + m * np.arange(levels + 1)
            bounds[:, -1] = stop[chosen]
            sums, norms = np.diff(mass[bounds]), np.diff(filled[bounds]).astype(np.float64)
            norms[:, 0] += gained[0, chosen]
            norms[:, -1] += gained[1, chosen]
            p_sums = sums.copy()
            p_sums[:, 0] += outside[0, chosen]
            p_sums[:, -1] += outside[1, chosen]
            cross[chosen] = _cross_entropy(p_sums, sums, norms, e_p[chosen], 2 * reach[chosen] + 1)
        result: Array = (own - cross) / total + np.log(inside / total)
    result[~(e_p < 1) | (nonzero == 0) | (inside == 0) | np.isnan(result)] = np.inf
    return result


def _cross_entropy(p_sums: Array, sums: Array, norms: Array, e_p: Array, sizes: Array) -> Array:
    """Sum of p' log q' over the bins where P is not zero; NaN where smoothing has nothing to take from."""
    nonzero = np.where(sums > 0, norms, 0).sum(1)
    e_q = _SMOOTHING * (sizes - nonzero) / nonzero
    q = np.where(sums > 0, sums / norms - e_q[:, None], _SMOOTHING)
    weight = p_sums - e_p[:, None] * norms
    terms = np.where(norms > 0, weight * np.log(q), 0)
    possible = (e_q < 1) & ((q > 0) | (norms == 0)).all(1)
    return np.where(possible, terms.sum(1), np.nan)


def _interior_entropy(counts: Array, middle: int, reach: Array, e: Array) -> Array:
    """Sum of (p - e) log (p - e) over the bins within `reach` that are not zero, the two outermost excepted."""
    # Bins in the order of their distance from the middle: 1, then 2 more for each step.
    paired = np.stack([counts[middle + 1 :], counts[:middle][::-1]], 1).reshape(-1)
    ordered = np.concatenate([counts[middle : middle + 1], paired])
    within = 2 * reach - 1
    result = np.zeros(len(reach))
    for count in range(1, _SMALL_COUNTS + 1):
        many = _prefix(ordered == count, within)
        result += np.where(many > 0, many * _xlogx(count - e, many > 0), 0)
    large = np.where(ordered > _SMALL_COUNTS, ordered, 1)
    is_large = ordered > _SMALL_COUNTS
    log = np.log(large)
    result += _prefix(large * log * is_large, within) - e * _prefix((log + 1) * is_large, within)
    for power, factor in ((2, 2), (3, 6), (4, 12)):
        result += e**power / factor * _prefix(is_large / large ** (power - 1), within)
    return result


def _prefix(numbers: Array, within: Array) -> Array:
    """Sums of the first `within` numbers."""
    sums: Array = np.concatenate([[0.0], np.cumsum(numbers, dtype=np.float64)])
    return sums[within]


def _xlogx(x: Array, where: Array) -> Array:
    safe = np.where(where, x, 1)
    result: Array = safe * np.log(safe)
    return result


# Bins on either side that a spike is compared with.
_NEIGHBOURS = 4
# A spike holds at least this share of all numbers, and this many times what its neighbours hold.
_SHARE, _HEIGHT = 0.01, 4


def find_spikes(counts: Array) -> Array:
    """Which bins stick out of a histogram, as bool (bins,)."""
    return np.asarray((counts >= _SHARE * counts.sum()) & (counts > _HEIGHT * np.maximum(_usual(counts), 1)))


def without_spikes(counts: Array) -> Array:
    """The histogram with spikes as high as the median of their neighbourhood."""
    return np.where(find_spikes(counts), _usual(counts), counts)


def _usual(counts: Array) -> Array:
    """The median of each bin's neighbourhood."""
    padded = np.pad(counts, _NEIGHBOURS, mode="reflect").astype(np.float64)
    windows = np.lib.stride_tricks.sliding_window_view(padded, 2 * _NEIGHBOURS + 1)
    return np.asarray(np.median(windows, axis=1))
