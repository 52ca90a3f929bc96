"""Functions of `minidnn.numpy.delegated` that are made of several operators while a network is traced.

Signatures are NumPy's.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from minidnn.dispatch import binary, invoke, invoke_one
from minidnn.errors import OpError, ShapeError
from minidnn.numpy.base import deliver, is_scalar
from minidnn.numpy.convert import as_operand, find_traced
from minidnn.numpy.manipulation import broadcast_to, concatenate, moveaxis, ravel, reshape, stack, take
from minidnn.numpy.multiarray import ndarray
from minidnn.numpy.recorded import RECORDED, diagonal, flat_or_axis, isclose, isin, records
from minidnn.ops.elementwise import promote
from minidnn.ops.histograms import BIN_RULES

__all__ = ["RECORDED"]


# ---- compositions --------------------------------------------------------------------------------------


@records
def trace(
    a: Any, offset: int = 0, axis1: int = 0, axis2: int = 1, dtype: Any = None, out: ndarray | None = None
) -> ndarray:
    return deliver(diagonal(a, offset, axis1, axis2).sum(-1, dtype), out)


@records
def ptp(a: Any, axis: Any = None, out: ndarray | None = None, keepdims: bool = False) -> ndarray:
    x = as_operand(a)
    return deliver(binary("subtract", x.max(axis, keepdims=keepdims), x.min(axis, keepdims=keepdims)), out)


@records
def count_nonzero(a: Any, axis: Any = None, *, keepdims: bool = False) -> ndarray:
    return binary("not_equal", as_operand(a), 0).sum(axis, keepdims=keepdims)


@records
def allclose(a: Any, b: Any, rtol: float = 1e-5, atol: float = 1e-8, equal_nan: bool = False) -> ndarray:
    return isclose(a, b, rtol, atol, equal_nan).all()


@records
def array_equal(a1: Any, a2: Any, equal_nan: bool = False) -> ndarray:
    x, y = as_operand(a1), as_operand(a2)
    if x.shape != y.shape:
        return as_operand(np.asarray(False))
    same = binary("equal", x, y)
    if equal_nan:
        same = binary("logical_or", same, binary("logical_and", binary("not_equal", x, x), binary("not_equal", y, y)))
    return same.all()


@records
def array_equiv(a1: Any, a2: Any) -> ndarray:
    x, y = as_operand(a1), as_operand(a2)
    try:
        return binary("equal", x, y).all()
    except ShapeError:
        return as_operand(np.asarray(False))


@records
def kron(a: Any, b: Any) -> ndarray:
    x, y = as_operand(a), as_operand(b)
    ndim = max(x.ndim, y.ndim)
    first = (1,) * (ndim - x.ndim) + x.shape
    second = (1,) * (ndim - y.ndim) + y.shape
    x = x.reshape(tuple(n for size in first for n in (size, 1)))
    y = y.reshape(tuple(n for size in second for n in (1, size)))
    return binary("multiply", x, y).reshape(tuple(m * n for m, n in zip(first, second, strict=True)))


@records
def diff(a: Any, n: int = 1, axis: int = -1, prepend: Any = None, append: Any = None) -> ndarray:
    x = as_operand(a)
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
    value = as_operand(edge)
    return (
        value
        if value.ndim
        else broadcast_to(value, tuple(1 if i == axis % x.ndim else n for i, n in enumerate(x.shape)))
    )


@records
def ediff1d(ary: Any, to_end: Any = None, to_begin: Any = None) -> ndarray:
    x = ravel(as_operand(ary))
    ends = [None if e is None else ravel(as_operand(e)).astype(x.dtype) for e in (to_begin, to_end)]
    differences = binary("subtract", x[1:], x[:-1])
    parts = [p for p in (ends[0], differences, ends[1]) if p is not None]
    return concatenate(parts) if len(parts) > 1 else parts[0]


@records
def meshgrid(*xi: Any, copy: bool = True, sparse: bool = False, indexing: str = "xy") -> tuple[ndarray, ...]:
    if indexing not in ("xy", "ij"):
        raise OpError(f"meshgrid: indexing must be 'xy' or 'ij', got {indexing!r}")
    vectors = [ravel(as_operand(x)) for x in xi]
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


@records
def diag_indices_from(arr: Any) -> tuple[ndarray, ...]:
    shape = as_operand(arr).shape
    if len(shape) < 2 or len(set(shape)) != 1:
        raise ShapeError(f"diag_indices_from: all of at least 2 dimensions must be equal, got {shape}")
    return tuple(as_operand(p) for p in np.diag_indices(shape[0], len(shape)))


@records
def apply_along_axis(func1d: Any, axis: int, arr: Any, *args: Any, **kwargs: Any) -> ndarray:
    x = moveaxis(as_operand(arr), axis, -1)
    lead = x.shape[:-1]
    rows = reshape(x, (-1, x.shape[-1]))
    results = [as_operand(func1d(row, *args, **kwargs)) for row in rows]
    made = results[0].shape
    whole = reshape(stack(results), lead + made)
    ndim, at = len(lead), axis % (len(lead) + 1)
    return moveaxis(whole, list(range(ndim, ndim + len(made))), list(range(at, at + len(made)))) if made else whole


@records
def delete(arr: Any, obj: Any, axis: int | None = None) -> ndarray:
    x, along = flat_or_axis(arr, axis)
    count = x.shape[along]
    if isinstance(obj, ndarray) and obj._trace is not None:
        gone = binary("mod", obj, count) if obj.dtype != np.bool_ else flatnonzero(obj)
        return take(x, flatnonzero(isin(np.arange(count), ravel(gone), invert=True)), along)
    return take(x, np.delete(np.arange(count), np.asarray(obj) if isinstance(obj, ndarray) else obj), along)


@records
def insert(arr: Any, obj: Any, values: Any, axis: int | None = None) -> ndarray:
    x, along = flat_or_axis(arr, axis)
    along, count = along % x.ndim, x.shape[along]
    if find_traced(obj) is not None:
        return _insert_at(x, as_operand(obj), values, along)
    where = obj if isinstance(obj, slice) else np.asarray(obj)
    positions = np.arange(count)[where] if isinstance(where, slice) else where
    if positions.dtype == np.bool_:
        positions = np.flatnonzero(positions)
    added = _inserted(x, values, positions.ndim, positions.size, along)
    order = np.insert(np.arange(count), where, np.arange(count, count + added.shape[along]))
    return take(concatenate([x, added], along), order, along)


def _inserted(x: ndarray, values: Any, ndim: int, size: int, along: int) -> ndarray:
    """What is inserted at an array of positions, in the dtype of `x` and its shape but along the axis."""
    added = as_operand(values).astype(x.dtype)
    added = reshape(added, (1,) * (x.ndim - added.ndim) + added.shape)
    new = size
    if size == 1:
        added = added if ndim else moveaxis(added, 0, along)
        new = added.shape[along]
    return broadcast_to(added, (*x.shape[:along], new, *x.shape[along + 1 :]))


def _insert_at(x: ndarray, positions: ndarray, values: Any, along: int) -> ndarray:
    """`insert` at positions that are traced: what is new stands before the element at its position."""
    if positions.dtype == np.bool_:
        positions = flatnonzero(positions)
    count = x.shape[along]
    added = _inserted(x, values, positions.ndim, positions.size, along)
    places = invoke_one("where", positions < 0, positions + count, positions)
    new = broadcast_to(ravel(places) * 2, (added.shape[along],))
    order = concatenate([as_operand(np.arange(count) * 2 + 1), new.astype(np.int64)]).argsort()
    return take(concatenate([x, added], along), order, along)


# ---- sizes that depend on values -----------------------------------------------------------------------


@records
def argwhere(a: Any) -> ndarray:
    return invoke_one("argwhere", as_operand(a))


@records
def nonzero(a: Any) -> tuple[ndarray, ...]:
    return as_operand(a).nonzero()


@records
def flatnonzero(a: Any) -> ndarray:
    return ravel(as_operand(a)).nonzero()[0]


@records
def bincount(x: Any, weights: Any = None, minlength: int = 0) -> ndarray:
    inputs = [as_operand(a) for a in (x, weights) if a is not None]
    return invoke_one("bincount", *inputs, minlength=minlength, has_weights=weights is not None)


@records
def unique(
    ar: Any,
    return_index: bool = False,
    return_inverse: bool = False,
    return_counts: bool = False,
    axis: int | None = None,
    **_: Any,
) -> Any:
    results = invoke("unique", as_operand(ar), axis=axis)
    wanted = (True, return_index, return_inverse, return_counts)
    chosen = tuple(r for r, is_wanted in zip(results, wanted, strict=True) if is_wanted)
    return chosen if len(chosen) > 1 else chosen[0]


@records
def union1d(ar1: Any, ar2: Any) -> ndarray:
    return invoke("unique", concatenate([ravel(as_operand(ar1)), ravel(as_operand(ar2))]))[0]


@records
def setdiff1d(ar1: Any, ar2: Any, assume_unique: bool = False) -> ndarray:
    x = ravel(as_operand(ar1)) if assume_unique else unique(as_operand(ar1))
    return take(x, flatnonzero(isin(x, ar2, invert=True)))


@records
def intersect1d(ar1: Any, ar2: Any, assume_unique: bool = False, return_indices: bool = False) -> Any:
    arrays = as_operand(ar1), as_operand(ar2)
    dtype = promote(*(a.dtype for a in arrays))
    (x, first), (y, second) = (unique(a.astype(dtype, copy=False), return_index=True) for a in arrays)
    in_both = flatnonzero(isin(x, y))
    common = take(x, in_both)
    if not return_indices:
        return common
    return common, take(first, in_both), take(second, flatnonzero(isin(y, x)))


@records
def compress(condition: Any, a: Any, axis: int | None = None, out: ndarray | None = None) -> ndarray:
    x, along = flat_or_axis(a, axis)
    return deliver(take(x, flatnonzero(as_operand(condition)), along), out)


@records
def setxor1d(ar1: Any, ar2: Any, assume_unique: bool = False) -> ndarray:
    return invoke_one("setxor1d", as_operand(ar1), as_operand(ar2), assume_unique=assume_unique)


@records
def roots(p: Any) -> ndarray:
    return invoke_one("roots", as_operand(p))


# ---- histograms ----------------------------------------------------------------------------------------


@records
def histogram(
    a: Any, bins: Any = 10, range: Any = None, density: bool | None = None, weights: Any = None
) -> tuple[ndarray, ...]:
    if isinstance(bins, str):
        bins = histogram_bin_edges(a, bins, range, weights)
    count = bins if is_scalar(bins) else None
    others = [*([] if count is not None else [as_operand(bins)]), *([] if weights is None else [as_operand(weights)])]
    attrs = {"bins": count, "range": range, "density": bool(density), "has_weights": weights is not None}
    return _several("histogram", as_operand(a), *others, **attrs)


def _several(op_name: str, *inputs: ndarray, **attrs: Any) -> tuple[ndarray, ...]:
    results = invoke(op_name, *inputs, **attrs)
    assert isinstance(results, tuple)
    return results


@records
def histogram_bin_edges(a: Any, bins: Any = 10, range: Any = None, weights: Any = None) -> ndarray:
    if is_scalar(bins):
        return invoke_one("histogram_bin_edges", as_operand(a), bins=bins, range=range)
    if not isinstance(bins, str):
        return as_operand(bins)
    if bins not in BIN_RULES:
        raise OpError(f"histogram_bin_edges: bins must be a number, edges, or one of {BIN_RULES}, got {bins!r}")
    if weights is not None:
        raise OpError(f"histogram_bin_edges: the rule {bins!r} takes no weights")
    return invoke_one("ruled_bin_edges", as_operand(a), bins=bins, range=range)


@records
def histogramdd(
    sample: Any, bins: Any = 10, range: Any = None, density: bool | None = None, weights: Any = None
) -> tuple[ndarray, list[ndarray]]:
    if isinstance(sample, (list, tuple)):
        points = stack([as_operand(s) for s in sample], -1)
    else:
        points = as_operand(sample)
        points = points if points.ndim > 1 else reshape(points, (-1, 1))
    each = (bins,) * points.shape[1] if is_scalar(bins) else tuple(bins)
    others = [as_operand(b) for b in each if not is_scalar(b)]
    counts, *edges = _several(
        "histogramdd",
        points,
        *others,
        *([] if weights is None else [as_operand(weights)]),
        bins=tuple(b if is_scalar(b) else None for b in each),
        range=range,
        density=bool(density),
        has_weights=weights is not None,
    )
    return counts, edges


@records
def histogram2d(
    x: Any, y: Any, bins: Any = 10, range: Any = None, density: bool | None = None, weights: Any = None
) -> tuple[ndarray, ...]:
    if not is_scalar(bins) and len(bins) != 2:
        bins = (bins, bins)
    counts, edges = histogramdd((x, y), bins, range, density, weights)
    return (counts, *edges)
