"""Functions that pass over what is not a number."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from minidnn.dispatch import binary, invoke_one
from minidnn.numpy import elementwise, reductions
from minidnn.numpy.base import deliver
from minidnn.numpy.convert import as_array
from minidnn.numpy.multiarray import ndarray
from minidnn.numpy.recorded import at_levels

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


def nanargmax(a: Any, axis: int | None = None, out: ndarray | None = None, keepdims: bool = False) -> ndarray:
    """The position (int64) of the largest element that is a number, along `axis` or in the flattened array.

    Raises:
        OpError: a slice has no number.
    """
    return deliver(invoke_one("nanargmax", as_array(a), axis=axis, keepdims=keepdims), out)


def nanargmin(a: Any, axis: int | None = None, out: ndarray | None = None, keepdims: bool = False) -> ndarray:
    """The position (int64) of the smallest element that is a number; see `nanargmax`."""
    return deliver(invoke_one("nanargmin", as_array(a), axis=axis, keepdims=keepdims), out)


def nancumsum(a: Any, axis: int | None = None, dtype: Any = None, out: ndarray | None = None) -> ndarray:
    """Sums of all elements so far, nan counting as 0."""
    return deliver(invoke_one("nancumsum", as_array(a), axis=axis, dtype=dtype), out)


def nancumprod(a: Any, axis: int | None = None, dtype: Any = None, out: ndarray | None = None) -> ndarray:
    """Products of all elements so far, nan counting as 1."""
    return deliver(invoke_one("nancumprod", as_array(a), axis=axis, dtype=dtype), out)


def nanmedian(
    a: Any, axis: Axis = None, out: ndarray | None = None, overwrite_input: bool = False, keepdims: bool = False
) -> ndarray:
    """The middle of the sorted elements that are numbers."""
    return deliver(invoke_one("nanmedian", as_array(a), axis=axis, keepdims=keepdims), out)


def nanpercentile(
    a: Any,
    q: Any,
    axis: Axis = None,
    out: ndarray | None = None,
    overwrite_input: bool = False,
    method: str = "linear",
    keepdims: bool = False,
) -> ndarray:
    """The elements below which so many percent of the numbers lie; `method` as in `percentile`."""
    return deliver(at_levels("nanpercentile", a, q, axis=axis, method=method, keepdims=keepdims), out)


def nanquantile(
    a: Any,
    q: Any,
    axis: Axis = None,
    out: ndarray | None = None,
    overwrite_input: bool = False,
    method: str = "linear",
    keepdims: bool = False,
) -> ndarray:
    """The elements below which such a share of the numbers lies; `method` as in `quantile`."""
    return deliver(at_levels("nanquantile", a, q, axis=axis, method=method, keepdims=keepdims), out)


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
