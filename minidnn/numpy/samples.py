"""Functions of sampled signals and of samples: integrals, correlation, phases, histograms, positions."""

from __future__ import annotations

from typing import Any

import numpy as np

from minidnn.dispatch import invoke_one
from minidnn.errors import ShapeError
from minidnn.numpy import manipulation, reductions
from minidnn.numpy.convert import as_array, as_operand, own
from minidnn.numpy.delegated import _delegate, sort
from minidnn.numpy.elementwise import _unary
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

histogram2d = _delegate("histogram2d", "How many points fall into each cell of a grid.")
histogram_bin_edges = _delegate("histogram_bin_edges", "The edges of the bins of `histogram`.")
histogramdd = _delegate("histogramdd", "How many points fall into each cell of a grid of several dimensions.")
i0 = _unary("i0", "The modified Bessel function of the first kind, order 0.")


def correlate(a: Any, v: Any, mode: str = "valid") -> ndarray:
    """The cross-correlation of two vectors: where they overlap wholly (``valid``), partly (``full``), or ``same``."""
    return invoke_one("correlate", as_operand(a), as_operand(v), mode=mode)


def unwrap(p: Any, discont: float | None = None, axis: int = -1, *, period: float = 2 * np.pi) -> ndarray:
    """Phases without their jumps along `axis` of more than `discont`, by default half a period."""
    return invoke_one("unwrap", as_operand(p), discont=discont, axis=axis, period=period)


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
    """Vectors of positions, or of bools, as arrays that broadcast to the grid of all their combinations.

    Raises:
        ShapeError: one is no vector.
    """
    vectors = [as_operand(a) if not isinstance(a, (list, tuple)) or len(a) else as_array([], np.int64) for a in args]
    grid = []
    for i, vector in enumerate(vectors):
        if vector.ndim != 1:
            raise ShapeError(f"ix_: vectors are wanted, got shape {vector.shape}")
        positions = vector.nonzero()[0] if vector.dtype == np.bool_ else vector
        grid.append(positions.reshape((1,) * i + (-1,) + (1,) * (len(vectors) - i - 1)))
    return tuple(grid)


def tril_indices_from(arr: Any, k: int = 0) -> tuple[ndarray, ...]:
    """Positions at and below diagonal `k` of a matrix."""
    return tuple(own(a) for a in np.tril_indices(as_array(arr).shape[0], k, as_array(arr).shape[1]))


def triu_indices_from(arr: Any, k: int = 0) -> tuple[ndarray, ...]:
    """Positions at and above diagonal `k` of a matrix."""
    return tuple(own(a) for a in np.triu_indices(as_array(arr).shape[0], k, as_array(arr).shape[1]))
