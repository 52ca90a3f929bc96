"""Operators that write elements at positions given by arrays, each position one element or one row."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from minidnn.errors import OpError, ShapeError
from minidnn.ops.checks import normalize_axis, want_dtype, want_integer, want_min_rank, want_shape
from minidnn.ops.elementwise import BOOL, want_supported
from minidnn.ops.registry import Attr, Attrs, Op, TensorType, register

__all__: list[str] = []

Array = np.ndarray[Any, Any]

_REDUCTION = Attr("reduction", "str", "none", choices=("none", "add", "mul", "max", "min"))
_UFUNCS = {"add": np.add, "mul": np.multiply, "max": np.maximum, "min": np.minimum}


def _write(op: str, attrs: Attrs, data: Array, index: tuple[Array, ...], updates: Array) -> Array:
    """A copy of `data` with the updates in their places, combined with what is there."""
    for axis, (places, size) in enumerate(zip(index, data.shape, strict=False)):
        if places.size and not (-size <= places.min() and places.max() < size):
            found = f"{places.min()}..{places.max()}"
            raise OpError(f"{op}: indices along axis {axis} must lie in [{-size}, {size}), got {found}")
    result = data.copy()
    if attrs.reduction == "none":
        result[index] = updates
    else:
        _UFUNCS[attrs.reduction].at(result, index, updates)
    return result


def _want_combinable(op: str, attrs: Attrs, data: TensorType, updates: TensorType) -> None:
    want_supported(op, [data])
    want_dtype(op, "updates", updates, data.dtype, "data")
    if data.dtype == BOOL and attrs.reduction != "none":
        raise OpError(f"{op}: reduction {attrs.reduction} of bools is not supported")


def _infer_scatter_elements(attrs: Attrs, types: Sequence[TensorType]) -> list[TensorType]:
    op, (data, indices, updates) = "scatter_elements", types
    _want_combinable(op, attrs, data, updates)
    want_min_rank(op, "data", data, 1)
    want_integer(op, "indices", indices)
    want_shape(op, "updates", updates, indices.shape, "that of indices")
    axis = normalize_axis(op, attrs.axis, data.ndim)
    fits = indices.ndim == data.ndim and all(
        i == axis or n <= m for i, (n, m) in enumerate(zip(indices.shape, data.shape, strict=True))
    )
    if not fits:
        raise ShapeError(f"{op}: indices {indices.shape} do not fit data {data.shape} beside axis {axis}")
    return [data]


def _scatter_elements(attrs: Attrs, data: Array, indices: Array, updates: Array) -> Array:
    axis = attrs.axis % data.ndim
    places: list[Array] = list(np.indices(indices.shape, sparse=True))
    places[axis] = indices
    return _write("scatter_elements", attrs, data, tuple(places), updates)


register(
    Op(
        "scatter_elements",
        _infer_scatter_elements,
        _scatter_elements,
        ("data", "indices", "updates"),
        attrs=(Attr("axis", "int", 0), _REDUCTION),
    )
)


def _infer_scatter_points(attrs: Attrs, types: Sequence[TensorType]) -> list[TensorType]:
    op, (data, indices, updates) = "scatter_points", types
    _want_combinable(op, attrs, data, updates)
    want_integer(op, "indices", indices)
    want_min_rank(op, "indices", indices, 1)
    depth = indices.shape[-1]
    if depth > data.ndim:
        raise ShapeError(f"{op}: positions of {depth} numbers do not fit data {data}")
    want_shape(op, "updates", updates, (*indices.shape[:-1], *data.shape[depth:]), "a row for each position")
    return [data]


def _scatter_points(attrs: Attrs, data: Array, indices: Array, updates: Array) -> Array:
    places = tuple(np.moveaxis(indices, -1, 0))
    if not places:
        return np.array(np.broadcast_to(updates, data.shape))
    return _write("scatter_points", attrs, data, places, updates)


register(
    Op(
        "scatter_points",
        _infer_scatter_points,
        _scatter_points,
        ("data", "indices", "updates"),
        attrs=(_REDUCTION,),
    )
)
