"""Functions that pass over what is not a number."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from minidnn.dispatch import binary
from minidnn.numpy import elementwise, reductions
from minidnn.numpy.base import deliver
from minidnn.numpy.convert import as_array
from minidnn.numpy.delegated import _delegate
from minidnn.numpy.multiarray import ndarray

__all__ = [
    "nanargmax",
    "nanargmin",
    "nancumprod",
    "nancumsum",
    "nanmedian",
    "nanpercentile",
    "nanprod",
    "nanquantile",
    "nanstd",
    "nanvar",
]

Axis = int | Sequence[int] | None

nanargmax = _delegate("nanargmax", "The position of the largest element that is a number.")
nanargmin = _delegate("nanargmin", "The position of the smallest element that is a number.")
nancumprod = _delegate("nancumprod", "Products of all elements so far, nan counting as 1.")
nancumsum = _delegate("nancumsum", "Sums of all elements so far, nan counting as 0.")
nanmedian = _delegate("nanmedian", "The middle of the sorted elements that are numbers.")
nanpercentile = _delegate("nanpercentile", "The elements below which so many percent of the numbers lie.")
nanquantile = _delegate("nanquantile", "The elements below which such a share of the numbers lies.")


def nanprod(
    a: Any, axis: Axis = None, dtype: Any = None, out: ndarray | None = None, keepdims: bool = False
) -> ndarray:
    """Product over `axis`, nan counting as 1."""
    x = as_array(a)
    return reductions.prod(elementwise.where(elementwise.isnan(x), 1, x), axis, dtype, out, keepdims)


def nanvar(
    a: Any,
    axis: Axis = None,
    dtype: Any = None,
    out: ndarray | None = None,
    ddof: int = 0,
    keepdims: bool = False,
) -> ndarray:
    """Variance over `axis` of the elements that are numbers; nan where there are none, or no more than `ddof`."""
    x = as_array(a) if dtype is None else as_array(a).astype(dtype)
    known = elementwise.logical_not(elementwise.isnan(x))
    count = reductions.sum(known, axis, keepdims=True)
    mean = reductions.sum(elementwise.where(known, x, 0), axis, keepdims=True) / count
    squares = elementwise.square(elementwise.where(known, x - mean, 0))
    total = reductions.sum(squares, axis, keepdims=keepdims)
    freedom = reductions.sum(known, axis, keepdims=keepdims) - ddof
    quotient = binary("true_divide", total, elementwise.maximum(freedom, 0).astype(total.dtype))
    variance: ndarray = elementwise.where(freedom > 0, quotient, float("nan"))
    return deliver(variance, out)


def nanstd(
    a: Any,
    axis: Axis = None,
    dtype: Any = None,
    out: ndarray | None = None,
    ddof: int = 0,
    keepdims: bool = False,
) -> ndarray:
    """Standard deviation over `axis` of the elements that are numbers; see `nanvar`."""
    deviation: ndarray = elementwise.sqrt(nanvar(a, axis, dtype, None, ddof, keepdims))
    return deliver(deviation, out)
