"""Operators about order: sort, partition, search in sorted arrays."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from minidnn.errors import OpError
from minidnn.ops.checks import normalize_axis, want_min_rank, want_rank, want_shape
from minidnn.ops.composed import Compose, Operand, expansion_of
from minidnn.ops.elementwise import BOOL, INT64, want_supported
from minidnn.ops.registry import Attr, Attrs, Op, TensorType, register
from minidnn.ops.traits import ALWAYS, IF_ALL

__all__ = ["widened"]

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


def widened(x: Operand) -> Operand:
    """float16 in float32, which kernels for elements of any type have."""
    return x.cast(np.float32) if x.type.dtype == np.float16 else x


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


def _compose_partition(op: str) -> Compose:
    """What is sorted is a partition at every place."""
    return lambda attrs, x: widened(x).apply(op, axis=attrs.axis).cast(x.type.dtype if op == "sort" else INT64)


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
        expansion=expansion_of(_compose_partition("sort")),
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
        expansion=expansion_of(_compose_partition("argsort")),
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


def _compose_lexsort(attrs: Attrs, *keys: Operand) -> Operand:
    """One stable sort a key, that of the last key last."""
    places = widened(keys[0]).apply("argsort", axis=attrs.axis)
    for key in keys[1:]:
        order = widened(key).apply("take_along_axis", places, axis=attrs.axis).apply("argsort", axis=attrs.axis)
        places = places.apply("take_along_axis", order, axis=attrs.axis)
    return places


register(
    Op(
        "lexsort",
        _infer_lexsort,
        lambda attrs, *keys: np.lexsort(keys, attrs.axis),
        lambda attrs: tuple(f"key{i}" for i in range(attrs.num_args)),
        attrs=(Attr("num_args", "int", low=1), Attr("axis", "int", -1)),
        nonnegative=ALWAYS,
        expansion=expansion_of(_compose_lexsort),
    )
)


# ---- search --------------------------------------------------------------------------------------------


def _infer_searchsorted(attrs: Attrs, types: Sequence[TensorType]) -> list[TensorType]:
    want_supported("searchsorted", types)
    want_rank("searchsorted", "a", types[0], 1)
    return [TensorType(types[1].shape, INT64)]


def _compose_searchsorted(attrs: Attrs, a: Operand, v: Operand) -> Operand | None:
    """The same in one dtype, where there are two; kernels have none for float16."""
    dtype = np.result_type(a.type.dtype, v.type.dtype)
    dtype = np.dtype(np.float32) if dtype == np.float16 else dtype
    if a.type.dtype == v.type.dtype == dtype:
        return None
    return a.cast(dtype).apply("searchsorted", v.cast(dtype), side=attrs.side)


register(
    Op(
        "searchsorted",
        _infer_searchsorted,
        lambda attrs, a, v: np.searchsorted(a, v, attrs.side),
        ("a", "v"),
        attrs=(Attr("side", "str", "left", choices=("left", "right")),),
        nonnegative=ALWAYS,
        expansion=expansion_of(_compose_searchsorted),
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


def _compose_isin(attrs: Attrs, element: Operand, test: Operand) -> Operand:
    """Whether what a search among the sorted ones finds is the element itself."""
    dtype = np.result_type(element.type.dtype, test.type.dtype)
    wanted = widened(element.cast(dtype))
    some = widened(test.cast(dtype)).reshape(-1).apply("sort", axis=0)
    found = some.apply("take", some.apply("searchsorted", wanted), axis=0, mode="clip")
    return found.apply("not_equal" if attrs.invert else "equal", wanted)


register(
    Op(
        "isin",
        _infer_isin,
        lambda attrs, element, test: np.isin(element, test, invert=attrs.invert),
        ("element", "test_elements"),
        attrs=(Attr("invert", "bool", False),),
        nonnegative=ALWAYS,
        expansion=expansion_of(_compose_isin),
    )
)
