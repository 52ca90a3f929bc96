"""Functions of sampled signals and of samples: integrals, correlation, phases, histograms, positions."""

from __future__ import annotations

from typing import Any

import numpy as np

from minidnn.numpy import manipulation, reductions
from minidnn.numpy.convert import as_array, own, to_numpy
from minidnn.numpy.delegated import _delegate, sort
from minidnn.numpy.multiarray import ndarray

__all__ = [
    "correlate",
    "histogram2d",
    "histogram_bin_edges",
    "histogramdd",
    "i0",
    "ix_",
    "msort",
    "trapz",
    "tril_indices_from",
    "triu_indices_from",
    "unwrap",
]

correlate = _delegate("correlate", "The cross-correlation of two vectors.")
histogram2d = _delegate("histogram2d", "How many points fall into each cell of a grid.")
histogram_bin_edges = _delegate("histogram_bin_edges", "The edges of the bins of `histogram`.")
histogramdd = _delegate("histogramdd", "How many points fall into each cell of a grid of several dimensions.")
i0 = _delegate("i0", "The modified Bessel function of the first kind, order 0.")
unwrap = _delegate("unwrap", "Phases without their jumps of more than half a period.")


def msort(a: Any) -> ndarray:
    """The elements in order along the first axis."""
    return sort(a, 0)


def trapz(y: Any, x: Any = None, dx: float = 1.0, axis: int = -1) -> ndarray:
    """The integral along `axis` by the trapezoidal rule, over the positions `x`, or with steps of `dx`."""
    heights = manipulation.moveaxis(y, axis, -1)
    if x is None:
        width: Any = dx
    else:
        positions = as_array(x)
        positions = manipulation.moveaxis(positions, axis, -1) if positions.ndim > 1 else positions
        width = positions[..., 1:] - positions[..., :-1]
    return reductions.sum((heights[..., 1:] + heights[..., :-1]) * width, -1) / 2.0


def ix_(*args: Any) -> tuple[ndarray, ...]:
    """Vectors of positions as arrays that broadcast to the grid of all their combinations."""
    return tuple(own(a) for a in np.ix_(*to_numpy([as_array(a) if isinstance(a, ndarray) else a for a in args])))


def tril_indices_from(arr: Any, k: int = 0) -> tuple[ndarray, ...]:
    """Positions at and below diagonal `k` of a matrix."""
    return tuple(own(a) for a in np.tril_indices(as_array(arr).shape[0], k, as_array(arr).shape[1]))


def triu_indices_from(arr: Any, k: int = 0) -> tuple[ndarray, ...]:
    """Positions at and above diagonal `k` of a matrix."""
    return tuple(own(a) for a in np.triu_indices(as_array(arr).shape[0], k, as_array(arr).shape[1]))
