"""What functions of `minidnn.numpy.delegated` record while a network is traced: operators that compute the same.

Signatures are NumPy's.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np

from minidnn.dispatch import binary, invoke, invoke_one
from minidnn.errors import OpError, ShapeError
from minidnn.numpy.base import deliver, is_scalar
from minidnn.numpy.convert import as_array
from minidnn.numpy.manipulation import broadcast_to, concatenate, moveaxis, ravel, reshape, stack, take
from minidnn.numpy.multiarray import ndarray
from minidnn.ops.checks import INTEGERS

__all__ = ["RECORDED"]

RECORDED: dict[str, Callable[..., Any]] = {}
Function = TypeVar("Function", bound=Callable[..., Any])


def _records(function: Function) -> Function:
    RECORDED[function.__name__] = function
    return function


def _operand(x: Any) -> ndarray:
    """An array of ours; lists and numbers keep integers, which NumPy computes with."""
    if isinstance(x, (ndarray, np.ndarray, np.generic)):
        return as_array(x)
    host = np.asarray(x)
    return as_array(host if host.dtype in INTEGERS or host.dtype == np.bool_ else x)


def _flat_or_axis(a: Any, axis: int | None) -> tuple[ndarray, int]:
    return (ravel(a), 0) if axis is None else (as_array(a), axis)


# ---- one operator each ---------------------------------------------------------------------------------


@_records
def cumsum(a: Any, axis: int | None = None, dtype: Any = None, out: ndarray | None = None) -> ndarray:
    return deliver(invoke_one("cumsum", as_array(a), axis=axis, dtype=dtype), out)


@_records
def cumprod(a: Any, axis: int | None = None, dtype: Any = None, out: ndarray | None = None) -> ndarray:
    return deliver(invoke_one("cumprod", as_array(a), axis=axis, dtype=dtype), out)


@_records
def partition(a: Any, kth: Any, axis: int | None = -1, kind: str = "introselect", order: None = None) -> ndarray:
    return invoke_one("partition", as_array(a), kth=kth, axis=axis)


@_records
def argpartition(a: Any, kth: Any, axis: int | None = -1, kind: str = "introselect", order: None = None) -> ndarray:
    return invoke_one("argpartition", as_array(a), kth=kth, axis=axis)


@_records
def lexsort(keys: Any, axis: int = -1) -> ndarray:
    parts = [as_array(key) for key in keys]
    return invoke_one("lexsort", *parts, num_args=len(parts), axis=axis)


@_records
def searchsorted(a: Any, v: Any, side: str = "left", sorter: Any = None) -> ndarray:
    x = as_array(a) if sorter is None else take(a, sorter)
    return invoke_one("searchsorted", x, _operand(v), side=side)


@_records
def digitize(x: Any, bins: Any, right: bool = False) -> ndarray:
    return invoke_one("digitize", as_array(x), _operand(bins), right=right)


@_records
def isin(element: Any, test_elements: Any, assume_unique: bool = False, invert: bool = False, **_: Any) -> ndarray:
    return invoke_one("isin", as_array(element), _operand(test_elements), invert=invert)


@_records
def median(
    a: Any, axis: Any = None, out: ndarray | None = None, overwrite_input: bool = False, keepdims: bool = False
) -> ndarray:
    return deliver(invoke_one("median", as_array(a), axis=axis, keepdims=keepdims), out)


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
        levels = np.asarray(q).tolist()
        return deliver(invoke_one(name, as_array(a), q=levels, axis=axis, method=method, keepdims=keepdims), out)

    RECORDED[name] = quantile


_quantile("quantile")
_quantile("percentile")


@_records
def diag(v: Any, k: int = 0) -> ndarray:
    return invoke_one("diag", as_array(v), k=k)


@_records
def diagflat(v: Any, k: int = 0) -> ndarray:
    return invoke_one("diagflat", as_array(v), k=k)


@_records
def diagonal(a: Any, offset: int = 0, axis1: int = 0, axis2: int = 1) -> ndarray:
    return invoke_one("diagonal", as_array(a), offset=offset, axis1=axis1, axis2=axis2)


@_records
def tril(m: Any, k: int = 0) -> ndarray:
    return invoke_one("tril", as_array(m), k=k)


@_records
def triu(m: Any, k: int = 0) -> ndarray:
    return invoke_one("triu", as_array(m), k=k)


@_records
def take_along_axis(arr: Any, indices: Any, axis: int | None = -1) -> ndarray:
    x, along = _flat_or_axis(arr, axis)
    return invoke_one("take_along_axis", x, _operand(indices), axis=along)


@_records
def choose(a: Any, choices: Any, out: ndarray | None = None, mode: str = "raise") -> ndarray:
    parts = [_operand(c) for c in choices]
    return deliver(invoke_one("choose", _operand(a), *parts, num_args=len(parts), mode=mode), out)


@_records
def resize(a: Any, new_shape: Any) -> ndarray:
    return invoke_one("resize", as_array(a), new_shape=new_shape)


@_records
def unravel_index(indices: Any, shape: Any, order: str = "C") -> tuple[ndarray, ...]:
    result = invoke("unravel_index", as_array(indices), shape=shape, order=order)
    return result if isinstance(result, tuple) else (result,)


@_records
def isclose(a: Any, b: Any, rtol: float = 1e-5, atol: float = 1e-8, equal_nan: bool = False) -> ndarray:
    return invoke_one("isclose", _operand(a), _operand(b), rtol=rtol, atol=atol, equal_nan=equal_nan)


@_records
def nan_to_num(
    x: Any, copy: bool = True, nan: float = 0.0, posinf: float | None = None, neginf: float | None = None
) -> ndarray:
    return invoke_one("nan_to_num", as_array(x), nan=nan, posinf=posinf, neginf=neginf)


@_records
def polyval(p: Any, x: Any) -> ndarray:
    return invoke_one("polyval", _operand(p), _operand(x))


@_records
def interp(x: Any, xp: Any, fp: Any, left: Any = None, right: Any = None, period: Any = None) -> ndarray:
    return invoke_one("interp", *map(as_array, (x, xp, fp)), left=left, right=right, period=period)


@_records
def cross(a: Any, b: Any, axisa: int = -1, axisb: int = -1, axisc: int = -1, axis: int | None = None) -> ndarray:
    if axis is not None:
        axisa = axisb = axisc = axis
    return invoke_one("cross", _operand(a), _operand(b), axisa=axisa, axisb=axisb, axisc=axisc)


@_records
def cov(m: Any, y: Any = None, rowvar: bool = True, bias: bool = False, ddof: int | None = None) -> ndarray:
    inputs = [as_array(x) for x in (m, y) if x is not None]
    return invoke_one("cov", *inputs, num_args=len(inputs), rowvar=rowvar, bias=bias, ddof=ddof)


@_records
def corrcoef(x: Any, y: Any = None, rowvar: bool = True) -> ndarray:
    inputs = [as_array(a) for a in (x, y) if a is not None]
    return invoke_one("corrcoef", *inputs, num_args=len(inputs), rowvar=rowvar)


@_records
def histogram(
    a: Any, bins: Any = 10, range: Any = None, density: bool | None = None, weights: Any = None
) -> tuple[ndarray, ...]:
    if isinstance(bins, str):
        raise OpError(f"histogram: a number of bins that depends on values ({bins!r}) cannot be traced; give a number")
    count = bins if is_scalar(bins) else None
    others = [*([] if count is not None else [_operand(bins)]), *([] if weights is None else [as_array(weights)])]
    attrs = {"bins": count, "range": range, "density": bool(density), "has_weights": weights is not None}
    result = invoke("histogram", as_array(a), *others, **attrs)
    assert isinstance(result, tuple)
    return result


def _extreme(name: str) -> None:
    def reduce(a: Any, axis: Any = None, out: ndarray | None = None, keepdims: bool = False) -> ndarray:
        return deliver(invoke_one(name, as_array(a), axis=axis, keepdims=keepdims), out)

    RECORDED[name] = reduce


def _total(name: str) -> None:
    def reduce(
        a: Any, axis: Any = None, dtype: Any = None, out: ndarray | None = None, keepdims: bool = False
    ) -> ndarray:
        return deliver(invoke_one(name, as_array(a), axis=axis, dtype=dtype, keepdims=keepdims), out)

    RECORDED[name] = reduce


_extreme("nanmax")
_extreme("nanmin")
_total("nansum")
_total("nanmean")


def _binary(name: str) -> None:
    def function(x1: Any, x2: Any, out: ndarray | None = None) -> ndarray:
        return deliver(binary(name, *(x if is_scalar(x) else as_array(x) for x in (x1, x2))), out)

    RECORDED[name] = function


_binary("logaddexp")
_binary("heaviside")


# ---- compositions --------------------------------------------------------------------------------------


@_records
def trace(
    a: Any, offset: int = 0, axis1: int = 0, axis2: int = 1, dtype: Any = None, out: ndarray | None = None
) -> ndarray:
    return deliver(diagonal(a, offset, axis1, axis2).sum(-1, dtype), out)


@_records
def ptp(a: Any, axis: Any = None, out: ndarray | None = None, keepdims: bool = False) -> ndarray:
    x = as_array(a)
    return deliver(binary("subtract", x.max(axis, keepdims=keepdims), x.min(axis, keepdims=keepdims)), out)


@_records
def count_nonzero(a: Any, axis: Any = None, *, keepdims: bool = False) -> ndarray:
    return binary("not_equal", as_array(a), 0).sum(axis, keepdims=keepdims)


@_records
def allclose(a: Any, b: Any, rtol: float = 1e-5, atol: float = 1e-8, equal_nan: bool = False) -> ndarray:
    return isclose(a, b, rtol, atol, equal_nan).all()


@_records
def array_equal(a1: Any, a2: Any, equal_nan: bool = False) -> ndarray:
    x, y = _operand(a1), _operand(a2)
    if x.shape != y.shape:
        return as_array(np.asarray(False))
    same = binary("equal", x, y)
    if equal_nan:
        same = binary("logical_or", same, binary("logical_and", binary("not_equal", x, x), binary("not_equal", y, y)))
    return same.all()


@_records
def array_equiv(a1: Any, a2: Any) -> ndarray:
    x, y = _operand(a1), _operand(a2)
    try:
        return binary("equal", x, y).all()
    except ShapeError:
        return as_array(np.asarray(False))


@_records
def kron(a: Any, b: Any) -> ndarray:
    x, y = _operand(a), _operand(b)
    ndim = max(x.ndim, y.ndim)
    first = (1,) * (ndim - x.ndim) + x.shape
    second = (1,) * (ndim - y.ndim) + y.shape
    x = x.reshape(tuple(n for size in first for n in (size, 1)))
    y = y.reshape(tuple(n for size in second for n in (1, size)))
    return binary("multiply", x, y).reshape(tuple(m * n for m, n in zip(first, second, strict=True)))


@_records
def diff(a: Any, n: int = 1, axis: int = -1, prepend: Any = None, append: Any = None) -> ndarray:
    x = as_array(a)
    if n < 0:
        raise OpError(f"diff: n must not be negative, got {n}")
    ends = [_like_edge(e, x, axis) for e in (prepend, append)]
    parts = [p for p in (ends[0], x, ends[1]) if p is not None]
    result = concatenate(parts, axis) if len(parts) > 1 else x
    for _ in range(n):
        later = invoke_one("slice_axis", result, axis=axis, begin=1, end=None)
        earlier = invoke_one("slice_axis", result, axis=axis, begin=0, end=-1)
        result = binary("not_equal" if x.dtype == np.bool_ else "subtract", later, earlier)
    return result if n else x.copy()


def _like_edge(edge: Any, x: ndarray, axis: int) -> ndarray | None:
    if edge is None:
        return None
    value = _operand(edge)
    return (
        value
        if value.ndim
        else broadcast_to(value, tuple(1 if i == axis % x.ndim else n for i, n in enumerate(x.shape)))
    )


@_records
def ediff1d(ary: Any, to_end: Any = None, to_begin: Any = None) -> ndarray:
    x = ravel(ary)
    ends = [None if e is None else ravel(_operand(e)).astype(x.dtype) for e in (to_begin, to_end)]
    parts = [p for p in (ends[0], diff(x), ends[1]) if p is not None]
    return concatenate(parts) if len(parts) > 1 else parts[0]


@_records
def meshgrid(*xi: Any, copy: bool = True, sparse: bool = False, indexing: str = "xy") -> tuple[ndarray, ...]:
    if indexing not in ("xy", "ij"):
        raise OpError(f"meshgrid: indexing must be 'xy' or 'ij', got {indexing!r}")
    vectors = [ravel(_operand(x)) for x in xi]
    places = list(range(len(vectors)))
    if indexing == "xy" and len(vectors) > 1:
        places[:2] = 1, 0
    open_grid = [
        reshape(v, tuple(-1 if i == place else 1 for i in range(len(vectors))))
        for v, place in zip(vectors, places, strict=True)
    ]
    if sparse:
        return tuple(open_grid)
    sizes = [vectors[places[i]].size for i in range(len(vectors))]
    return tuple(broadcast_to(g, sizes) for g in open_grid)


@_records
def diag_indices_from(arr: Any) -> tuple[ndarray, ...]:
    shape = as_array(arr).shape
    if len(shape) < 2 or len(set(shape)) != 1:
        raise ShapeError(f"diag_indices_from: all of at least 2 dimensions must be equal, got {shape}")
    return tuple(as_array(p) for p in np.diag_indices(shape[0], len(shape)))


@_records
def apply_along_axis(func1d: Any, axis: int, arr: Any, *args: Any, **kwargs: Any) -> ndarray:
    x = moveaxis(arr, axis, -1)
    lead = x.shape[:-1]
    rows = reshape(x, (-1, x.shape[-1]))
    results = [as_array(func1d(row, *args, **kwargs)) for row in rows]
    made = results[0].shape
    whole = reshape(stack(results), lead + made)
    ndim, at = len(lead), axis % (len(lead) + 1)
    return moveaxis(whole, list(range(ndim, ndim + len(made))), list(range(at, at + len(made)))) if made else whole


@_records
def delete(arr: Any, obj: Any, axis: int | None = None) -> ndarray:
    x, along = _flat_or_axis(arr, axis)
    count = x.shape[along]
    if isinstance(obj, ndarray) and obj._entry is not None:
        gone = binary("mod", obj, count) if obj.dtype != np.bool_ else flatnonzero(obj)
        return take(x, flatnonzero(isin(np.arange(count), ravel(gone), invert=True)), along)
    return take(x, np.delete(np.arange(count), np.asarray(obj) if isinstance(obj, ndarray) else obj), along)


@_records
def insert(arr: Any, obj: Any, values: Any, axis: int | None = None) -> ndarray:
    x, along = _flat_or_axis(arr, axis)
    along, count = along % x.ndim, x.shape[along]
    where = obj if isinstance(obj, slice) else np.asarray(obj)
    added = _operand(values).astype(x.dtype)
    positions = np.arange(count)[where] if isinstance(where, slice) else where
    if positions.dtype == np.bool_:
        positions = np.flatnonzero(positions)
    added = reshape(added, (1,) * (x.ndim - added.ndim) + added.shape)
    if positions.size == 1:
        added = moveaxis(added, 0, along) if positions.ndim == 0 else added
        new = added.shape[along]
    else:
        new = positions.size
    added = broadcast_to(added, (*x.shape[:along], new, *x.shape[along + 1 :]))
    order = np.insert(np.arange(count), where, np.arange(count, count + new))
    return take(concatenate([x, added], along), order, along)


# ---- sizes that depend on values -----------------------------------------------------------------------


@_records
def argwhere(a: Any) -> ndarray:
    return invoke_one("argwhere", as_array(a))


@_records
def nonzero(a: Any) -> tuple[ndarray, ...]:
    return as_array(a).nonzero()


@_records
def flatnonzero(a: Any) -> ndarray:
    return ravel(a).nonzero()[0]


@_records
def bincount(x: Any, weights: Any = None, minlength: int = 0) -> ndarray:
    inputs = [as_array(a) for a in (x, weights) if a is not None]
    return invoke_one("bincount", *inputs, minlength=minlength, has_weights=weights is not None)


@_records
def unique(
    ar: Any,
    return_index: bool = False,
    return_inverse: bool = False,
    return_counts: bool = False,
    axis: int | None = None,
    **_: Any,
) -> Any:
    results = invoke("unique", as_array(ar), axis=axis)
    wanted = (True, return_index, return_inverse, return_counts)
    chosen = tuple(r for r, is_wanted in zip(results, wanted, strict=True) if is_wanted)
    return chosen if len(chosen) > 1 else chosen[0]


@_records
def union1d(ar1: Any, ar2: Any) -> ndarray:
    return invoke("unique", concatenate([ravel(_operand(ar1)), ravel(_operand(ar2))]))[0]


@_records
def setdiff1d(ar1: Any, ar2: Any, assume_unique: bool = False) -> ndarray:
    x = ravel(_operand(ar1)) if assume_unique else unique(_operand(ar1))
    return take(x, flatnonzero(isin(x, ar2, invert=True)))


@_records
def intersect1d(ar1: Any, ar2: Any, assume_unique: bool = False, return_indices: bool = False) -> Any:
    x, first = unique(_operand(ar1), return_index=True)
    y, second = unique(_operand(ar2), return_index=True)
    in_both = flatnonzero(isin(x, y))
    common = take(x, in_both)
    if not return_indices:
        return common
    return common, take(first, in_both), take(second, flatnonzero(isin(y, x)))


@_records
def compress(condition: Any, a: Any, axis: int | None = None, out: ndarray | None = None) -> ndarray:
    x, along = _flat_or_axis(a, axis)
    return deliver(take(x, flatnonzero(_operand(condition)), along), out)
