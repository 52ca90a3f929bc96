"""Operators that count how many elements fall into bins. NumPy computes them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from minidnn.errors import OpError, ShapeError
from minidnn.ops.checks import want_rank, want_shape
from minidnn.ops.elementwise import want_supported
from minidnn.ops.numpy_dtypes import defaulted
from minidnn.ops.registry import Attr, Attrs, Op, TensorType, register

__all__ = ["BIN_RULES"]

Array = np.ndarray[Any, Any]
# NumPy's names for rules that find the number of bins.
BIN_RULES = ("auto", "doane", "fd", "rice", "scott", "sqrt", "stone", "sturges")
_RANGE = Attr("range", "tree", None)


def _want_range(op: str, range: Any) -> None:
    if range is not None and (
        not isinstance(range, tuple)
        or len(range) != 2
        or not all(isinstance(n, (int, float)) and np.isfinite(n) for n in range)
        or range[0] > range[1]
    ):
        raise OpError(f"{op}: range must be two increasing numbers, got {range!r}")


def _want_edges(op: str, name: str, edges: TensorType) -> int:
    """How many bins there are between the edges."""
    want_rank(op, name, edges, 1)
    if edges.size < 2:
        raise ShapeError(f"{op}: there must be at least 2 {name}, got {edges}")
    return edges.size - 1


def _histogram_inputs(attrs: Attrs) -> tuple[str, ...]:
    return ("data", *(("edges",) if attrs.bins is None else ()), *(("weights",) if attrs.has_weights else ()))


def _histogram(attrs: Attrs, data: Array, *others: Array) -> tuple[Array, Array]:
    edges = others[0] if attrs.bins is None else attrs.bins
    weights = others[-1] if attrs.has_weights else None
    try:
        with np.errstate(all="ignore"):
            return np.histogram(data, edges, attrs.range, attrs.density, weights)
    except ValueError as error:
        raise OpError(f"histogram: {error}") from None


def _infer_histogram(attrs: Attrs, types: Sequence[TensorType]) -> list[TensorType]:
    op, named = "histogram", dict(zip(_histogram_inputs(attrs), types, strict=True))
    want_supported(op, types)
    _want_range(op, attrs.range)
    if attrs.has_weights:
        want_shape(op, "weights", named["weights"], named["data"].shape, "one for each element of data")
    count = _want_edges(op, "edges", named["edges"]) if attrs.bins is None else attrs.bins
    samples = [np.arange(2).astype(t.dtype) for t in types]
    dtypes = [defaulted(r.dtype, types) for r in _histogram(attrs.replace(bins=attrs.bins and 1), *samples)]
    return [TensorType((count + i,), dtype) for i, dtype in enumerate(dtypes)]


register(
    Op(
        "histogram",
        _infer_histogram,
        _histogram,
        _histogram_inputs,
        attrs=(
            Attr("bins", "int", 10, low=1, optional=True),
            _RANGE,
            Attr("density", "bool", False),
            Attr("has_weights", "bool", False),
        ),
        outputs=2,
    )
)


# ---- edges ---------------------------------------------------------------------------------------------


def _edge_dtype(attrs: Attrs, types: Sequence[TensorType]) -> np.dtype[Any]:
    return defaulted(np.histogram_bin_edges(np.arange(2).astype(types[0].dtype), 1, attrs.range).dtype, types)


def _infer_bin_edges(attrs: Attrs, types: Sequence[TensorType]) -> list[TensorType]:
    op = "histogram_bin_edges"
    want_supported(op, types)
    _want_range(op, attrs.range)
    return [TensorType((attrs.bins + 1,), _edge_dtype(attrs, types))]


def _bin_edges(attrs: Attrs, data: Array) -> Array:
    try:
        return np.histogram_bin_edges(data, attrs.bins, attrs.range)
    except ValueError as error:
        raise OpError(f"histogram_bin_edges: {error}") from None


register(
    Op(
        "histogram_bin_edges",
        _infer_bin_edges,
        _bin_edges,
        ("data",),
        attrs=(Attr("bins", "int", 10, low=1), _RANGE),
    )
)


def _infer_ruled_edges(attrs: Attrs, types: Sequence[TensorType]) -> list[TensorType]:
    op = "ruled_bin_edges"
    want_supported(op, types)
    _want_range(op, attrs.range)
    return [TensorType((attrs.size,), _edge_dtype(attrs, types))]


# With a number of bins that depends on the values.
register(
    Op(
        "ruled_bin_edges",
        _infer_ruled_edges,
        _bin_edges,
        ("data",),
        attrs=(Attr("bins", "str", "auto", choices=BIN_RULES), _RANGE, Attr("size", "int", None, low=0)),
        is_dynamic=True,
    )
)


# ---- several dimensions --------------------------------------------------------------------------------


def _histogramdd_inputs(attrs: Attrs) -> tuple[str, ...]:
    edges = (f"edges{i}" for i, count in enumerate(attrs.bins) if count is None)
    return ("sample", *edges, *(("weights",) if attrs.has_weights else ()))


def _histogramdd(attrs: Attrs, sample: Array, *others: Array) -> tuple[Array, ...]:
    edges = iter(others)
    bins = [next(edges) if count is None else count for count in attrs.bins]
    try:
        with np.errstate(all="ignore"):
            weights = others[-1] if attrs.has_weights else None
            counts, found = np.histogramdd(sample, bins, attrs.range, attrs.density, weights)
    except ValueError as error:
        raise OpError(f"histogramdd: {error}") from None
    return (counts, *found)


def _infer_histogramdd(attrs: Attrs, types: Sequence[TensorType]) -> list[TensorType]:
    op, named = "histogramdd", dict(zip(_histogramdd_inputs(attrs), types, strict=True))
    want_supported(op, types)
    want_rank(op, "sample", named["sample"], 2, "(points, dimensions)")
    if named["sample"].shape[1] != len(attrs.bins):
        raise ShapeError(f"{op}: sample must have {len(attrs.bins)} columns, as bins has, got {named['sample']}")
    if attrs.range is not None:
        if not isinstance(attrs.range, tuple) or len(attrs.range) != len(attrs.bins):
            raise OpError(f"{op}: range must have a pair for each of {len(attrs.bins)} dimensions, got {attrs.range!r}")
        for one in attrs.range:
            _want_range(op, one)
    if attrs.has_weights:
        want_shape(op, "weights", named["weights"], named["sample"].shape[:1], "one for each point")
    counts = [_want_edges(op, f"edges{i}", named[f"edges{i}"]) if n is None else n for i, n in enumerate(attrs.bins)]
    result = _histogramdd(attrs.replace(bins=tuple(n and 1 for n in attrs.bins)), *_samples(named))
    dtypes = [defaulted(r.dtype, types) for r in result]
    return [TensorType(tuple(counts), dtypes[0]), *map(_edges_type, counts, dtypes[1:])]


def _edges_type(count: int, dtype: np.dtype[Any]) -> TensorType:
    return TensorType((count + 1,), dtype)


def _samples(named: dict[str, TensorType]) -> list[Array]:
    """Two points for inputs of these types, and edges around them."""
    points = {"sample": (2, named["sample"].shape[1])}
    return [np.ones(points.get(n, (2,)), t.dtype) if n in ("sample", "weights") else _two(t) for n, t in named.items()]


def _two(edges: TensorType) -> Array:
    return np.arange(2).astype(edges.dtype)


register(
    Op(
        "histogramdd",
        _infer_histogramdd,
        _histogramdd,
        _histogramdd_inputs,
        attrs=(
            Attr("bins", "ints", low=1),
            _RANGE,
            Attr("density", "bool", False),
            Attr("has_weights", "bool", False),
        ),
        outputs=lambda attrs: 1 + len(attrs.bins),
    )
)
