"""Operators about order: sort, partition, search in sorted arrays, quantiles. NumPy computes them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from minidnn.errors import OpError
from minidnn.ops.checks import normalize_axes, normalize_axis, want_filled, want_min_rank, want_rank, want_shape
from minidnn.ops.elementwise import BOOL, INT64, want_supported
from minidnn.ops.numpy_dtypes import defaulted, probed_dtype
from minidnn.ops.registry import Attr, Attrs, Op, TensorType, register
from minidnn.ops.traits import ALWAYS, IF_ALL, IF_FIRST

__all__: list[str] = []

Array = np.ndarray[Any, Any]
_AXIS = Attr("axis", "int", -1, optional=True)


def _along(op: str, attrs: Attrs, data: TensorType) -> tuple[int, ...]:
    """The shape of a result that has an element for each of `data`; flat where the axis is None."""
    want_supported(op, [data])
    if attrs.axis is None:
        return (data.size,)
    want_min_rank(op, "data", data, 1)
    normalize_axis(op, attrs.axis, data.ndim)
    return data.shape


# ---- sort and partition --------------------------------------------------------------------------------


def _sort(attrs: Attrs, x: Array) -> Array:
    ordered = np.sort(x, attrs.axis, kind="stable")
    return np.flip(ordered, -1 if attrs.axis is None else attrs.axis) if attrs.descending else ordered


def _argsort(attrs: Attrs, x: Array) -> Array:
    """Equal elements stay in their order, whatever the direction."""
    data, axis = (x.reshape(-1), -1) if attrs.axis is None else (x, attrs.axis)
    if not attrs.descending:
        return np.argsort(data, axis, kind="stable")
    backwards = np.argsort(np.flip(data, axis), axis, kind="stable")
    return data.shape[axis] - 1 - np.flip(backwards, axis)


_SORT_ATTRS = (_AXIS, Attr("descending", "bool", False))
register(
    Op(
        "sort",
        lambda attrs, types: [TensorType(_along("sort", attrs, types[0]), types[0].dtype)],
        _sort,
        ("data",),
        attrs=_SORT_ATTRS,
        nonnegative=IF_ALL,
        scale_transparent=True,
    )
)
register(
    Op(
        "argsort",
        lambda attrs, types: [TensorType(_along("argsort", attrs, types[0]), INT64)],
        _argsort,
        ("data",),
        attrs=_SORT_ATTRS,
        nonnegative=ALWAYS,
    )
)


def _infer_partition(op: str, attrs: Attrs, data: TensorType) -> tuple[int, ...]:
    shape = _along(op, attrs, data)
    count = shape[-1 if attrs.axis is None else attrs.axis]
    if None in attrs.kth or not all(-count <= k < count for k in attrs.kth):
        raise OpError(f"{op}: kth must lie in [{-count}, {count}) for {count} elements along the axis, got {attrs.kth}")
    return shape


_PARTITION_ATTRS = (Attr("kth", "ints"), _AXIS)
register(
    Op(
        "partition",
        lambda attrs, types: [TensorType(_infer_partition("partition", attrs, types[0]), types[0].dtype)],
        lambda attrs, x: np.partition(x, attrs.kth, attrs.axis),
        ("data",),
        attrs=_PARTITION_ATTRS,
        nonnegative=IF_ALL,
        scale_transparent=True,
    )
)
register(
    Op(
        "argpartition",
        lambda attrs, types: [TensorType(_infer_partition("argpartition", attrs, types[0]), INT64)],
        lambda attrs, x: np.argpartition(x, attrs.kth, attrs.axis),
        ("data",),
        attrs=_PARTITION_ATTRS,
        nonnegative=ALWAYS,
    )
)


def _infer_lexsort(attrs: Attrs, types: Sequence[TensorType]) -> list[TensorType]:
    op = "lexsort"
    want_supported(op, types)
    for i, t in enumerate(types):
        want_shape(op, f"key{i}", t, types[0].shape, "that of key0")
    want_min_rank(op, "key0", types[0], 1)
    normalize_axis(op, attrs.axis, types[0].ndim)
    return [TensorType(types[0].shape, INT64)]


register(
    Op(
        "lexsort",
        _infer_lexsort,
        lambda attrs, *keys: np.lexsort(keys, attrs.axis),
        lambda attrs: tuple(f"key{i}" for i in range(attrs.num_args)),
        attrs=(Attr("num_args", "int", low=1), Attr("axis", "int", -1)),
        nonnegative=ALWAYS,
    )
)


# ---- search --------------------------------------------------------------------------------------------


def _infer_searchsorted(attrs: Attrs, types: Sequence[TensorType]) -> list[TensorType]:
    want_supported("searchsorted", types)
    want_rank("searchsorted", "a", types[0], 1)
    return [TensorType(types[1].shape, INT64)]


register(
    Op(
        "searchsorted",
        _infer_searchsorted,
        lambda attrs, a, v: np.searchsorted(a, v, attrs.side),
        ("a", "v"),
        attrs=(Attr("side", "str", "left", choices=("left", "right")),),
        nonnegative=ALWAYS,
    )
)


def _infer_digitize(attrs: Attrs, types: Sequence[TensorType]) -> list[TensorType]:
    want_supported("digitize", types)
    want_rank("digitize", "bins", types[1], 1)
    return [TensorType(types[0].shape, INT64)]


register(
    Op(
        "digitize",
        _infer_digitize,
        lambda attrs, x, bins: np.digitize(x, bins, attrs.right),
        ("x", "bins"),
        attrs=(Attr("right", "bool", False),),
        nonnegative=ALWAYS,
    )
)


def _infer_isin(attrs: Attrs, types: Sequence[TensorType]) -> list[TensorType]:
    want_supported("isin", types)
    return [TensorType(types[0].shape, BOOL)]


register(
    Op(
        "isin",
        _infer_isin,
        lambda attrs, element, test: np.isin(element, test, invert=attrs.invert),
        ("element", "test_elements"),
        attrs=(Attr("invert", "bool", False),),
        nonnegative=ALWAYS,
    )
)


# ---- quantiles -----------------------------------------------------------------------------------------

_METHODS = (
    *("inverted_cdf", "averaged_inverted_cdf", "closest_observation", "interpolated_inverted_cdf", "hazen", "weibull"),
    *("linear", "median_unbiased", "normal_unbiased", "lower", "higher", "midpoint", "nearest"),
)
_REDUCED = (Attr("axis", "ints", None), Attr("keepdims", "bool", False))


def _reduced(op: str, attrs: Attrs, data: TensorType) -> tuple[int, ...]:
    want_supported(op, [data])
    if attrs.axis is not None and None in attrs.axis:
        raise OpError(f"{op}: axis must be all integers, got {attrs.axis}")
    axes = normalize_axes(op, attrs.axis, data.ndim)
    want_filled(op, "data", data, axes)
    if attrs.keepdims:
        return tuple(1 if i in axes else n for i, n in enumerate(data.shape))
    return tuple(n for i, n in enumerate(data.shape) if i not in axes)


def _register_quantile(name: str, function: Callable[..., Any], highest: int) -> None:
    """The levels are an attribute, or an input where the attribute is None."""

    def infer(attrs: Attrs, types: Sequence[TensorType]) -> list[TensorType]:
        shape = types[1].shape if attrs.q is None else _levels(attrs.q).shape
        level = np.zeros((1,) * len(shape), types[1].dtype) if attrs.q is None else attrs.q
        dtype = np.asarray(function(np.ones(2, types[0].dtype), level, method=attrs.method)).dtype
        return [TensorType(shape + _reduced(name, attrs, types[0]), defaulted(dtype, types))]

    def _levels(q: Any) -> Array:
        try:
            levels = np.asarray(q, np.float64)
        except (ValueError, TypeError):
            raise OpError(f"{name}: q must be a number or numbers, got {q!r}") from None
        if not ((levels >= 0) & (levels <= highest)).all():
            raise OpError(f"{name}: q must lie in [0, {highest}], got {q}")
        return levels

    def reference(attrs: Attrs, x: Array, q: Array | None = None) -> Any:
        if q is not None:
            _levels(q)
        return function(x, attrs.q if q is None else q, attrs.axis, method=attrs.method, keepdims=attrs.keepdims)

    register(
        Op(
            name,
            infer,
            reference,
            lambda attrs: ("data", "q") if attrs.q is None else ("data",),
            attrs=(
                Attr("q", "tree", optional=True),
                *_REDUCED,
                Attr("method", "str", "linear", choices=_METHODS),
            ),
            nonnegative=IF_FIRST,
        )
    )


_register_quantile("percentile", np.percentile, 100)
_register_quantile("quantile", np.quantile, 1)
_register_quantile("nanpercentile", np.nanpercentile, 100)
_register_quantile("nanquantile", np.nanquantile, 1)


def _register_median(name: str, function: Callable[..., Any]) -> None:
    def infer(attrs: Attrs, types: Sequence[TensorType]) -> list[TensorType]:
        return [TensorType(_reduced(name, attrs, types[0]), probed_dtype(function, types))]

    register(
        Op(
            name,
            infer,
            lambda attrs, x: function(x, attrs.axis, keepdims=attrs.keepdims),
            ("data",),
            attrs=_REDUCED,
            nonnegative=IF_ALL,
        )
    )


_register_median("median", np.median)
_register_median("nanmedian", np.nanmedian)
