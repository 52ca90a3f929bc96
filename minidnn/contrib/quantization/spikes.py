"""Spikes of a histogram: many equal numbers, as borders, blank samples, dead channels and ReLUs make them."""

from __future__ import annotations

from typing import Any

import numpy as np

__all__ = ["find_spikes", "without_spikes"]

Array = np.ndarray[Any, Any]

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
