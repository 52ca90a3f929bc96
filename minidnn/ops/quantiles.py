"""Quantiles and medians. In networks they are made of a sort, and of elements between which they lie."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, cast

import numpy as np

from minidnn.errors import OpError
from minidnn.ops.checks import normalize_axes, want_filled
from minidnn.ops.composed import Operand, expansion_of
from minidnn.ops.elementwise import want_supported
from minidnn.ops.numpy_dtypes import defaulted, probed_dtype
from minidnn.ops.registry import Attr, Attrs, Op, TensorType, register
from minidnn.ops.sorting import widened
from minidnn.ops.traits import IF_ALL, IF_FIRST

__all__: list[str] = []

Array = np.ndarray[Any, Any]
_WIDE = np.dtype(np.float64)

# Those that give elements, and those that interpolate.
_CHOOSING = ("inverted_cdf", "closest_observation", "lower", "higher", "nearest")
_BETWEEN = (
    *("averaged_inverted_cdf", "interpolated_inverted_cdf", "hazen", "weibull"),
    *("linear", "median_unbiased", "normal_unbiased", "midpoint"),
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


# ---- what they are made of -------------------------------------------------------------------------------


def _sorted_rows(x: Operand, attrs: Attrs) -> Operand:
    """The elements of which each result is made, along a last axis, sorted."""
    axes = sorted(normalize_axes("quantile", attrs.axis, x.ndim))
    kept = [d for d in range(x.ndim) if d not in axes]
    count = math.prod(x.shape[d] for d in axes)
    moved = widened(x).transpose(*kept, *axes) if x.ndim > 1 else widened(x)
    return moved.reshape(*(x.shape[d] for d in kept), count).apply("sort", axis=-1)


def _between(low: Operand, high: Operand, share: Operand | float) -> Operand:
    """The number that lies so far from one to the other, in float64."""
    low, high = low.cast(_WIDE), high.cast(_WIDE)
    return low + (high - low) * share


def _nan_kept(rows: Operand, result: Operand) -> Operand:
    """The last element, which is NaN if one is, where it is; else the result."""
    if rows.type.dtype.kind != "f":
        return result
    last = rows.cut(-1, -1, rows.shape[-1]).cast(result.type.dtype)
    return last.apply("isnan").apply("where", last, result)


def _at_levels(rows: Operand, levels: Array, method: str) -> list[Operand]:
    """For each level an array whose last axis has one element."""
    n, made, find = rows.shape[-1], [], cast(Any, np.quantile)
    for level in levels.reshape(-1):
        # What a method makes of the numbers 0, 1, ... is where it looks.
        place = float(find(np.arange(n, dtype=np.float64), level, method=method))
        first = min(int(place), n - 1)
        low = rows.cut(-1, first, first + 1)
        if method not in _CHOOSING:
            second = min(first + 1, n - 1)
            low = _between(low, rows.cut(-1, second, second + 1), place - first)
        made.append(_nan_kept(rows, low))
    return made


def _among_numbers(rows: Operand, levels: Array) -> list[Operand]:
    """Linear interpolation among those of a row that are numbers: they come first, and NaN behind them."""
    count = rows.apply("isnan").apply("logical_not").apply("sum", axis=(-1,), keepdims=True, dtype=np.int64)
    last = count.apply("subtract_scalar", scalar=1, is_int=True)
    made = []
    for level in levels.reshape(-1):
        place = last.cast(_WIDE) * float(level)
        floor = place.apply("floor")
        first = floor.cast(np.int64)
        # Of a row without numbers these are -1: its last element, NaN.
        second = first.apply("add_scalar", scalar=1, is_int=True).apply("minimum", last)
        low, high = (rows.apply("take_along_axis", i, axis=-1) for i in (first, second))
        made.append(_between(low, high, place - floor))
    return made


def _compose(attrs: Attrs, x: Operand, levels: Array, method: str, type: TensorType, skips_nan: bool) -> Operand | None:
    """Levels between 0 and 1 of the elements along the axes, of the type that is wanted."""
    rows = _sorted_rows(x, attrs)
    if skips_nan and rows.type.dtype.kind == "f":
        if method != "linear":
            return None
        made = _among_numbers(rows, levels)
    else:
        made = _at_levels(rows, levels, method)
    results = [one.cast(type.dtype) for one in made]
    whole = results[0] if len(results) == 1 else results[0].apply("stack", *results[1:], num_args=len(made), axis=0)
    return whole.reshape(*type.shape)


# ---- quantiles -------------------------------------------------------------------------------------------


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

    def compose(attrs: Attrs, x: Operand, *q: Operand) -> Operand | None:
        if q or not _levels(attrs.q).size:
            return None
        type = infer(attrs, [x.type])[0]
        return _compose(attrs, x, _levels(attrs.q) / highest, attrs.method, type, name.startswith("nan"))

    register(
        Op(
            name,
            infer,
            reference,
            lambda attrs: ("data", "q") if attrs.q is None else ("data",),
            attrs=(
                Attr("q", "tree", optional=True),
                *_REDUCED,
                Attr("method", "str", "linear", choices=(*_CHOOSING, *_BETWEEN)),
            ),
            nonnegative=IF_FIRST,
            expansion=expansion_of(compose),
        )
    )


_register_quantile("percentile", np.percentile, 100)
_register_quantile("quantile", np.quantile, 1)
_register_quantile("nanpercentile", np.nanpercentile, 100)
_register_quantile("nanquantile", np.nanquantile, 1)


def _register_median(name: str, function: Callable[..., Any]) -> None:
    def infer(attrs: Attrs, types: Sequence[TensorType]) -> list[TensorType]:
        return [TensorType(_reduced(name, attrs, types[0]), probed_dtype(function, types))]

    def compose(attrs: Attrs, x: Operand) -> Operand | None:
        type = infer(attrs, [x.type])[0]
        return _compose(attrs, x, np.array(0.5), "linear", type, name.startswith("nan"))

    register(
        Op(
            name,
            infer,
            lambda attrs, x: function(x, attrs.axis, keepdims=attrs.keepdims),
            ("data",),
            attrs=_REDUCED,
            nonnegative=IF_ALL,
            expansion=expansion_of(compose),
        )
    )


_register_median("median", np.median)
_register_median("nanmedian", np.nanmedian)
