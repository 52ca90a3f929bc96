"""Operators whose result has a size that depends on values: argwhere, unique, setxor1d, bincount,
first_rows; and depend, expect_values.

Their attribute ``size`` fixes it; see `Op.is_dynamic`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from minidnn.errors import OpError, ShapeError, SizeError
from minidnn.ops.checks import normalize_axis, want_integer, want_min_rank, want_rank, want_shape
from minidnn.ops.elementwise import BOOL, INT64, promote, want_supported
from minidnn.ops.numpy_dtypes import defaulted
from minidnn.ops.registry import Attr, Attrs, Op, TensorType, register
from minidnn.ops.traits import ALWAYS, IF_ALL, IF_FIRST

__all__: list[str] = []

Array = np.ndarray[Any, Any]
_SIZE = Attr("size", "int", None, low=0)


def _infer_argwhere(attrs: Attrs, types: Sequence[TensorType]) -> list[TensorType]:
    want_supported("argwhere", types)
    return [TensorType((attrs.size, types[0].ndim), INT64)]


register(
    Op(
        "argwhere",
        _infer_argwhere,
        lambda attrs, x: np.argwhere(x),
        ("data",),
        attrs=(_SIZE,),
        is_dynamic=True,
        nonnegative=ALWAYS,
    )
)


def _infer_unique(attrs: Attrs, types: Sequence[TensorType]) -> list[TensorType]:
    op, data = "unique", types[0]
    want_supported(op, types)
    if attrs.axis is None:
        shape, inverse = (attrs.size,), data.shape
    else:
        axis = normalize_axis(op, attrs.axis, data.ndim)
        if data.size == 0:
            raise ShapeError(f"{op}: data must not be empty where an axis is given, got {data}")
        shape, inverse = (*data.shape[:axis], attrs.size, *data.shape[axis + 1 :]), (data.shape[axis],)
    counted = TensorType((attrs.size,), INT64)
    return [TensorType(shape, data.dtype), counted, TensorType(inverse, INT64), counted]


def _unique(attrs: Attrs, x: Array) -> tuple[Array, ...]:
    return tuple(np.unique(x, True, True, True, attrs.axis))


register(
    Op(
        "unique",
        _infer_unique,
        _unique,
        ("data",),
        attrs=(Attr("axis", "int", None), _SIZE),
        outputs=4,
        is_dynamic=True,
    )
)


def _infer_setxor1d(attrs: Attrs, types: Sequence[TensorType]) -> list[TensorType]:
    want_supported("setxor1d", types)
    return [TensorType((attrs.size,), defaulted(np.result_type(*(t.dtype for t in types)), types))]


register(
    Op(
        "setxor1d",
        _infer_setxor1d,
        lambda attrs, a, b: np.setxor1d(a, b, attrs.assume_unique),
        ("ar1", "ar2"),
        attrs=(Attr("assume_unique", "bool", False), _SIZE),
        is_dynamic=True,
        nonnegative=IF_ALL,
    )
)


def _infer_bincount(attrs: Attrs, types: Sequence[TensorType]) -> list[TensorType]:
    op, data = "bincount", types[0]
    want_rank(op, "x", data, 1)
    if data.dtype != BOOL:
        want_integer(op, "x", data)
    if not attrs.has_weights:
        return [TensorType((attrs.size,), INT64)]
    want_shape(op, "weights", types[1], data.shape, "one for each element of x")
    wide = types[1].dtype == np.float64
    return [TensorType((attrs.size,), promote(np.dtype(np.float64 if wide else np.float32)))]


def _bincount(attrs: Attrs, x: Array, weights: Array | None = None) -> Array:
    if x.size and x.min() < 0:
        raise OpError(f"bincount: x must have no negative elements, got {x.min()}")
    return np.bincount(x.astype(np.int64), weights, attrs.minlength)


register(
    Op(
        "bincount",
        _infer_bincount,
        _bincount,
        lambda attrs: ("data", "weights") if attrs.has_weights else ("data",),
        attrs=(Attr("minlength", "int", 0, low=0), Attr("has_weights", "bool", False), _SIZE),
        is_dynamic=True,
    )
)


def _infer_first_rows(attrs: Attrs, types: Sequence[TensorType]) -> list[TensorType]:
    op, (data, count) = "first_rows", types
    want_min_rank(op, "data", data, 1)
    want_integer(op, "count", count)
    want_shape(op, "count", count, (1,))
    return [TensorType((attrs.size, *data.shape[1:]), data.dtype)]


def _first_rows(attrs: Attrs, x: Array, count: Array) -> Array:
    if not 0 <= count[0] <= len(x):
        raise OpError(f"first_rows: count must lie in [0, {len(x)}], got {count[0]}")
    return x[: int(count[0])]


register(
    Op(
        "first_rows",
        _infer_first_rows,
        _first_rows,
        ("data", "count"),
        attrs=(_SIZE,),
        is_dynamic=True,
        nonnegative=IF_FIRST,
    )
)


# A graph that holds for one size depends on the operation that checks it, whether or not it reads the result.
register(
    Op(
        "depend",
        lambda attrs, types: [types[0]],
        lambda attrs, data, *others: data,
        lambda attrs: ("data", *(f"other{i}" for i in range(attrs.num_args - 1))),
        attrs=(Attr("num_args", "int", low=1),),
        nonnegative=IF_FIRST,
    )
)


# What a graph was made for where it had to be decided by values: shapes, counts of rounds, conditions.


def _expect_values(attrs: Attrs, x: Array) -> Array:
    wanted = np.array(attrs.expected, x.dtype).reshape(attrs.shape)
    if not np.array_equal(x, wanted, equal_nan=x.dtype.kind == "f"):
        raise SizeError(
            f"expect_values: the graph was made for the values {str(attrs.expected)[:200]}, "
            f"got {str(x.reshape(-1).tolist())[:200]}"
        )
    return x


def _infer_expect_values(attrs: Attrs, types: Sequence[TensorType]) -> list[TensorType]:
    if types[0].shape != attrs.shape:
        raise SizeError(f"expect_values: the graph was made for values of shape {attrs.shape}, got {types[0]}")
    return [types[0]]


register(
    Op(
        "expect_values",
        _infer_expect_values,
        _expect_values,
        ("data",),
        attrs=(Attr("expected", "tree"), Attr("shape", "ints")),
        nonnegative=IF_FIRST,
    )
)
