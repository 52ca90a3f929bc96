"""What functions of `minidnn.numpy.delegated` record while a network is traced: operators that compute the same.

Signatures are NumPy's. Those of several operators are in `minidnn.numpy.composed`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np

from minidnn.dispatch import invoke, invoke_one
from minidnn.numpy.base import deliver
from minidnn.numpy.convert import as_operand, find_traced, to_numpy
from minidnn.numpy.manipulation import ravel, take
from minidnn.numpy.multiarray import ndarray

__all__ = ["RECORDED", "at_levels", "flat_or_axis", "records"]

RECORDED: dict[str, Callable[..., Any]] = {}
Function = TypeVar("Function", bound=Callable[..., Any])


def records(function: Function) -> Function:
    """A decorator: the function of that name in `mx.np`, on arrays that are being traced."""
    RECORDED[function.__name__] = function
    return function


def flat_or_axis(a: Any, axis: int | None) -> tuple[ndarray, int]:
    """The array and an axis: of the flattened array without one."""
    return (ravel(as_operand(a)), 0) if axis is None else (as_operand(a), axis)


# ---- one operator each ---------------------------------------------------------------------------------


@records
def cumsum(a: Any, axis: int | None = None, dtype: Any = None, out: ndarray | None = None) -> ndarray:
    return deliver(invoke_one("cumsum", as_operand(a), axis=axis, dtype=dtype), out)


@records
def cumprod(a: Any, axis: int | None = None, dtype: Any = None, out: ndarray | None = None) -> ndarray:
    return deliver(invoke_one("cumprod", as_operand(a), axis=axis, dtype=dtype), out)


@records
def partition(a: Any, kth: Any, axis: int | None = -1, kind: str = "introselect", order: None = None) -> ndarray:
    return invoke_one("partition", as_operand(a), kth=kth, axis=axis)


@records
def argpartition(a: Any, kth: Any, axis: int | None = -1, kind: str = "introselect", order: None = None) -> ndarray:
    return invoke_one("argpartition", as_operand(a), kth=kth, axis=axis)


@records
def lexsort(keys: Any, axis: int = -1) -> ndarray:
    parts = [as_operand(key) for key in keys]
    return invoke_one("lexsort", *parts, num_args=len(parts), axis=axis)


@records
def searchsorted(a: Any, v: Any, side: str = "left", sorter: Any = None) -> ndarray:
    x = as_operand(a) if sorter is None else take(a, sorter)
    return invoke_one("searchsorted", x, as_operand(v), side=side)


@records
def digitize(x: Any, bins: Any, right: bool = False) -> ndarray:
    return invoke_one("digitize", as_operand(x), as_operand(bins), right=right)


@records
def isin(element: Any, test_elements: Any, assume_unique: bool = False, invert: bool = False, **_: Any) -> ndarray:
    return invoke_one("isin", as_operand(element), as_operand(test_elements), invert=invert)


@records
def median(
    a: Any, axis: Any = None, out: ndarray | None = None, overwrite_input: bool = False, keepdims: bool = False
) -> ndarray:
    return deliver(invoke_one("median", as_operand(a), axis=axis, keepdims=keepdims), out)


def at_levels(op_name: str, a: Any, q: Any, **attrs: Any) -> ndarray:
    """Quantiles of `a` at the levels `q`, numbers or arrays."""
    if find_traced(q) is not None:
        return invoke_one(op_name, as_operand(a), as_operand(q), q=None, **attrs)
    return invoke_one(op_name, as_operand(a), q=np.asarray(to_numpy(q)).tolist(), **attrs)


def _quantile(name: str) -> None:
    def quantile(
        a: Any,
        q: Any,
        axis: Any = None,
        out: ndarray | None = None,
        overwrite_input: bool = False,
        method: str = "linear",
        keepdims: bool = False,
    ) -> ndarray:
        return deliver(at_levels(name, a, q, axis=axis, method=method, keepdims=keepdims), out)

    RECORDED[name] = quantile


_quantile("quantile")
_quantile("percentile")


@records
def diag(v: Any, k: int = 0) -> ndarray:
    return invoke_one("diag", as_operand(v), k=k)


@records
def diagflat(v: Any, k: int = 0) -> ndarray:
    return invoke_one("diagflat", as_operand(v), k=k)


@records
def diagonal(a: Any, offset: int = 0, axis1: int = 0, axis2: int = 1) -> ndarray:
    return invoke_one("diagonal", as_operand(a), offset=offset, axis1=axis1, axis2=axis2)


@records
def tril(m: Any, k: int = 0) -> ndarray:
    return invoke_one("tril", as_operand(m), k=k)


@records
def triu(m: Any, k: int = 0) -> ndarray:
    return invoke_one("triu", as_operand(m), k=k)


@records
def take_along_axis(arr: Any, indices: Any, axis: int | None = -1) -> ndarray:
    x, along = flat_or_axis(arr, axis)
    return invoke_one("take_along_axis", x, as_operand(indices), axis=along)


@records
def choose(a: Any, choices: Any, out: ndarray | None = None, mode: str = "raise") -> ndarray:
    parts = [as_operand(c) for c in choices]
    chosen = as_operand(a)
    chosen = chosen.astype(np.int64) if chosen.dtype == np.bool_ else chosen
    return deliver(invoke_one("choose", chosen, *parts, num_args=len(parts), mode=mode), out)


@records
def resize(a: Any, new_shape: Any) -> ndarray:
    return invoke_one("resize", as_operand(a), new_shape=new_shape)


@records
def unravel_index(indices: Any, shape: Any, order: str = "C") -> tuple[ndarray, ...]:
    result = invoke("unravel_index", as_operand(indices), shape=shape, order=order)
    return result if isinstance(result, tuple) else (result,)


@records
def isclose(a: Any, b: Any, rtol: float = 1e-5, atol: float = 1e-8, equal_nan: bool = False) -> ndarray:
    return invoke_one("isclose", as_operand(a), as_operand(b), rtol=rtol, atol=atol, equal_nan=equal_nan)


@records
def nan_to_num(
    x: Any, copy: bool = True, nan: float = 0.0, posinf: float | None = None, neginf: float | None = None
) -> ndarray:
    return invoke_one("nan_to_num", as_operand(x), nan=nan, posinf=posinf, neginf=neginf)


@records
def polyval(p: Any, x: Any) -> ndarray:
    return invoke_one("polyval", as_operand(p), as_operand(x))


@records
def interp(x: Any, xp: Any, fp: Any, left: Any = None, right: Any = None, period: Any = None) -> ndarray:
    return invoke_one("interp", *map(as_operand, (x, xp, fp)), left=left, right=right, period=period)


@records
def cross(a: Any, b: Any, axisa: int = -1, axisb: int = -1, axisc: int = -1, axis: int | None = None) -> ndarray:
    if axis is not None:
        axisa = axisb = axisc = axis
    return invoke_one("cross", as_operand(a), as_operand(b), axisa=axisa, axisb=axisb, axisc=axisc)


@records
def cov(m: Any, y: Any = None, rowvar: bool = True, bias: bool = False, ddof: int | None = None) -> ndarray:
    inputs = [as_operand(x) for x in (m, y) if x is not None]
    return invoke_one("cov", *inputs, num_args=len(inputs), rowvar=rowvar, bias=bias, ddof=ddof)


@records
def corrcoef(x: Any, y: Any = None, rowvar: bool = True) -> ndarray:
    inputs = [as_operand(a) for a in (x, y) if a is not None]
    return invoke_one("corrcoef", *inputs, num_args=len(inputs), rowvar=rowvar)


def _extreme(name: str) -> None:
    def reduce(a: Any, axis: Any = None, out: ndarray | None = None, keepdims: bool = False) -> ndarray:
        return deliver(invoke_one(name, as_operand(a), axis=axis, keepdims=keepdims), out)

    RECORDED[name] = reduce


def _total(name: str) -> None:
    def reduce(
        a: Any, axis: Any = None, dtype: Any = None, out: ndarray | None = None, keepdims: bool = False
    ) -> ndarray:
        return deliver(invoke_one(name, as_operand(a), axis=axis, dtype=dtype, keepdims=keepdims), out)

    RECORDED[name] = reduce


_extreme("nanmax")
_extreme("nanmin")
_total("nansum")
_total("nanmean")
